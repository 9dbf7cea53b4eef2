"""Calls that are due later, in a heap: what every event loop here has beside its descriptors."""

import heapq
import time
from collections.abc import Callable
from itertools import count

_MOST_CANCELLED = 64


class Timer:
    """A call that is due later; `cancel` before it has run means never."""

    __slots__ = ("_timers", "call")

    def __init__(self, timers: "Timers", call: Callable[[], None]) -> None:
        self._timers = timers
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Forget the call."""
        if self.call is not None:
            self.call = None
            self._timers.cancelled += 1


class Timers:
    """The timers of one loop; false when there are none, so that a loop can skip them for nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self.cancelled = 0  # how many in the heap are, which is for `Timer` to say

    def __bool__(self) -> bool:
        return bool(self._heap)

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call `call` once, `delay_s` seconds from now."""
        if self.cancelled > _MOST_CANCELLED and self.cancelled > len(self._heap) // 2:
            # Whoever has it make many that are never due would else fill it with them.
            self._heap = [each for each in self._heap if each[2].call is not None]
            heapq.heapify(self._heap)
            self.cancelled = 0
        timer = Timer(self, call)
        heapq.heappush(self._heap, (time.monotonic() + delay_s, next(self._numbers), timer))
        return timer

    def timeout_s(self) -> float | None:
        """Return how long nothing is due: 0 when something is overdue, None without timers."""
        while self._heap and self._heap[0][2].call is None:
            heapq.heappop(self._heap)
            self.cancelled -= 1
        return max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else None

    def expire(self) -> None:
        """Make the calls that are due."""
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            call, timer.call = timer.call, None
            if call is None:
                self.cancelled -= 1
            else:
                call()
