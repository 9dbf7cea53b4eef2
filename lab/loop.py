"""The supervisor's event loop: descriptors, timers, and nothing else.

Synchronous on purpose: no `await` can happen while the process is inside another namespace.
"""

import selectors
from collections.abc import Callable
from typing import Protocol

from lab.timers import Timer, Timers


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Loop:
    """A selector and timers, run by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers = Timers()
        self._running = True

    def watch(self, source: int | HasFileno, call: Callable[[], None], events: int = selectors.EVENT_READ) -> None:
        """Call `call` whenever `source` is ready for `events`, until `forget`."""
        self._selector.register(source, events, call)

    def change(self, source: int | HasFileno, call: Callable[[], None], events: int) -> None:
        """Change what `source` is watched for."""
        self._selector.modify(source, events, call)

    def forget(self, source: int | HasFileno) -> None:
        """Stop watching; to be called before the descriptor is closed."""
        self._selector.unregister(source)

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
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
                key.data()
        self._timers.expire()

    def close(self) -> None:
        """Close the selector; the descriptors stay their owners'."""
        self._selector.close()
