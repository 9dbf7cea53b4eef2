"""Many deadlines of one length: whoever takes too long is told, and who is in time costs two entries in a dict.

Since all are equally long, the first to begin is the first to be late: one timer of the loop serves them all.
"""

import time
from typing import Protocol

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop


class Late(Protocol):
    """Who can be late."""

    def late(self) -> None:
        """Take note that the time is over; called once."""


class Deadlines:
    """Who has until when.

    `timeout_s` may change, for those that begin afterwards; if it shrinks, they are told no sooner than those before.
    """

    def __init__(self, loop: ProxyLoop, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._loop = loop
        self._waiting: dict[Late, float] = {}
        self._armed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, who: Late) -> None:
        """Give `who` the time from now on."""
        self._waiting[who] = time.monotonic() + self.timeout_s
        if not self._armed:
            self._armed = True
            self._loop.call_later(self.timeout_s, self._check)

    def met(self, who: Late) -> None:
        """Take note that `who` was in time, or gave up; without effect if it was not waited for."""
        self._waiting.pop(who, None)

    def _check(self) -> None:
        now_s = time.monotonic()
        while self._waiting:
            who, until_s = next(iter(self._waiting.items()))
            if until_s > now_s:
                self._loop.call_later(until_s - now_s, self._check)
                return
            del self._waiting[who]
            who.late()
        self._armed = False
