"""How often a page is made that anybody may ask for: traffic loses a hundredth of the loop's time to it at most."""

import time
from collections import deque
from collections.abc import Callable

from sidecar.proxy.loop import Loop

_REST = 99
"""How many times as long as a page took to make the next one waits."""


class Pace:
    """Makes pages one after the other, with pauses between them."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._pausing = False

    def make(self, page: Callable[[], None]) -> None:
        """Call `page`, at once if the last one was long enough ago."""
        self._waiting.append(page)
        if not self._pausing:
            self._next()

    def _next(self) -> None:
        self._pausing = bool(self._waiting)
        if self._pausing:
            begin_s = time.perf_counter()
            self._waiting.popleft()()
            self._loop.call_later(_REST * (time.perf_counter() - begin_s), self._next)
