"""Copy a container's log to its reader; the file lives in the lab and is passed here as a descriptor.

Its beginning may be freed at any moment (`lab.runtime.logfile`), and a program may truncate it.
"""

import os
import select
from collections.abc import Iterator
from typing import Protocol

from sidelab.lab.client.lab import Lab
from sidelab.lab.keys import PodKey
from sidelab.lab.runtime.logfile import first_byte

_BLOCK_BYTES = 1 << 16
_LOOK_AGAIN_S = 0.1  # a file has no event that crosses into another mount namespace


class Output(Protocol):
    """What a log is copied to."""

    def write(self, data: bytes, /) -> object:
        """Write the next bytes."""

    def flush(self) -> None:
        """Make what was written visible."""


def copy(
    lab: Lab, pod: PodKey, container: str | None, output: Output, *, follow: bool, tail: int | None = None
) -> None:
    """Copy a log from its beginning, or only its last `tail` lines; with `follow` until the lab ends."""
    log = lab.log(pod, container)
    pidfd = os.pidfd_open(lab.pid)
    reader = Reader(log, tail)
    ended = not follow
    try:
        while True:
            for data in reader.news():
                output.write(data)
                output.flush()
            if ended:
                return
            ended = bool(select.select([pidfd], [], [], _LOOK_AGAIN_S)[0])  # then read once more, for its last output
    finally:
        os.close(pidfd)
        os.close(log)


class Reader:
    """Reads an open log from its first whole line, or its last `tail` lines, to its current end."""

    def __init__(self, log: int, tail: int | None = None) -> None:
        self._log = log
        self._at = 0 if tail is None else _last_lines(log, tail)
        self._broken = False  # the line that is read next has lost its beginning

    def news(self) -> Iterator[bytes]:
        """Yield in pieces what has been written since the last call, up to the log's end at the time of this call.

        What was freed before it was read is left out, and so is the rest of a line whose beginning was freed.
        """
        end = os.fstat(self._log).st_size
        if end < self._at:
            self._at = 0  # it was truncated
        while self._at < end:
            data = os.pread(self._log, _BLOCK_BYTES, self._at)
            begin = first_byte(self._log, self._at)  # read afterwards: up to here `data` may be zeros
            if begin > self._at:
                self._at, self._broken = begin, True
                continue
            if not data:
                return
            self._at += len(data)
            if self._broken:
                _, feed, data = data.partition(b"\n")
                self._broken = not feed
            if data:
                yield data


def _last_lines(log: int, count: int) -> int:
    """Return where the last `count` lines of an open file begin; the last line may lack its line feed."""
    begin = os.fstat(log).st_size
    if count == 0:
        return begin
    least = first_byte(log, 0)
    if begin > least and os.pread(log, 1, begin - 1) == b"\n":
        begin -= 1
    while begin > least:
        size = min(begin - least, _BLOCK_BYTES)
        block = os.pread(log, size, begin - size)
        while (at := block.rfind(b"\n")) >= 0:
            count -= 1
            if count == 0:
                return begin - size + at + 1
            block = block[:at]
        begin -= size
    return 0
