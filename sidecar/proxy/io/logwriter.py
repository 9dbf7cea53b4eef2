"""Lines to standard output, gathered while there are many, without ever waiting for whoever reads it.

A reader that is too slow, or gone, costs lines, which are counted; it costs no connection its turn. Knows nothing of
what the lines say.
"""

import os
import select
import stat
from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

if TYPE_CHECKING:
    from sidelab.lab.base.timers import Timer

FLUSH_S = 1.0
FLUSH_BYTES = 64 * 1024
"""A line after `FLUSH_S` without one is written at once, and so is this much; the rest waits that long at most."""

WAITING_BYTES = 1024 * 1024
"""How much is kept for a reader that does not read."""

_PIECE_BYTES = select.PIPE_BUF
"""What a pipe that polls as writable takes without blocking: pipe(7)."""


class LogWriter:
    """Gathers lines and writes them to `descriptor`, which stays its owner's.

    The descriptor is not set to non-blocking, because that would be so for everybody who shares it. Instead it is
    asked before every piece whether it would take one.
    """

    def __init__(self, loop: ProxyLoop, descriptor: int, flush_s: float = FLUSH_S) -> None:
        self.lines_written = 0
        self.lines_dropped = 0
        self._loop = loop
        self._descriptor = descriptor
        self._flush_s = flush_s
        self._waiting = bytearray()
        self._enough_bytes = FLUSH_BYTES
        self._timer: Timer | None = None
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._piece_bytes = FLUSH_BYTES if is_file else _PIECE_BYTES

    def write(self, line: bytes) -> None:
        """Take `line`, which ends with a line feed."""
        waiting = self._waiting
        if len(waiting) + len(line) > WAITING_BYTES:
            self.lines_dropped += 1
            return
        waiting += line
        if self._timer is None:  # nothing was written for that long, so somebody may be looking
            self._timer = self._loop.call_later(self._flush_s, self._due)
            self.flush()
        elif len(waiting) >= self._enough_bytes:
            self.flush()

    def flush(self) -> None:
        """Write as much as the reader takes now."""
        self._write_waiting()
        # A reader that is behind is asked again when as much has been added, not for every line.
        self._enough_bytes = len(self._waiting) + FLUSH_BYTES

    def close(self) -> None:
        """Flush for the last time; lines that are not taken now are dropped."""
        self.flush()
        self.lines_dropped += self._waiting.count(b"\n")
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stats(self) -> list[tuple[str, int]]:
        """Return what happened to lines, as counters."""
        return [
            ("access_log.lines_dropped", self.lines_dropped),
            ("access_log.lines_written", self.lines_written),
            ("access_log.bytes_buffered", len(self._waiting)),
        ]

    def _write_waiting(self) -> None:
        waiting = self._waiting
        sent = 0
        try:
            while sent < len(waiting) and self._takes_more():
                sent += os.write(self._descriptor, waiting[sent : sent + self._piece_bytes])
        except BlockingIOError:
            # The descriptor is non-blocking already, and full: the rest stays.
            pass
        except OSError:
            # Nobody reads any more, or there is no space: what is left has no place to go.
            self.lines_dropped += waiting.count(b"\n", sent)
            self.lines_written += waiting.count(b"\n", 0, sent)
            waiting.clear()
            return
        self.lines_written += waiting.count(b"\n", 0, sent)
        del waiting[:sent]

    def _due(self) -> None:
        self._timer = None
        self.flush()
        if self._waiting:
            self._timer = self._loop.call_later(self._flush_s, self._due)

    def _takes_more(self) -> bool:
        # An error or a hang-up counts as well: the write is to report it.
        return bool(self._poll.poll(0))
