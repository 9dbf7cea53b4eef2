"""Limits how fast pages are made that anybody may request: in the long run to a hundredth of the loop's time."""

import time
from collections import deque
from collections.abc import Callable

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

SHARE = 0.01
SAVED_S = 0.02
"""Up to this, unused time is saved, so that occasional requests, like those of the kubelet or a scraper, never wait."""


class Pace:
    """Makes pages when they are requested; if there are too many, one after the other with pauses in between."""

    def __init__(self, loop: ProxyLoop, spent_s: Callable[[], float] = time.thread_time) -> None:
        """`spent_s` returns this thread's CPU time, so that time taken by other processes is not charged to a page."""
        self._loop = loop
        self._spent_s = spent_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._left_s = SAVED_S
        self._counted_s = time.monotonic()

    def make(self, page: Callable[[], None]) -> None:
        """Call `page`, at once if there is time left, otherwise later."""
        self._waiting.append(page)
        if len(self._waiting) == 1:  # otherwise a pause is in progress
            self._go_on()

    def _go_on(self) -> None:
        now_s = time.monotonic()
        self._left_s = min(SAVED_S, self._left_s + SHARE * (now_s - self._counted_s))
        self._counted_s = now_s
        while self._waiting and self._left_s > 0:
            begin_s = self._spent_s()
            self._waiting.popleft()()
            self._left_s -= self._spent_s() - begin_s
        if self._waiting:
            self._loop.call_later(-self._left_s / SHARE, self._go_on)
