"""The load itself: one thread, one epoll, `starts` to keep and connections to send on; it records, and judges nothing.

A request that is due takes the connection that has been free the longest; if none is free it waits in a queue. Latency
is from the due time to the last byte, queued or not. The generator's own *lag* is how late it handled a request that
was due: it is part of that request's latency, and makes it less certain.
"""

import select
import socket
from collections import deque
from collections.abc import Sequence
from time import perf_counter_ns
from typing import NamedTuple

from sidelab.bench.openloop.answers import AnswerParser
from sidelab.lab.errors import PodError

_TIMEOUT_NS = 5_000_000_000
_AWAKE_NS = 200_000
"""The generator stays awake for this long before a request is due: a sleep ends up to 0.1 ms late."""

_SETTLE_NS = 2_000_000
_RECEIVE_BYTES = 1 << 18


class Link:
    """One connection to the server, kept alive, with at most one request in flight."""

    __slots__ = ("answer", "due_ns", "fd", "socket")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.fd = connected.fileno()
        self.answer = AnswerParser()
        self.due_ns = 0


class GeneratedLoad(NamedTuple):
    """What was measured: latencies and lags in ns, how many requests failed, and how long it took in all.

    A request failed if its answer was not 2xx, its connection broke, or it was unanswered 5 s after the last one was
    due.
    """

    latencies_ns: list[int]
    lags_ns: list[int]
    errors: int
    elapsed_ns: int


class Generator:
    """Sends `request` at `starts` (offsets in ns, ascending) over `sockets`, which are connected."""

    def __init__(self, sockets: Sequence[socket.socket], request: bytes, starts: Sequence[int]) -> None:
        self._links = {each.fileno(): Link(each) for each in sockets}
        self._free = deque(self._links.values())
        self._request = request
        self._starts = starts
        self._latencies: list[int] = []
        self._lags: list[int] = []
        self._errors = 0
        self._last_ns = 0

    def run(self) -> GeneratedLoad:
        """Send everything and wait for the answers; raises `PodError` when no connection is left."""
        line: deque[int] = deque()
        free, starts = self._free, self._starts
        total, taken = len(starts), 0
        with select.epoll(len(self._links)) as epoll:
            for link in self._links.values():
                epoll.register(link.fd, select.EPOLLIN)
            begin = perf_counter_ns() + _SETTLE_NS
            end = begin + (starts[-1] if starts else 0) + _TIMEOUT_NS
            while len(self._latencies) + self._errors < total:
                now = perf_counter_ns()
                while taken < total and begin + starts[taken] <= now:
                    due = begin + starts[taken]
                    self._lags.append(now - due)
                    line.append(due)
                    taken += 1
                while line and free:
                    self._send(free.popleft(), line.popleft())
                if now > end:
                    self._errors = total - len(self._latencies)
                    break
                _wait(epoll, (begin + starts[taken] if taken < total else end) - perf_counter_ns())
                for fd, _ in epoll.poll(0):
                    self._receive(self._links[fd], epoll)
        return GeneratedLoad(self._latencies, self._lags, self._errors, max(self._last_ns, begin) - begin)

    def _send(self, link: Link, due_ns: int) -> None:
        link.due_ns = due_ns
        try:
            # A request fits into the send buffer: it is sent whole, or the connection is broken, as reading will show.
            link.socket.send(self._request)
        except OSError:
            return

    def _receive(self, link: Link, epoll: select.epoll) -> None:
        try:
            data = link.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = perf_counter_ns()
        if not data:
            self._forget(link, epoll)
            return
        if not link.due_ns:
            raise PodError("an answer came that no request had asked for")
        if link.answer.feed(data):
            if 200 <= link.answer.status < 300:
                self._latencies.append(now - link.due_ns)
                self._last_ns = now
            else:
                self._errors += 1
            link.due_ns = 0
            self._free.append(link)

    def _forget(self, link: Link, epoll: select.epoll) -> None:
        """Go on without a connection that has ended; its request in flight is an error."""
        self._errors += bool(link.due_ns)
        epoll.unregister(link.fd)
        del self._links[link.fd]
        if link in self._free:
            self._free.remove(link)
        if not self._links:
            raise PodError("the server has closed every connection of the load")


def _wait(epoll: select.epoll, left_ns: int) -> None:
    """Sleep until an answer is there, at most until shortly before the next request is due."""
    if left_ns > _AWAKE_NS:
        # epoll_wait(2) counts in milliseconds, select(2) in microseconds.
        select.select([epoll], [], [], (left_ns - _AWAKE_NS) / 1e9)
