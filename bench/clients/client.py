"""The measuring client: a process of its own with one thread, blocking sockets, and stamps that are documented here.

It is started afresh for every build of the lab, pinned to its core, and given descriptors of the client pods' network
namespaces; it enters the pod of the next request outside of the timed region. What it stamps, on the monotonic clock:

    start            before the socket is made (new connection) or the request is sent (keep-alive)
    connect          connect(2) has returned: the peer's handshake is complete. A captured pod's peer is its own proxy
    pretransfer      before the request is sent
    starttransfer    the first recv(2) has returned
    total            the recv(2) that held the last byte of the body has returned

Closing, judging and storing the answer come after `total`.
"""

import gc
import resource
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Protocol

from sidelab.bench.clients.client_process import begin, run
from sidelab.bench.clients.polling_client import PollingSocket
from sidelab.bench.clients.stamps import Stamps
from sidelab.lab.base import framing, syscalls
from sidelab.lab.errors import PodError

Target = tuple[str, int, str]
"""The server's address and port, and the path that is asked for."""

Measure = Callable[[int, bool], Stamps]
"""Measures one request: (index of the arm, whether on a new connection), inside the arm's client pod."""


class Client(Protocol):
    """A measuring client; `opened` counts the connections that it has made, by arm."""

    opened: list[int]

    def measure(self, arm: int, new: bool) -> Stamps:
        """Measure one request."""


_TIMEOUT_S = 5
_WHOLE_NS = 30_000_000_000
_BUFFER_BYTES = 1 << 18


class Sockets:
    """Requests over plain blocking sockets; one kept-alive connection per arm, opened when first used."""

    def __init__(self, targets: Sequence[Target], kind: type[socket.socket] = socket.socket) -> None:
        self._kind = kind
        self._targets = [(host, port) for host, port, _ in targets]
        self._families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in self._targets]
        self._requests = [_request(*target) for target in targets]
        self._kept: list[socket.socket | None] = [None] * len(targets)
        self.opened = [0] * len(targets)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._timeout = struct.pack("@ll", _TIMEOUT_S, 0)

    def measure(self, arm: int, new: bool) -> Stamps:
        """Make one request; raises `PodError` when it fails, naming what it waited for."""
        try:
            return self._new(arm) if new else self._keep_alive(arm)
        except OSError as error:
            host, port = self._targets[arm]
            late = isinstance(error, (BlockingIOError, TimeoutError))  # what the time-outs below end with
            said = f"nothing within {_TIMEOUT_S} s" if late else error.strerror
            raise PodError(f"the request to {host}:{port} failed: {said}") from error

    def close(self) -> None:
        """Close the connections that were kept."""
        for link in self._kept:
            if link is not None:
                link.close()

    def _open(self, arm: int) -> socket.socket:
        link = self._kind(self._families[arm], socket.SOCK_STREAM)
        # The kernel's own time-outs: Python's would make the socket non-blocking and cost a poll(2) for every call.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._timeout)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, self._timeout)  # bounds connect(2), too (socket(7))
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def _new(self, arm: int) -> Stamps:
        start = perf_counter_ns()
        link = self._open(arm)
        try:  # `with` would call a method of Python's within the time
            link.connect(self._targets[arm])
            connected = perf_counter_ns()
            self.opened[arm] += 1
            stamps = self._exchange(link, arm, start)
        finally:
            link.close()
        return (connected - start, *stamps)

    def _keep_alive(self, arm: int) -> Stamps:
        link = self._kept[arm]
        if link is None:
            link = self._kept[arm] = self._open(arm)
            link.connect(self._targets[arm])
            self.opened[arm] += 1
        return (None, *self._exchange(link, arm, perf_counter_ns()))

    def _exchange(self, link: socket.socket, arm: int, start: int) -> tuple[int, int, int, int, int]:
        buffer = self._buffer
        request = self._requests[arm]
        before = perf_counter_ns()
        link.send(request)
        size = link.recv_into(buffer)
        first = last = perf_counter_ns()
        status, end, length = _head(buffer, size)
        while size < end + length:
            more = link.recv_into(buffer)  # the head has been read, and the body is nobody's to keep
            last = perf_counter_ns()
            if not more or last - before > _WHOLE_NS:
                why = "took more than half a minute" if more else "ended"
                raise PodError(f"the answer {why} after {size - end} of {length} bytes")
            size += more
        return before - start, first - start, last - start, status, length


def _request(host: str, port: int, path: str) -> bytes:
    """Return a request as curl sends it: Host without a port where it is the default one."""
    name = f"[{host}]" if ":" in host else host
    authority = name if port == 80 else f"{name}:{port}"
    return f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: sidelab\r\nAccept: */*\r\n\r\n".encode()


def _head(buffer: bytearray, size: int) -> tuple[int, int, int]:
    """Return status, length of the head and length of the body of the response that `buffer` begins with."""
    end = buffer.find(b"\r\n\r\n", 0, size)
    if end < 0:
        what = f"the answer's first {size} bytes hold no whole HTTP head" if size else "closed without an answer"
        raise PodError(what)
    lower = bytes(buffer[:end]).lower()
    at = lower.find(b"\r\ncontent-length:")
    if at < 0:
        raise PodError("the answer has no content-length, and the client measures nothing else")
    try:
        return int(buffer[9:12]), end + 4, int(lower[at + 17 :].split(b"\r\n", 1)[0])
    except ValueError:
        raise PodError("the answer's status or content-length is not a number") from None


def serve(link: socket.socket) -> None:
    """Take orders from `link` until it closes: first what to measure, then rounds."""
    order, pods = begin(link)
    targets = [(host, port, path) for host, port, path in order["targets"]]
    client: Client
    if order["client"] == "curl":
        from sidelab.bench.clients.curl import Curl  # noqa: PLC0415  # libcurl only where it was asked for

        client = Curl(targets)
    else:
        client = Sockets(targets, PollingSocket if order["client"] == "polling" else socket.socket)
    gc.disable()
    while (request := framing.receive(link)[0]) != {}:
        before = resource.getrusage(resource.RUSAGE_SELF)
        samples = run_round(request["slots"], pods, client.measure)
        after = resource.getrusage(resource.RUSAGE_SELF)
        answer = {
            "samples": samples,
            "opened": client.opened,
            "preempted": after.ru_nivcsw - before.ru_nivcsw,
            "time_wait": max(map(_time_wait, pods)),
        }
        framing.send(link, answer)


def run_round(slots: Sequence[tuple[int, bool]], pods: Sequence[int], measure: Measure) -> list[Stamps]:
    """Measure `slots` (index of the arm, whether on a new connection) in order, each from its arm's client pod."""
    samples = []
    for arm, new in slots:
        syscalls.setns(pods[arm], syscalls.CLONE_NEWNET)
        samples.append(measure(arm, new))
    return samples


def _time_wait(pod: int) -> int:
    """Return how many closed connections still hold their port in a pod (net/ipv4/proc.c: `TCP: … tw N …`)."""
    syscalls.setns(pod, syscalls.CLONE_NEWNET)
    words = Path("/proc/thread-self/net/sockstat").read_text(encoding="ascii").split()
    return int(words[words.index("tw") + 1])


if __name__ == "__main__":
    run(serve)
