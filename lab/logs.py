"""A container's log, copied to whoever reads it; the file lives in the sandbox and comes here as a descriptor."""

import os
import select
from typing import BinaryIO

from lab.lab import Key, Lab

_LOOK_AGAIN_S = 0.1  # a file has no event that crosses into another mount namespace


def copy(lab: Lab, pod: Key, container: str | None, output: BinaryIO, *, follow: bool) -> None:
    """Copy a log from its beginning; with `follow` until the lab ends."""
    log = lab.log(pod, container)
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
