"""An agent's parts on loopback: a loop that runs during a blocking client's request, and servers with set answers."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tools import PATIENCE_S

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

Value = TypeVar("Value")


def meanwhile(loop: ProxyLoop, work: Callable[[], Value]) -> Value:
    """Run `work` in a thread while `loop` turns here, and return its result."""
    found: list[Value] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised again where it can be seen
            failed.append(error)
        loop.call_threadsafe(lambda: None)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and not (found or failed):
        loop.turn(PATIENCE_S)
    thread.join(PATIENCE_S)
    loop.turn(0)
    if failed:
        raise failed[0]
    return found[0]


def until(loop: ProxyLoop, condition: Callable[[], object]) -> None:
    """Turn `loop` until `condition` is true; fail if nothing happens for long."""
    while not condition():
        loop.call_later(PATIENCE_S, _too_late)
        loop.turn(PATIENCE_S)


def _too_late() -> None:
    raise AssertionError("nothing happened")


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, bytes]:
    """Return status and body."""
    connection = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@contextmanager
def answering(*answers: bytes, host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes], list[str]]]:
    """Serve: each connection gets the next answer and is closed. Yields port, requests, and the clients' addresses."""
    asked: list[bytes] = []
    peers: list[str] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        listening.settimeout(PATIENCE_S)

        def serve() -> None:
            for answer in answers:
                try:
                    connection, address = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(PATIENCE_S)
                    data = b""
                    while b"\r\n\r\n" not in data and (part := connection.recv(65536)):
                        data += part
                    asked.append(data)
                    peers.append(address[0])
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], asked, peers
        listening.close()
        thread.join(PATIENCE_S)


def ok(body: bytes = b"", *lines: str, status: str = "200 OK") -> bytes:
    """Return an answer's bytes."""
    head = "\r\n".join((f"HTTP/1.1 {status}", f"content-length: {len(body)}", *lines))
    return f"{head}\r\n\r\n".encode() + body
