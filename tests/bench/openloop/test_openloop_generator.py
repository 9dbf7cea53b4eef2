"""The open loop over real sockets, against servers in a thread."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import standin

from sidelab.bench.openloop import process
from sidelab.bench.openloop.answers import AnswerParser
from sidelab.bench.openloop.generator import Generator
from sidelab.lab.errors import PodError

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def pairs(number: int, serve: Callable[[socket.socket], None]) -> Iterator[list[socket.socket]]:
    """Yield connected sockets, at the other end of each of which `serve` runs in a thread."""
    both = [socket.socketpair() for _ in range(number)]
    threads = [threading.Thread(target=serve, args=(theirs,)) for _, theirs in both]
    for thread in threads:
        thread.start()
    try:
        yield [ours for ours, _ in both]
    finally:
        for ours, _ in both:
            ours.close()
        for thread in threads:
            thread.join(10)
        for _, theirs in both:
            theirs.close()


def answering(link: socket.socket) -> None:
    """Answer every request."""
    while link.recv(1000):
        link.sendall(ANSWER)


def test_every_request_that_is_due_is_answered_once() -> None:
    """As many latencies and lags are recorded as requests were due, on however many connections."""
    with pairs(3, answering) as sockets:
        found = Generator(sockets, REQUEST, [number * 100_000 for number in range(50)]).run()
    assert (50, 50, 0) == (len(found.latencies_ns), len(found.lags_ns), found.errors)
    assert all(latency > 0 for latency in found.latencies_ns)


def test_waiting_for_a_stalled_server_is_latency() -> None:
    """What is due while the only connection waits counts from when it was due: no coordinated omission."""

    def stalling(link: socket.socket) -> None:
        link.recv(1000)
        threading.Event().wait(0.03)
        link.sendall(ANSWER)
        answering(link)

    starts = [0, 1_000_000, 2_000_000]
    with pairs(1, stalling) as sockets:
        first, second, third = Generator(sockets, REQUEST, starts).run().latencies_ns
    assert first >= 30_000_000
    assert second > first - 1_000_000
    assert third > first - 2_000_000


def test_a_broken_connection_costs_one_request() -> None:
    """A connection that ends unanswered is an error; the others carry on."""
    broken = threading.Lock()

    def fragile(link: socket.socket) -> None:
        if broken.acquire(blocking=False):
            link.recv(1000)
            link.shutdown(socket.SHUT_RDWR)
        else:
            answering(link)

    with pairs(2, fragile) as sockets:
        found = Generator(sockets, REQUEST, [number * 100_000 for number in range(20)]).run()
    assert (19, 1) == (len(found.latencies_ns), found.errors)


def test_a_refusal_is_an_error() -> None:
    """An answer that is no 2xx is counted as an error, and has no latency."""

    def refusing(link: socket.socket) -> None:
        while link.recv(1000):
            link.sendall(b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n")

    with pairs(1, refusing) as sockets:
        found = Generator(sockets, REQUEST, [0, 100_000]).run()
    assert (0, 2) == (len(found.latencies_ns), found.errors)


def test_no_connection_left_is_said() -> None:
    """Where every connection has ended there is nothing to measure."""
    with pairs(1, lambda link: link.shutdown(socket.SHUT_RDWR)) as sockets, pytest.raises(PodError, match="every"):
        Generator(sockets, REQUEST, [0, 1_000_000_000]).run()


def test_a_load_is_what_its_order_says() -> None:
    """The process opens the connections, keeps the rate, and returns histograms."""
    with standin() as (host, port):
        order = {"host": host, "port": port, "request": REQUEST.decode(), "schedule": "uniform", "seed": "1"}
        said = process.load(order | {"rate_per_s": 200, "duration_s": 0.2, "connections": 4})
    assert (40, 4, 0) == (sum(count for _, count in said["latency"]), said["warmup"], said["errors"])
    assert 40 == sum(count for _, count in said["lag"])


def test_a_server_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the load each connection is asked once, within a time that is for the whole answer."""
    monkeypatch.setattr(process, "_TIMEOUT_S", 0.2)
    done = threading.Event()

    def drip() -> None:
        with suppress(OSError), listening.accept()[0] as link:
            link.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.01):
                link.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip)
        thread.start()
        host, port = listening.getsockname()
        order = {"host": host, "port": port, "request": REQUEST.decode(), "schedule": "uniform", "seed": "1"}
        with pytest.raises(PodError, match="no answer in time"):
            process.load(order | {"rate_per_s": 200, "duration_s": 0.2, "connections": 1})
        done.set()
        thread.join(10)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(1, 60), max_size=12), st.integers(0, 300))
def test_an_answer_is_whole_however_it_is_cut(cuts: list[int], size: int) -> None:
    """Pieces of any size make the same answer, and only its last byte completes it."""
    data = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    answer = AnswerParser()
    whole = []
    for cut in (*cuts, len(data)):
        piece, data = data[:cut], data[cut:]
        if piece:
            whole.append(answer.feed(piece))
    assert [False] * (len(whole) - 1) + [True] == whole
    assert 200 == answer.status


def an_answer(status: int, size: int, late: bool) -> bytes:
    """Return an answer; one that is `late` comes behind an interim one."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" if late else b""
    return interim + b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, size, b"x" * size)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([200, 503]), st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    st.lists(st.integers(1, 90), max_size=12),
)
def test_answers_on_one_connection_do_not_mix(said: list[tuple[int, int, bool]], cuts: list[int]) -> None:
    """Whether the head is that of the answer before or another one, and however each arrives."""
    answer = AnswerParser()
    for each in said:
        data = an_answer(*each)
        for cut in (*cuts, len(data)):
            piece, data = data[:cut], data[cut:]
            if piece:
                assert answer.feed(piece) is (not data)
        assert each[0] == answer.status


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", ANSWER + b"more", b"x" * 20_000])
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    """Another protocol, an answer without a length, more than was asked for, a head without an end."""
    with pytest.raises(PodError):
        AnswerParser().feed(data)
