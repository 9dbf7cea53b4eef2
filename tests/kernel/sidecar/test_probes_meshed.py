"""Odd servers as the kubelet's part finds them in a plain pod, and the agent in a meshed one: the same of both."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, await_true

pytestmark = pytest.mark.kernel

PEM = (Path(__file__).parents[2] / "data" / "self-signed.pem").read_text()
# Answers with $ANSWER, where HOST is what it was asked as; on 8443 with 200 over TLS. What it was asked is printed.
SERVER = r"""
import os, socket, ssl, sys, threading, time
answer, hold = os.environ["ANSWER"].encode().decode("unicode_escape").encode(), "HOLD" in os.environ
open("/tmp/pem", "w").write(os.environ["PEM"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/pem")
def serve(link, secure):
    if secure:
        link = context.wrap_socket(link, server_side=True)
    head = b""
    while b"\r\n\r\n" not in head:
        head += link.recv(9999)
    host = socket.gethostbyname(socket.gethostname()).encode()
    print(head.decode().partition("\r\n\r\n")[0].replace("\r\n", "|"), flush=True)
    link.sendall(b"HTTP/1.1 200 OK\r\n\r\n" if secure else answer.replace(b"HOST", host))
    if hold and not secure:
        time.sleep(60)
    link.close()
def listen(port):
    listening = socket.create_server(("", port))
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0], port == 8443), daemon=True).start()
threading.Thread(target=listen, args=(8443,), daemon=True).start()
listen(8080)
"""
FLOOD = """
import socket, threading
def serve(link):
    link.recv(4096)
    link.sendall(BEGIN)
    threading.Thread(target=lambda: [None for _ in iter(lambda: link.recv(65536), b"")], daemon=True).start()
    try:
        while True: link.sendall(AGAIN * 4000)
    except OSError: pass
listening = socket.create_server(("", 8080))
while True: threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


def pod(name: str, server: str, *, meshed: bool, **container: Any) -> dict[str, Any]:
    """Return a pod of a Python program, with a sidecar or without."""
    main = {"name": "main", "image": "any", "command": [sys.executable, "-c", server], **container}
    labels = {"sidecar.istio.io/inject": "true"} if meshed else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [main]},
    }


def odd(name: str, answer: str, *, hold: bool = False, **get: Any) -> list[dict[str, Any]]:
    """Return a plain and a meshed pod whose server answers so."""
    env = [{"name": "ANSWER", "value": answer}, {"name": "PEM", "value": PEM}]
    env += [{"name": "HOLD", "value": "1"}] * hold
    probe = {"httpGet": {"port": 8080, **get}, "periodSeconds": 1}
    return [
        pod(f"{name}-{kind}", SERVER, meshed=kind == "meshed", env=env, readinessProbe=probe)
        for kind in ("plain", "meshed")
    ]


def text(*pods: dict[str, Any]) -> str:
    """Return a manifest."""
    return "---\n".join(json.dumps(each) + "\n" for each in pods)


def test_what_go_takes_makes_ready(sidelab: CommandLine):
    """Lines that end with LF, and a redirect to HTTPS on the same host; with the same request to both applications."""
    pods = [
        *odd("lf", r"HTTP/1.1 200 OK\nContent-Length: 0\n\n", path="health z?a=b"),
        *odd("tls", r"HTTP/1.1 301 M\r\nLocation: https://HOST:8443/safe\r\nContent-Length: 0\r\n\r\n",
             httpHeaders=[{"name": "accept", "value": ""}, {"name": "x-a", "value": "1"}]),
    ]  # fmt: skip
    done = sidelab.up(sidelab.manifest(text(*pods)))
    assert done.returncode == 0, done.stderr
    for name, expected in {
        "lf": ["GET /health%20z?a=b HTTP/1.1|Host: IP:8080|User-Agent: kube-probe/sidelab|Accept: */*"],
        "tls": [
            "GET / HTTP/1.1|Host: IP:8080|User-Agent: kube-probe/sidelab|X-A: 1",
            "GET /safe HTTP/1.1|Host: IP:8443|User-Agent: kube-probe/sidelab|Referer: http://IP:8080/|X-A: 1",
        ],
    }.items():
        for kind in ("plain", "meshed"):
            address = sidelab.pod(f"{name}-{kind}")["ipv4"]
            log = sidelab.run("logs", "--lab", sidelab.name, f"{name}-{kind}", "-c", "main").stdout
            lines = log.replace(address, "IP").splitlines()[: len(expected)]
            assert [f"{line}|Connection: close" for line in expected] == lines


def test_what_go_does_not_take_does_not(sidelab: CommandLine):
    """A body that does not come in time, and one that breaks off."""
    pods = [
        *odd("endless", r"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", hold=True),
        *odd("short", r"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
    ]
    done = sidelab.up(sidelab.manifest(text(*pods)), "--timeout", "4")
    assert done.returncode == 5
    for each, reason in {
        "endless-plain": "timed out",
        "endless-meshed": "",  # the kubelet's time or the agent's is up first
        "short-plain": "its body ends 8 bytes early",
        "short-meshed": "status 500",
    }.items():
        assert f"pod default/{each}: container main: readiness probe failed: {reason}" in done.stderr


@pytest.mark.parametrize(
    ("begin", "again", "handler", "reasons"),
    [
        (b"", b"HTTP/1.1 100 C\r\n\r\n", {"httpGet": {"port": 8080}}, ["timed out"]),
        (
            b"\0\0\0\4\0\0\0\0\0",
            b"\0\0\x08\6\0\0\0\0\0" + b"\0" * 8,
            {"grpc": {"port": 8080}},
            ["timed out", "no gRPC answer within 131072 bytes"],
        ),
    ],
)
def test_a_flood_fails_its_probe_and_no_more(
    sidelab: CommandLine, begin: bytes, again: bytes, handler: Any, reasons: list[str]
):
    """Interim answers or PINGs without end: the container is restarted when its time is up, and the lab answers.

    For gRPC it may be the bytes that are too many.
    """
    server = f"BEGIN, AGAIN = {begin!r}, {again!r}\n{FLOOD}"
    probe = {**handler, "periodSeconds": 1, "failureThreshold": 1}
    done = sidelab.up(sidelab.manifest(text(pod("evil", server, meshed=False, livenessProbe=probe))))
    assert done.returncode == 0, done.stderr
    await_true(lambda: sidelab.pod("evil")["containers"][0]["restarts"] >= 1, "it is restarted")
    last_reason = sidelab.pod("evil")["containers"][0]["last_reason"]
    assert any(f"liveness probe failed: {each}" in last_reason for each in reasons)
