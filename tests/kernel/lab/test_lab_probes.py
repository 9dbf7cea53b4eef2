"""Startup and liveness probes, and what they mean for a container: gates, restarts, reasons."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, await_true

pytestmark = pytest.mark.kernel

DATA = Path(__file__).parents[2] / "data"
WAIT = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
ONCE = "if test -e /tmp/sick; then rm /tmp/sick; exit 1; fi"  # a liveness probe that fails once for each `touch`
TLS_SERVER = """
import os, ssl, http.server
open("/tmp/pem", "w").write(os.environ["PEM"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/pem")
server = http.server.HTTPServer(("", 8443), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def _pod(container: dict[str, Any], **spec: Any) -> str:
    container = {"name": "main", "image": "any", "command": ["sh", "-c", WAIT], **container}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": [container], **spec}}
    return json.dumps(pod)


def _asks(script: str, **timings: Any) -> dict[str, Any]:
    return {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, **timings}


def _container(line: CommandLine) -> dict[str, Any]:
    found: dict[str, Any] = line.pod("pod")["containers"][0]
    return found


def test_a_startup_probe_holds_back_the_others(sidelab: CommandLine):
    """Liveness would fail at once and readiness pass; neither is asked before startup has passed."""
    probes = {
        "startupProbe": _asks("test -e /tmp/up", failureThreshold=100),
        "livenessProbe": _asks("test -e /tmp/up", failureThreshold=1),
        "readinessProbe": _asks("echo asked >> /tmp/asked"),
    }
    up = sidelab.start_up(sidelab.manifest(_pod(probes)))
    await_true(
        lambda: "startup probe failed" in sidelab.run("status", sidelab.name, "--json").stdout,
        "the startup probe fails",
    )
    container = _container(sidelab)
    assert (container["ready"], container["restarts"]) == (False, 0)
    assert sidelab.exec("pod", "sh", "-c", "test -e /tmp/asked; echo $?; touch /tmp/up").stdout == "1\n"
    assert up.wait(timeout=20) == 0
    assert sidelab.exec("pod", "test", "-e", "/tmp/asked").returncode == 0
    assert _container(sidelab)["restarts"] == 0


def test_a_container_that_does_not_start_up_is_restarted_with_the_reason(sidelab: CommandLine):
    """At once the first time; the second time it is named as the kubelet names it."""
    text = _pod({"startupProbe": _asks("exit 3", failureThreshold=1)})
    done = sidelab.up(sidelab.manifest(text), "--timeout", "6")  # before the back-off of 10 s is over
    assert done.returncode == 5
    assert (
        "container main: startup probe failed: exit status 3; exit status 0 (CrashLoopBackOff: back-off 10 s)"
    ) in done.stderr


def test_a_container_that_is_no_longer_alive_is_restarted(sidelab: CommandLine):
    """It is asked to end, starts again, and gets ready again."""
    text = _pod({"livenessProbe": _asks(ONCE, failureThreshold=1)})
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    before = _container(sidelab)["pid"]
    assert sidelab.exec("pod", "touch", "/tmp/sick").returncode == 0
    await_true(lambda: _container(sidelab)["restarts"] == 1 and _container(sidelab)["ready"], "it is ready again")
    after = _container(sidelab)
    assert after["pid"] != before
    assert (after["last_exit_status"], after["last_reason"]) == (
        0,
        "liveness probe failed: exit status 1; exit status 0",
    )


def test_a_probes_own_grace_counts_where_it_ends_a_container(sidelab: CommandLine):
    """What ignores SIGTERM is killed after the two seconds that every container has, not after the pod's hour."""
    deaf = "trap '' TERM; while :; do sleep 0.05; done"
    probe = _asks(ONCE, failureThreshold=1, terminationGracePeriodSeconds=1)
    text = _pod({"command": ["sh", "-c", deaf], "livenessProbe": probe}, terminationGracePeriodSeconds=3600)
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert sidelab.exec("pod", "touch", "/tmp/sick").returncode == 0
    await_true(lambda: _container(sidelab)["restarts"] == 1, "it is restarted")
    assert _container(sidelab)["last_reason"] == "liveness probe failed: exit status 1; signal 9"
    sidelab.exec("pod", "sh", "-c", "kill -9 -1")  # or the end of the lab would wait for the pod's hour


def test_a_container_that_is_not_alive_ends_for_good_where_nothing_restarts(sidelab: CommandLine):
    """With restartPolicy Never its status decides whether the pod has succeeded."""
    text = _pod({"livenessProbe": _asks(ONCE, failureThreshold=1)}, restartPolicy="Never")
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert sidelab.exec("pod", "touch", "/tmp/sick").returncode == 0
    await_true(lambda: sidelab.pod("pod")["phase"] == "Succeeded", "the pod has ended")
    assert _container(sidelab)["reason"] == "liveness probe failed: exit status 1; exit status 0"


@pytest.mark.parametrize(("service", "status"), [("up", 0), ("", 0), ("down", 5)])
def test_a_grpc_probe_asks_the_health_service(sidelab: CommandLine, service: str, status: int):
    """SERVING makes ready; the name of another status is the reason."""
    command = [sys.executable, "-c", (DATA / "grpc_health.py").read_text(), "9000"]
    text = _pod({"command": command, "readinessProbe": {"grpc": {"port": 9000, "service": service}}})
    done = sidelab.up(sidelab.manifest(text), *(["--timeout", "4"] if status else []))
    assert done.returncode == status, done.stderr
    if status:
        assert "container main: readiness probe failed: NOT_SERVING" in done.stderr


def test_an_https_probe_verifies_nothing(sidelab: CommandLine):
    """A server with a self-signed certificate gets ready; plain HTTP to it does not pass."""
    server = {
        "command": [sys.executable, "-c", TLS_SERVER],
        "env": [{"name": "PEM", "value": (DATA / "self-signed.pem").read_text()}],
        "workingDir": "/tmp",
        "readinessProbe": {"httpGet": {"port": 8443, "scheme": "HTTPS"}},
    }
    assert sidelab.up(sidelab.manifest(_pod(server))).returncode == 0


def test_crashes_are_counted_and_the_back_off_is_named(sidelab: CommandLine):
    """A program that ends again and again waits longer each time, and says so."""
    text = _pod({"command": ["sh", "-c", "echo gone; exit 7"], "readinessProbe": _asks("true", initialDelaySeconds=9)})
    done = sidelab.up(sidelab.manifest(text), "--timeout", "5")
    assert "container main: exit status 7 (CrashLoopBackOff: back-off 10 s); its log ends:\ngone\ngone" in done.stderr
