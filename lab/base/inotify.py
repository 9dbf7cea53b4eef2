"""Notice that a file of a directory was replaced: inotify(7), for files that are renamed into place when complete."""

import os
import struct

from sidelab.lab.base import syscalls

_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name
_READ_BYTES = 1 << 16


class Watch:
    """Watches `directory` for files that are renamed into it; readable when there are `names` to tell."""

    def __init__(self, directory: str) -> None:
        """Begin; raises `OSError` where there is no such directory, or too many watches.

        A user may have as many on a machine as its sysctl fs.inotify.max_user_instances says, usually 128.
        """
        self._fd = syscalls.inotify_init()
        try:
            syscalls.inotify_watch_moves_to(self._fd, directory)
        except OSError:
            os.close(self._fd)
            raise

    def fileno(self) -> int:
        """Return the descriptor, for event loops."""
        return self._fd

    def names(self) -> list[str]:
        """Return the names of the files that were replaced since the last call, oldest first; never waits."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return []
        names = []
        offset = 0
        while offset < len(data):
            *_, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            names.append(os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
            offset += length
        return [name for name in names if name]

    def close(self) -> None:
        """Stop watching."""
        os.close(self._fd)
