"""Many deadlines of equal length: `late` is called on objects that miss theirs; one that is met costs two dict updates.

Since all are equally long, the first to begin is the first to expire: one timer of the loop serves them all.
"""

import time
from typing import Protocol

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop


class Late(Protocol):
    """An object that can have a deadline."""

    def late(self) -> None:
        """Handle the end of the time; called once."""


class Deadlines:
    """The objects with a deadline, and when each ends.

    `timeout_s` may change, with effect on later deadlines; if it shrinks, they still expire after the earlier ones.
    """

    def __init__(self, loop: ProxyLoop, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._loop = loop
        self._waiting: dict[Late, float] = {}
        self._armed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, who: Late) -> None:
        """Start a deadline for `who`."""
        self._waiting[who] = time.monotonic() + self.timeout_s
        if not self._armed:
            self._armed = True
            self._loop.call_later(self.timeout_s, self._check)

    def met(self, who: Late) -> None:
        """Cancel the deadline of `who`, if it has one."""
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
