"""The supervisor's event loop: descriptors, timers, and nothing else.

Synchronous on purpose: no `await` can happen while the process is inside another namespace.

An `OSError` that a call lets out ends neither the loop nor the other calls of its turn, where `survive` takes it; its
source rests for a moment, because one that stays ready would fail again at once. Each call has to deal with what it can
expect itself: this is the net below. Anything but an `OSError` is a bug, and ends the loop.
"""

import selectors
from collections.abc import Callable
from typing import Protocol

from sidelab.lab.base.timers import Timer, Timers


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


_REST_S = 0.25

Call = Callable[[], None]


def _raise(error: OSError) -> None:
    raise error


class Loop:
    """A selector and timers, run by one thread; `survive` is called with an `OSError` that a call lets out."""

    def __init__(self, survive: Callable[[OSError], None] = _raise) -> None:
        self._survive = survive
        self._selector = selectors.DefaultSelector()
        self._timers = Timers()
        self._resting: dict[int, selectors.SelectorKey] = {}  # by descriptor: not served for a moment
        self._running = True

    def watch(self, source: int | HasFileno, call: Call, events: int = selectors.EVENT_READ) -> None:
        """Call `call` whenever `source` is ready for `events`, until `forget`."""
        self._selector.register(source, events, call)

    def change(self, source: int | HasFileno, call: Call, events: int) -> None:
        """Change what `source` is watched for."""
        resting = self._resting.get(_number(source)) if self._resting else None
        if resting is None:
            self._selector.modify(source, events, call)
        else:
            self._resting[resting.fd] = resting._replace(events=events, data=call)

    def forget(self, source: int | HasFileno) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        if not self._resting or self._resting.pop(_number(source), None) is None:
            self._selector.unregister(source)

    def after(self, delay_s: float, call: Call) -> Timer:
        """Call `call` once, `delay_s` seconds from now."""
        return self._timers.after(delay_s, call)

    def stop(self) -> None:
        """Let `run` return after the current round of calls, or at once when it has not begun."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        while self._running:
            self.turn()

    def poll(self) -> None:
        """Serve what is due now, without waiting."""
        self.turn(timeout_s=0)

    def turn(self, timeout_s: float | None = None) -> None:
        """Wait for the next event or timer (for `timeout_s` at the most), and serve what is due."""
        for key, _ in self._selector.select(self._timers.timeout_s() if timeout_s is None else timeout_s):
            # A call earlier in this round may have forgotten this one.
            if self._selector.get_map().get(key.fd) is key:
                try:
                    key.data()
                except OSError as error:
                    self._survive(error)
                    self._rest(key)
        try:
            self._timers.expire()
        except OSError as error:
            self._survive(error)  # those behind it are due in the next turn, at once

    def _rest(self, key: selectors.SelectorKey) -> None:
        """Leave a source alone for a moment, unless the call has forgotten it or changed what it is watched for."""
        if self._selector.get_map().get(key.fd) is not key:
            return
        self._selector.unregister(key.fileobj)
        self._resting[key.fd] = key
        self.after(_REST_S, lambda: self._wake(key.fd))

    def _wake(self, fd: int) -> None:
        key = self._resting.pop(fd, None)
        if key is not None:
            self._selector.register(key.fileobj, key.events, key.data)

    def close(self) -> None:
        """Close the selector; the descriptors stay their owners'."""
        self._selector.close()


def _number(source: int | HasFileno) -> int:
    return source if isinstance(source, int) else source.fileno()
