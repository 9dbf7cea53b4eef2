"""One request over a connected socket, its answer waited for: for admin pages, which are asked seldom and are near."""

import socket
import time

from sidelab.lab.net.http_answer import Answer

BODY_BYTES = 16 << 20
"""Longer than any page of a proxy's; what is longer is cut there."""

_READ_BYTES = 1 << 16


def request_of(method: str, path: str, authority: str) -> bytes:
    """Return a request that asks for the connection's end behind its answer."""
    length = "" if method == "GET" else "Content-Length: 0\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{length}Connection: close\r\n\r\n".encode()


def ask(link: socket.socket, method: str, path: str, authority: str, timeout_s: float) -> Answer:
    """Return the answer to one request; raises `OSError`, after `timeout_s` in all `TimeoutError`, or `AnswerError`."""
    end_s = time.monotonic() + timeout_s
    answer = Answer(limit=BODY_BYTES)
    link.settimeout(timeout_s)
    link.sendall(request_of(method, path, authority))
    while True:
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        link.settimeout(left_s)
        if answer.feed(link.recv(_READ_BYTES)):
            return answer
