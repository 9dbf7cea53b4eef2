"""Send one request over a socket and wait for its answer: for rarely used pages nearby. Blocks for a bounded time."""

import socket
import time

from sidelab.lab.net.http_answer import Answer

BODY_BYTES = 16 << 20
"""Longer than any page of a proxy's; what is longer is cut there."""

_READ_BYTES = 1 << 16


def request_of(method: str, path: str, authority: str, *, user_agent: str = "") -> bytes:
    """Return a request that asks for the connection's end behind its answer."""
    agent = f"User-Agent: {user_agent}\r\n" if user_agent else ""
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{agent}{length}Connection: close\r\n\r\n".encode()


def ask_port(link: socket.socket, port: int, method: str, path: str, timeout_s: float) -> Answer:
    """Connect `link` to `port` of 127.0.0.1, and return its answer to one request; `timeout_s` is for both.

    Raises what `answer_to` raises.
    """
    deadline_s = time.monotonic() + timeout_s
    limit(link, deadline_s)
    link.connect(("127.0.0.1", port))
    return answer_to(link, request_of(method, path, f"localhost:{port}"), deadline_s - time.monotonic())


def answer_to(link: socket.socket, request: bytes, timeout_s: float) -> Answer:
    """Send `request` on a connected socket, and return the answer.

    Raises `OSError`, after `timeout_s` in all `TimeoutError`, or `AnswerError`.
    """
    deadline_s = time.monotonic() + timeout_s
    answer = Answer(limit=BODY_BYTES)
    limit(link, deadline_s)
    link.sendall(request)
    while True:
        limit(link, deadline_s)
        if answer.feed(link.recv(_READ_BYTES)):
            return answer


def limit(link: socket.socket, deadline_s: float) -> None:
    """Have the next step on `link` end by `deadline_s` of time.monotonic(); raises `TimeoutError` if that is over."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    link.settimeout(left_s)
