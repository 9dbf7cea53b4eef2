"""Pages asked for by a thread that waits: within its time, within bounds, whatever the other end does."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from sidelab.lab.net.ask import BODY_BYTES, answer_to, ask_port, request_of
from sidelab.lab.net.http_answer import AnswerError

OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a server whose one connection `serve` has, in a thread, after the request's head has come."""

    def work() -> None:
        with suppress(OSError), listening.accept()[0] as link:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += link.recv(4096)
            serve(link)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=work)
        thread.start()
        yield listening.getsockname()[1]
        thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize(("method", "length"), [("GET", ""), ("POST", "Content-Length: 0\r\n")])
def test_a_request_asks_for_the_connections_end(method: str, length: str) -> None:
    """It says that it has no body where its method might have one, and who asks where that is given."""
    head = f"{method} /a?b HTTP/1.1\r\nHost: x:1\r\n"
    assert f"{head}{length}Connection: close\r\n\r\n".encode() == request_of(method, "/a?b", "x:1")
    assert f"{head}User-Agent: u\r\n{length}Connection: close\r\n\r\n".encode() == request_of(
        method, "/a?b", "x:1", user_agent="u"
    )


def test_a_page_is_there_once_its_length_is() -> None:
    """Even where the server leaves the connection open."""
    over = threading.Event()

    def serve(link: socket.socket) -> None:
        link.sendall(OK + b"content-length: 2\r\n\r\nok")
        over.wait(10)

    with serving(serve) as port, socket.socket() as link:
        answer = ask_port(link, port, "GET", "/", 10)
        over.set()
    assert (200, b"ok") == (answer.status, answer.body)


@pytest.mark.parametrize("first", [b"", OK + b"x: ", OK + b"\r\n", OK + b"transfer-encoding: chunked\r\n\r\n5;"])
def test_a_server_that_drips_is_given_up_in_time(first: bytes) -> None:
    """The time is for all of the answer, however often something of it comes: its head, its body, a chunk's line."""
    done = threading.Event()

    def serve(link: socket.socket) -> None:
        link.sendall(first)
        while not done.wait(0.01):
            link.sendall(b"x")

    with serving(serve) as port, socket.socket() as link:
        begin_s = time.monotonic()
        with pytest.raises(TimeoutError):
            ask_port(link, port, "GET", "/", 0.2)
        assert 0.2 <= time.monotonic() - begin_s < 5
        done.set()


def test_a_request_that_nobody_reads_is_given_up_in_time() -> None:
    """Sending has its part of the time."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        answer_to(ours, b"x" * (16 << 20), 0.1)


def test_an_endless_page_is_cut() -> None:
    """What no page is as long as is not waited for."""

    def serve(link: socket.socket) -> None:
        link.sendall(OK + b"\r\n")
        for _ in itertools.count():
            link.sendall(b"x" * (1 << 20))

    with serving(serve) as port:
        with socket.socket() as link:
            answer = ask_port(link, port, "GET", "/", 30)
        assert BODY_BYTES == len(answer.body)


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", OK, OK + b"content-length: 3\r\n\r\nok"])
def test_what_is_no_whole_answer_is_an_error(said: bytes) -> None:
    """Nothing, something else, half a head, and half a body are one kind of error."""
    with serving(lambda link: link.sendall(said)) as port, socket.socket() as link, pytest.raises(AnswerError):
        ask_port(link, port, "GET", "/", 10)


def test_where_nothing_listens_nothing_is_waited_for() -> None:
    """The kernel's own error is raised."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with socket.socket() as link, pytest.raises(ConnectionRefusedError):
        ask_port(link, port, "GET", "/", 10)
