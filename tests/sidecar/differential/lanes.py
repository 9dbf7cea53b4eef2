"""Run cases through a proxy, one in each lane at a time: send, answer, and record what comes out at both ends.

There are no waits of a fixed length. A proxy serves all its connections in one thread, so when several requests that
were sent after everything else have been answered, and nothing else has moved meanwhile, the proxy has done all that it
is going to do.
"""

import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from sides import Lane
from tools import PATIENCE_S

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
KEPT = b"GET /kept HTTP/1.1\r\nhost: kept\r\n\r\n"
_QUIET_ROUNDS = 3
_ANSWERS = 6
_BARRIER = b"GET /barrier HTTP/1.1\r\nhost: barrier\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """What a client sends, in pieces, and what a server answers to whatever it receives first; `closes` after it.

    What the server receives later is answered with `OK`.
    """

    name: str
    request: tuple[bytes, ...]
    answer: bytes = OK
    closes: bool = False


@dataclass
class Seen:
    """What came out at both ends: bytes at the client, bytes per connection of the server, and what followed.

    `kept`: another request on the client's connection reached the server. `before`: how many bytes each side had got
    before that request.
    """

    client: bytes = b""
    server: list[bytes] = field(default_factory=list)
    kept: bool = False
    before: tuple[int, int] = (0, 0)


class _Link:
    """An end of a connection: what it received, and whether the other end is closed."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        # Else a piece that waits for the previous one's acknowledgement would not be there when it is checked.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.received = bytearray()
        self.answered = 0
        self.ended = False

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.received += data
        self.ended = not data

    def send(self, data: bytes) -> None:
        """Send all of `data`; a peer that is gone is not an error, and one that does not read is given up."""
        self.socket.setblocking(True)
        self.socket.settimeout(2.0)
        with suppress(OSError):
            self.socket.sendall(data)
        self.socket.setblocking(False)


class _Running:
    """A case in its lane."""

    def __init__(self, case: Case, lane: Lane) -> None:
        self.case = case
        self.client = _Link(socket.create_connection(("127.0.0.1", lane.port), timeout=PATIENCE_S))
        self.servers: list[_Link] = []
        self.answers = 0


class Driver:
    """Runs cases through the proxy that `lanes` lead through."""

    def __init__(self, lanes: list[Lane]) -> None:
        self._barrier_lane, *self._lanes = lanes
        self._poll = select.epoll()
        self._links: dict[int, _Link] = {}
        self._open: set[_Link] = set()
        self._origins = {lane.origin.fileno(): lane for lane in lanes}
        self._running: dict[Lane, _Running] = {}
        for descriptor in self._origins:
            self._poll.register(descriptor, select.EPOLLIN)
        self._barrier = self._watch(_Link(socket.create_connection(("127.0.0.1", self._barrier_lane.port))))
        self._barrier_servers: list[_Link] = []

    def close(self) -> None:
        """Close what is open."""
        for link in tuple(self._open):
            self._close(link)
        self._poll.close()

    def run(self, cases: Iterable[Case]) -> list[Seen]:
        """Run the cases, and return what was seen of each, in their order."""
        todo = list(cases)
        seen: list[Seen] = []
        for start in range(0, len(todo), len(self._lanes)):
            seen += self._batch(todo[start : start + len(self._lanes)])
        return seen

    def _batch(self, cases: list[Case]) -> list[Seen]:
        self._running = {lane: _Running(case, lane) for lane, case in zip(self._lanes, cases, strict=False)}
        running = list(self._running.values())
        for each in running:
            self._watch(each.client)
        for number in range(max(len(each.case.request) for each in running)):
            for each in running:
                if number < len(each.case.request):
                    each.client.send(each.case.request[number])
            self._settle()
        self._answer()
        found = [Seen(before=(len(each.client.received), _total(each))) for each in running]
        for each in running:
            each.client.send(KEPT)
        self._answer()
        for each, seen in zip(running, found, strict=True):
            seen.client = bytes(each.client.received)
            seen.server = [bytes(link.received) for link in each.servers]
            seen.kept = KEPT[:9] in b"".join(seen.server)
            self._close(each.client)
        self._settle()
        for each in running:
            for link in each.servers:
                self._close(link)
        self._settle()
        self._running = {}
        return found

    def _answer(self) -> None:
        """Let every server that received something answer, until none has anything to send."""
        for _ in range(_ANSWERS):
            self._settle()
            answering = [
                (each, link)
                for each in self._running.values()
                for link in each.servers
                if len(link.received) > link.answered
            ]
            if not answering:
                return
            for each, link in answering:
                link.answered = len(link.received)
                link.send(OK if each.answers else each.case.answer)
                if each.case.closes and not each.answers:
                    with suppress(OSError):
                        link.socket.shutdown(socket.SHUT_WR)
                each.answers += 1

    def _settle(self) -> None:
        """Return when nothing moves any more."""
        quiet = 0
        while quiet < _QUIET_ROUNDS:
            self._barrier.received.clear()
            self._barrier.send(_BARRIER)
            moved = self._turn_until(lambda: self._barrier.received.endswith(b"ok"))
            quiet = 0 if moved else quiet + 1

    def _turn_until(self, done: Callable[[], bool]) -> bool:
        """Handle events until `done`; return whether anything outside the barrier's own lane moved."""
        moved, end_s = False, time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end_s, f"the proxy does not answer: {bytes(self._barrier.received)!r}"
            for descriptor, _ in self._poll.poll(1.0):
                lane = self._origins.get(descriptor)
                if lane is not None:
                    self._accept(lane)
                    moved = moved or lane is not self._barrier_lane
                    continue
                link = self._links.get(descriptor)
                if link is None:
                    continue
                link.read()
                if link.ended:
                    self._poll.unregister(descriptor)
                    del self._links[descriptor]
                if link in self._barrier_servers:
                    link.send(OK)
                elif link is not self._barrier:
                    moved = True
        return moved

    def _accept(self, lane: Lane) -> None:
        link = self._watch(_Link(lane.origin.accept()[0]))
        running = self._running.get(lane)
        if lane is self._barrier_lane:
            self._barrier_servers.append(link)
        elif running is None:
            self._close(link)
        else:
            running.servers.append(link)

    def _watch(self, link: _Link) -> _Link:
        self._poll.register(link.socket.fileno(), select.EPOLLIN)
        self._links[link.socket.fileno()] = link
        self._open.add(link)
        return link

    def _close(self, link: _Link) -> None:
        descriptor = link.socket.fileno()
        if self._links.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)
        self._open.discard(link)
        link.socket.close()


def _total(running: _Running) -> int:
    return sum(len(link.received) for link in running.servers)
