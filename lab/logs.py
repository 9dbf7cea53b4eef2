"""A container's log, copied to whoever reads it; the file lives in the sandbox and comes here as a descriptor."""

import os
import select
from typing import Protocol

from lab.lab import Key, Lab

_BLOCK_BYTES = 1 << 16
_LOOK_AGAIN_S = 0.1  # a file has no event that crosses into another mount namespace


class Output(Protocol):
    """What a log is copied to."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""

    def flush(self) -> None:
        """Have them seen."""


def copy(lab: Lab, pod: Key, container: str | None, output: Output, *, follow: bool, tail: int | None = None) -> None:
    """Copy a log from its beginning, or only its last `tail` lines; with `follow` until the lab ends."""
    log = lab.log(pod, container)
    if tail is not None:
        os.lseek(log, _last_lines(log, tail), os.SEEK_SET)
    pidfd = os.pidfd_open(lab.pid)
    ended = not follow
    try:
        while True:
            while data := os.read(log, 1 << 16):
                output.write(data)
                output.flush()
            if ended:
                return
            ended = bool(select.select([pidfd], [], [], _LOOK_AGAIN_S)[0])  # then once more, for its last words
    finally:
        os.close(pidfd)
        os.close(log)


def _last_lines(log: int, count: int) -> int:
    """Return where the last `count` lines of an open file begin; a last one may lack its line feed."""
    begin = os.fstat(log).st_size
    if count == 0:
        return begin
    if begin and os.pread(log, 1, begin - 1) == b"\n":
        begin -= 1
    while begin:
        size = min(begin, _BLOCK_BYTES)
        block = os.pread(log, size, begin - size)
        while (at := block.rfind(b"\n")) >= 0:
            count -= 1
            if count == 0:
                return begin - size + at + 1
            block = block[:at]
        begin -= size
    return 0
