"""The measuring client's requests, against servers on loopback."""

import socket
import threading

import pytest

from bench.client import Sockets
from lab.errors import PodError


def answering(answer: bytes) -> tuple[str, int]:
    """Serve one connection with these bytes, whatever is asked, and close it; returns the address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as link:
            link.recv(1000)
            link.sendall(answer)

    threading.Thread(target=serve).start()
    host, port = listening.getsockname()
    return host, port


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\n", "the answer's first 17 bytes hold no whole HTTP head"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "the answer ended after 2 of 5 bytes"),
    ],
)
def test_what_is_no_answer_is_named(answer: bytes, words: str) -> None:
    """A server that breaks off, or answers what can't be measured, ends the run in words that say which."""
    with pytest.raises(PodError, match=words):
        Sockets([(*answering(answer), "/")]).measure(0, new=True)
