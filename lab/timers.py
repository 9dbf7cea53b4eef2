"""Calls that are due later, in a heap: what every event loop here has beside its descriptors."""

import heapq
import time
from collections.abc import Callable
from itertools import count


class Timer:
    """A call that is due later; `cancel` before it has run means never."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        self.call = None


class Timers:
    """The timers of one loop; false when there are none, so that a loop can skip them for nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()

    def __bool__(self) -> bool:
        return bool(self._heap)

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call `call` once, `delay_s` seconds from now."""
        timer = Timer(call)
        heapq.heappush(self._heap, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

    def timeout_s(self) -> float | None:
        """Return how long nothing is due: 0 when something is overdue, None without timers."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else None

    def expire(self) -> None:
        """Make the calls that are due."""
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            call = heapq.heappop(self._heap)[2].call
            if call is not None:
                call()
