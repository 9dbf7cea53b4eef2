"""The supervisor's event loop: descriptors, timers, and nothing else.

Synchronous on purpose: no `await` can happen while the process is inside another namespace.
"""

import heapq
import selectors
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol


class HasFileno(Protocol):
    """Anything with a descriptor."""

    def fileno(self) -> int:
        """Return the descriptor."""


class Timer:
    """A call that is due later; `cancel` before it has run means never."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class Loop:
    """A selector and a heap of timers, run by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
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
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

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
        for key, _ in self._selector.select(self._timeout_s() if timeout_s is None else timeout_s):
            # A call earlier in this round may have forgotten this one.
            if self._selector.get_map().get(key.fd) is key:
                key.data()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            call = heapq.heappop(self._timers)[2].call
            if call is not None:
                call()

    def _timeout_s(self) -> float | None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def close(self) -> None:
        """Close the selector; the descriptors stay their owners'."""
        self._selector.close()
