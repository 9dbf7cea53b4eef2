"""Writes lines to standard output, in batches while there are many, and never waits for the reader.

If the reader is too slow, or gone, lines are dropped and counted, but no connection is delayed. Knows nothing about
the lines' content.
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
"""A line after `FLUSH_S` without one is written at once, and so are this many bytes; others wait at most `FLUSH_S`."""

WAITING_BYTES = 1024 * 1024
"""How much is kept while the reader does not read."""

_PIECE_BYTES = select.PIPE_BUF
"""How much a pipe that polls as writable accepts without blocking: pipe(7)."""


class LogWriter:
    """Gathers lines and writes them to `descriptor`, which its owner closes.

    The descriptor is not made non-blocking, because that would affect every process that shares it. Instead, it is
    polled before every piece.
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
        """Write `line`, which ends with a line feed, now or with the next batch."""
        waiting = self._waiting
        if len(waiting) + len(line) > WAITING_BYTES:
            self.lines_dropped += 1
            return
        waiting += line
        if self._timer is None:  # nothing was written for `flush_s`, so somebody may be watching the log
            self._timer = self._loop.call_later(self._flush_s, self._due)
            self.flush()
        elif len(waiting) >= self._enough_bytes:
            self.flush()

    def flush(self) -> None:
        """Write as much as the reader accepts now."""
        self._write_waiting()
        # If the reader is behind, the next try is after another `FLUSH_BYTES`, not after every line.
        self._enough_bytes = len(self._waiting) + FLUSH_BYTES

    def close(self) -> None:
        """Flush for the last time; lines that the reader does not accept now are dropped."""
        self.flush()
        self.lines_dropped += self._waiting.count(b"\n")
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stats(self) -> list[tuple[str, int]]:
        """Return counters of the lines written and dropped, and the bytes that wait."""
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
            # The reader is gone, or there is no space left: drop the rest.
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
        # An error or a hang-up counts as well: the write will report it.
        return bool(self._poll.poll(0))
