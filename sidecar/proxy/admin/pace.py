"""How often pages are made that anybody may ask for: they take a hundredth of the loop's time in the long run."""

import time
from collections import deque
from collections.abc import Callable

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

SHARE = 0.01
SAVED_S = 0.02
"""Time that was not used is saved up to here: who asks now and then, as the kubelet and a scraper do, never waits."""


class Pace:
    """Makes pages as they are asked for, and one after the other with pauses between them once there are too many."""

    def __init__(self, loop: ProxyLoop, spent_s: Callable[[], float] = time.thread_time) -> None:
        """`spent_s` tells how long this thread has been busy: what others take from it is no page's fault."""
        self._loop = loop
        self._spent_s = spent_s
        self._waiting: deque[Callable[[], None]] = deque()
        self._left_s = SAVED_S
        self._counted_s = time.monotonic()

    def make(self, page: Callable[[], None]) -> None:
        """Call `page`, at once if there is time left for it."""
        self._waiting.append(page)
        if len(self._waiting) == 1:  # else this is a pause
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
