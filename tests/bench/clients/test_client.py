"""The measuring client's requests, against servers on loopback."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from sidelab.bench.clients import client
from sidelab.bench.clients.client import Sockets
from sidelab.bench.clients.polling_client import PollingSocket
from sidelab.lab.errors import PodError


def answering(answer: bytes) -> tuple[str, int]:
    """Serve one connection with these bytes, whatever is asked, and close it; returns the address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening, listening.accept()[0] as link:
            link.recv(1000)
            with contextlib.suppress(ConnectionError):  # the client has read enough
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
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab", "is not a number"),
        (b"HTTP/1.1 2-- OK\r\ncontent-length: 2\r\n\r\nab", "is not a number"),
    ],
)
def test_what_is_no_answer_is_named(answer: bytes, words: str) -> None:
    """A server that breaks off, or answers what can't be measured, ends the run in words that say which."""
    with pytest.raises(PodError, match=words):
        Sockets([(*answering(answer), "/")]).measure(0, new=True)


@pytest.fixture
def full() -> Iterator[tuple[str, int]]:
    """Yield the address of a server that is there and accepts nobody: connections to it are never complete."""
    with ExitStack() as held:
        listening = held.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):  # SYNs beyond the backlog are dropped
            filling = held.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
        yield listening.getsockname()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("kind", [socket.socket, PollingSocket])
def test_a_connection_that_is_never_made_is_given_up(
    full: tuple[str, int], monkeypatch: pytest.MonkeyPatch, kind: type[socket.socket], new: bool
) -> None:
    """connect(2) has the deadline of every other wait, whoever drops its packets."""
    monkeypatch.setattr(client, "_TIMEOUT_S", 1)
    with closing(Sockets([(*full, "/")], kind)) as sockets, pytest.raises(PodError, match="nothing within 1 s"):
        sockets.measure(0, new=new)


def test_an_answer_that_goes_on_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little comes at a time, the whole has a deadline, too."""
    monkeypatch.setattr(client, "_WHOLE_NS", 0)
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 600000\r\n\r\n" + b"x" * 600_000
    with pytest.raises(PodError, match="took more than half a minute"):
        Sockets([(*answering(answer), "/")]).measure(0, new=True)
