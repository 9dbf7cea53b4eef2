"""The loop's time: timers by one descriptor, and many deadlines of one length."""

import socket
import time
from collections.abc import Iterator

import pytest

from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.proxy_loop import READ, ProxyLoop


@pytest.fixture
def loop() -> Iterator[ProxyLoop]:
    """Yield a loop."""
    loop = ProxyLoop()
    yield loop
    loop.close()


class _Someone:
    def __init__(self, told: list[str], name: str) -> None:
        self._told = told
        self._name = name

    def late(self) -> None:
        self._told.append(self._name)


def _turn_until(loop: ProxyLoop, told: list[str], count: int) -> None:
    while len(told) < count:
        loop.turn(10)


def test_timers_run_in_the_order_of_their_times(loop: ProxyLoop) -> None:
    """A timer that is set later but due sooner runs first; one that was cancelled, never."""
    told: list[str] = []
    for delay_s, name in ((0.02, "third"), (0.0, "first"), (0.01, "second")):
        loop.call_later(delay_s, lambda name=name: told.append(name))  # type: ignore[misc]  # a default binds it
    loop.call_later(0.005, lambda: told.append("never")).cancel()
    _turn_until(loop, told, 3)
    assert ["first", "second", "third"] == told


def test_timer_set_while_another_rings(loop: ProxyLoop) -> None:
    """A timer that is set in the very turn in which one is due, before its turn has come, silences neither."""
    told: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # Both events are there when the loop looks; which it handles first is the kernel's choice.
        for _ in range(20):
            loop.call_later(0.0, lambda: told.append("due"))
            theirs.send(b"!")

            def heard(_events: int) -> None:
                ours.recv(1)
                loop.call_later(0.0, lambda: told.append("set"))

            loop.watch(ours.fileno(), READ, heard)
            before = len(told)
            _turn_until(loop, told, before + 2)
            loop.forget(ours.fileno())
    assert (20, 20) == (told.count("due"), told.count("set"))


def test_deadlines_are_told_to_those_who_are_late(loop: ProxyLoop) -> None:
    """Who met its deadline is told nothing, all others once, in the order in which they began."""
    told: list[str] = []
    deadlines = Deadlines(loop, 0.01)
    people = {name: _Someone(told, name) for name in ("a", "b", "c")}
    for person in people.values():
        deadlines.begin(person)
    deadlines.met(people["b"])
    _turn_until(loop, told, 2)
    assert (["a", "c"], 0) == (told, len(deadlines))
    deadlines.begin(people["b"])
    _turn_until(loop, told, 3)
    assert ["a", "c", "b"] == told


def test_nobody_is_told_early(loop: ProxyLoop) -> None:
    """Time is given from when it began, not from when somebody else did."""
    told: list[str] = []
    deadlines = Deadlines(loop, 0.05)
    deadlines.begin(_Someone(told, "a"))
    while time.monotonic() < loop._alarm_s - 0.02:
        loop.turn(0.01)
    began_s = time.monotonic()
    deadlines.begin(_Someone(told, "b"))
    _turn_until(loop, told, 2)
    assert time.monotonic() - began_s >= 0.05


class _Reader:
    """Reads its socket on account of `share`, and notes whose turn it was."""

    def __init__(self, loop: ProxyLoop, share: str, told: list[str]) -> None:
        self.share = share
        self.ours, self.theirs = socket.socketpair()
        self._told = told
        loop.watch(self.ours.fileno(), READ, self.read)

    def read(self, _events: int) -> None:
        self._told.append(self.share)

    def close(self, loop: ProxyLoop) -> None:
        loop.forget(self.ours.fileno())
        self.ours.close()
        self.theirs.close()


def test_who_wants_little_is_served_first(loop: ProxyLoop) -> None:
    """Of two sources the one with the fewest events is first in each turn, and every connection has its turn."""
    told: list[str] = []
    readers = [_Reader(loop, share, told) for share in ("many",) * 50 + ("few",)]
    for reader in readers:
        reader.theirs.send(b"!")
    counts = set()
    for _ in range(100):
        begun = len(told)
        loop.turn(1)
        turn = told[begun:]
        assert ("few", 1) == (turn[0], turn.count("few"))
        counts.add(len(turn))
    for reader in readers:
        reader.close(loop)
    assert min(counts) > 1
