"""Servers that answer a probe with as much, or as little, as they like: the probe fails, and nobody else waits."""

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

import sidelab.lab.runtime.probes.grpc  # noqa: F401  # before a turn is timed that would import it
from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.manifest import GRPC, Exec, HTTPGet, Probe, TCPSocket
from sidelab.lab.plan.blueprint import PlannedCheck, ProbePlan
from sidelab.lab.runtime.probes import ProbeOutcome, Prober

HOST = "127.0.0.1"
TURN_CPU_S = 0.25  # of the supervisor's, however much has arrived; a turn of all others takes a thousandth of it
TIMING = Probe(exec=Exec(command=("x",)))  # the defaults: a deadline of a second
Serve = Callable[[socket.socket], None]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def endless(first: bytes, again: bytes) -> Serve:
    """Serve `first`, and `again` for ever, as fast as it is taken."""

    def serve(accepted: socket.socket) -> None:
        accepted.recv(1 << 16)
        accepted.sendall(first)
        accepted.setblocking(False)
        many = again * (1 + (1 << 18) // len(again))
        rest = many
        while True:
            with contextlib.suppress(BlockingIOError):
                accepted.recv(1 << 16)
            try:
                rest = rest[accepted.send(rest) :] or many
            except BlockingIOError:
                time.sleep(0.0001)

    return serve


def trickle(first: bytes, again: bytes) -> Serve:
    """Serve `first`, and of `again` one byte after the other, slowly."""

    def serve(accepted: socket.socket) -> None:
        accepted.recv(1 << 16)
        accepted.sendall(first)
        for number in count():
            accepted.sendall(again[number % len(again) :][:1])
            time.sleep(0.001)

    return serve


def silent(accepted: socket.socket) -> None:
    """Take everything and say nothing."""
    while accepted.recv(1 << 16):
        pass


@contextlib.contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """Serve every connection in a process of its own, so that no lock of Python's slows a flood; yield the port."""
    with socket.create_server((HOST, 0)) as listening:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            os.setpgid(0, 0)
            while True:
                accepted, _ = listening.accept()
                if os.fork() == 0:
                    signal.alarm(60)
                    with contextlib.suppress(OSError):
                        serve(accepted)
                    os._exit(0)
                accepted.close()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
SETTINGS = frame(4, 0, 0)
HTTP = {
    "interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "header fields": endless(OK, b"a: b\r\n"),
    "one field": endless(OK + b"a: ", b"x"),
    "folded lines": endless(OK + b"a: b\r\n", b" c\r\n"),
    "a chunk's extension": endless(CHUNKED + b"1;", b"x"),
    "extensions": endless(CHUNKED, b"1;" + b"x" * 1000 + b"\r\n1\r\n"),
    "trailers": endless(CHUNKED + b"0\r\n", b"a: b\r\n"),
    "zeros": endless(b"", b"\0"),
    "slow head": trickle(b"", OK + b"a: b\r\n" * 10_000),
    "slow body": trickle(OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "silence": silent,
}
GRPCS = {
    "PING": endless(SETTINGS, frame(6, 0, 0, bytes(8))),
    "SETTINGS": endless(SETTINGS, SETTINGS),
    "long SETTINGS": endless(SETTINGS, frame(4, 0, 0, struct.pack(">HI", 1, 4096) * 100)),
    "WINDOW_UPDATE": endless(SETTINGS, frame(8, 0, 0, struct.pack(">I", 1))),
    "PRIORITY": endless(SETTINGS, frame(2, 0, 1, bytes(5))),
    "empty DATA": endless(SETTINGS + frame(1, 4, 1, b"\x88"), frame(0, 0, 1)),
    "padding": endless(SETTINGS + frame(1, 4, 1, b"\x88"), frame(0, 8, 1, b"\xff" + bytes(255))),
    "CONTINUATION": endless(SETTINGS + frame(1, 0, 1, b"\x88"), frame(9, 0, 1, b"")),
    "interim HEADERS": endless(SETTINGS, frame(1, 4, 1, b"\x08\x03100")),
    "unknown frames": endless(SETTINGS, frame(77, 0, 0, bytes(100))),
    "slow frames": trickle(SETTINGS, frame(6, 0, 0, bytes(8))),
    "silence": silent,
}


def probed(check: PlannedCheck) -> tuple[ProbeOutcome, int]:
    """Probe once beside another probe, which passes all the time; return what came of it, and of the other how often.

    Fails where one turn of the loop takes much of the processor's time.
    """
    incidents = Incidents()
    loop = Loop(incidents.unforeseen)
    outcomes: list[ProbeOutcome] = []
    passes: list[None] = []

    def never(_argv: tuple[str, ...], _done: Callable[[int], None]) -> Callable[[], None]:
        raise NotImplementedError

    def at_once(_argv: tuple[str, ...], done: Callable[[int], None]) -> Callable[[], None]:
        passes.append(None)
        done_later = loop.after(0, lambda: done(1))
        return done_later.cancel

    other = Prober(
        loop, ProbePlan(PlannedCheck(Exec(command=("x",)), (HOST, 0)), TIMING), at_once, lambda _outcome: None
    )
    prober = Prober(loop, ProbePlan(check, TIMING), never, outcomes.append)
    while not outcomes:
        begun_s = time.thread_time()
        loop.turn()
        assert time.thread_time() - begun_s < TURN_CPU_S
    other.stop()
    prober.stop()
    loop.close()
    return outcomes[0], len(passes)


@pytest.mark.parametrize("name", HTTP)
def test_an_http_probe_of_a_hostile_server_fails(name: str):
    """At its deadline at the latest; other probes go on meanwhile."""
    with serving(HTTP[name]) as port:
        outcome, others = probed(PlannedCheck(HTTPGet(port=port), (HOST, port)))
    assert not outcome.passed
    assert outcome.reason
    assert others > 0


@pytest.mark.parametrize("name", ["zeros", "silence", "interim answers"])
def test_an_https_probe_of_a_hostile_server_fails(name: str):
    """The same before TLS is agreed on."""
    with serving(HTTP[name]) as port:
        outcome, others = probed(PlannedCheck(HTTPGet(port=port, scheme="HTTPS"), (HOST, port)))
    assert (False, True) == (outcome.passed, others > 0)


@pytest.mark.parametrize("name", GRPCS)
def test_a_grpc_probe_of_a_hostile_server_fails(name: str):
    """The same for frames that are no answer, however small."""
    with serving(GRPCS[name]) as port:
        outcome, others = probed(PlannedCheck(GRPC(port=port), (HOST, port)))
    assert not outcome.passed
    assert outcome.reason
    assert others > 0


def test_a_server_that_redirects_to_itself_for_ever_fails():
    """After ten requests, as with Go's client."""

    def serve(accepted: socket.socket) -> None:
        accepted.recv(1 << 16)
        accepted.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    with serving(serve) as port:
        assert (
            ProbeOutcome(passed=False, reason="stopped after 10 redirects", counts=False)
            == probed(PlannedCheck(HTTPGet(port=port), (HOST, port)))[0]
        )


@pytest.mark.parametrize("framing", [b"\r\n", b"Content-Length: 99999999\r\n\r\n"])
def test_an_endless_body_is_read_for_ten_kilobytes(framing: bytes):
    """As much as the kubelet reads, and the status counts."""
    with serving(endless(OK + framing, b"x" * 1000)) as port:
        assert probed(PlannedCheck(HTTPGet(port=port), (HOST, port)))[0].passed


def test_a_dial_of_a_server_that_floods_passes():
    """It is closed as soon as it opens."""
    with serving(endless(b"", b"x")) as port:
        assert probed(PlannedCheck(TCPSocket(port=port), (HOST, port)))[0].passed
