"""Asking a running Envoy over its admin port, with no more than a socket: it is asked while everything ends."""

import re
import socket

_TIMEOUT_S = 1.0
_ACTIVE = re.compile(r"^listener\.(?!admin).+_(\d+)\.downstream_cx_active: (\d+)$", re.MULTILINE)


def ask(port: int, method: str, path: str) -> str:
    """Return the body of an admin page; raises `OSError` where Envoy does not answer in time."""
    # Not `create_connection`: that would import an encoding, from where the proxy's user may not read.
    with socket.socket() as link:
        link.settimeout(_TIMEOUT_S)
        link.connect(("127.0.0.1", port))
        link.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(1 << 16), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return (_joined(body) if b"transfer-encoding: chunked" in head.lower() else body).decode(errors="replace")


def start_draining(port: int) -> None:
    """Have Envoy answer 503 to readiness, and end its inbound connections with the next response on each.

    What the application still wants to send may leave: it is being stopped at the same time, and not by us.
    """
    ask(port, "POST", "/healthcheck/fail")
    ask(port, "POST", "/drain_listeners?inboundonly&graceful&skip_exit")


def active_connections(port: int, but: tuple[int, ...]) -> int:
    """Return how many captured connections are open; those to the ports `but` are the sidecar's own."""
    page = ask(port, "GET", "/stats?filter=downstream_cx_active$")
    return sum(int(value) for own, value in _ACTIVE.findall(page) if int(own) not in but)


def _joined(body: bytes) -> bytes:
    """Return what chunks say together (RFC 9112, 7.1); a broken end is left out."""
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size or b"0", 16)
        parts.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(parts)
