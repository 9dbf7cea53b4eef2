"""The event loop: handlers of descriptors, timers, and calls to make between two waits.

A thin layer over level-triggered epoll. It knows descriptors and callables, nothing about connections.
"""

import math
import select
import socket
import time
from collections import deque
from collections.abc import Callable

from sidelab.lab.base.timers import Timer, Timers
from sidelab.sidecar.proxy.io.alarm import Alarm

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
FAILED = select.EPOLLERR
HUNG_UP = select.EPOLLHUP

EventHandler = Callable[[int], None]
"""Called with the epoll events of a descriptor; a method of an object with a `share` is accounted to that share."""

_FEW = 2
_TURN_S, _SHARED_TURN_S = 200e-6, 50e-6
"""How long a turn may take once every account has had one event; then the loop polls for new events.

The short time costs a single source a quarter of its throughput, so it applies only while there are several.
"""

_SHARED_FOR_S = 1.0
"""For how long the loop remembers that several sources had events in the same turn."""


class ProxyLoop:
    """Waits for descriptors and calls their handlers; single-threaded except for `call_threadsafe`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, EventHandler] = {}
        self._timers = Timers()
        self._alarm = Alarm()
        self._alarm_s = math.inf
        self._soon: deque[Callable[[], None]] = deque()
        self._from_outside: deque[Callable[[], None]] = deque()
        self._running = True
        self._turns = 0
        self._shared_until_s = 0.0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.settimeout(0)
        self._wake_writer.settimeout(0)
        self.watch(self._wake_reader.fileno(), READ, self._woken)
        self.watch(self._alarm.fileno(), READ, self._rung)

    def watch(self, descriptor: int, events: int, handler: EventHandler) -> None:
        """Call `handler` whenever `descriptor` has one of `events`, an error or a hang-up."""
        self._epoll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def change(self, descriptor: int, events: int) -> None:
        """Wait for other `events` of a watched descriptor."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Stop watching `descriptor`, if it is watched; its unhandled events of this turn are dropped."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def abandon(self, descriptor: int) -> None:
        """Stop watching a descriptor that is closed at the end of this turn: epoll then drops it by itself."""
        del self._handlers[descriptor]

    def call_soon(self, call: Callable[[], None]) -> None:
        """Call at the end of this turn, when no other callback is on the stack."""
        self._soon.append(call)

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call once after `delay_s` seconds."""
        at_s = time.monotonic() + delay_s
        if at_s < self._alarm_s:
            self._ring_at(at_s)
        return self._timers.after(delay_s, call)

    def call_threadsafe(self, call: Callable[[], None]) -> None:
        """Call in the loop, from a signal handler or another thread."""
        self._from_outside.append(call)
        try:
            self._wake_writer.send(b"\0")
        except BlockingIOError:
            # The socket is full of unread wake-ups: one more would change nothing.
            return

    def run(self) -> None:
        """Handle events until `stop`."""
        while self._running:
            self.turn()

    def stop(self) -> None:
        """Return from `run` after this turn."""
        self._running = False

    def close(self) -> None:
        """Close the loop's own descriptors; those it watched are closed by their owners."""
        self._epoll.close()
        self._alarm.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def turn(self, timeout_s: float | None = None) -> None:
        """Wait at most `timeout_s` (None: until something happens) and handle what happened.

        `call_soon` callbacks run after the events, so that a descriptor closed in one is not reused for a new
        connection while events of the old one are unhandled.
        """
        find = self._handlers.get
        found = self._epoll.poll(timeout_s)
        if len(found) > _FEW:
            self._serve_fairly(found)
        else:
            for descriptor, events in found:
                handler = find(descriptor)
                if handler is not None:
                    handler(events)
        while self._soon:
            self._soon.popleft()()

    def _serve_fairly(self, found: list[tuple[int, int]]) -> None:
        """Handle events in rounds, one event per account in each round, until the turn's time is up.

        So an account waits for at most one event of every other, however many connections that has, and the one with
        the fewest events is first. Epoll reports what is left again in the same order, so each turn begins at another
        place.
        """
        begun_s = time.perf_counter()
        self._turns += 1
        begin = self._turns % len(found)
        find = self._handlers.get
        accounts: dict[object, list[tuple[int, int]]] = {}
        alone: list[list[tuple[int, int]]] = []
        for event in found[begin:] + found[:begin]:  # there may be thousands
            try:
                share = find(event[0]).__self__.share  # type: ignore[union-attr]
            except AttributeError:
                alone.append([event])  # without a share, or no longer watched
                continue
            if share in accounts:
                accounts[share].append(event)
            else:
                accounts[share] = [event]
        now_s = time.perf_counter()
        if len(accounts) > 1:
            self._shared_until_s = now_s + _SHARED_FOR_S
        # At least as long as the sorting above took: otherwise, with many events, little else would be done.
        end_s = now_s + max(now_s - begun_s, _SHARED_TURN_S if now_s < self._shared_until_s else _TURN_S)
        rounds = deque((*sorted(accounts.values(), key=len), *alone))
        first = len(rounds)
        while rounds and (first > 0 or time.perf_counter() < end_s):
            first -= 1
            events = rounds.popleft()
            descriptor, happened = events.pop()
            handler = find(descriptor)
            if handler is not None:
                handler(happened)
            if events:
                rounds.append(events)

    def _woken(self, _events: int) -> None:
        self._wake_reader.recv(4096)
        while self._from_outside:
            self._from_outside.popleft()()

    def _ring_at(self, at_s: float) -> None:
        self._alarm_s = at_s
        self._alarm.set(at_s)

    def _rung(self, _events: int) -> None:
        self._alarm.quiet()
        self._alarm_s = math.inf
        self._timers.expire()
        left_s = self._timers.timeout_s()
        if left_s is not None:
            self._ring_at(time.monotonic() + left_s)
