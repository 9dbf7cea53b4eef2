"""A container's log: a file on a small tmpfs of its own, of which the oldest part is freed when it gets long.

Containers write to the descriptor itself, as to any file that is opened for appending: there is no process in between
that would take time from what is measured. So writes can't be checked beforehand; what bounds the log is

- the file system, which holds twice the bound: a burst beyond that fails for its writer only (ENOSPC);
- `trim`, called every second or so: a log above its bound loses its front, until half of the bound is left.

The front is freed by punching a hole (fallocate(2)). The offsets of what is left stay the same, so neither writers nor
readers need to know; lseek(2) with SEEK_DATA finds where the log begins (`lab.client.logs`). A rename, as logrotate
does it, would leave the writers with the old file, and a copy would lose what is written meanwhile.
"""

import contextlib
import os

from sidelab.lab.base import syscalls
from sidelab.lab.errors import InputError

DEFAULT_BYTES = 10 << 20
"""The kubelet's containerLogMaxSize."""

Name = tuple[str, str, str]  # namespace, pod, container

LEAST_BYTES = 1 << 16
_PLACE = "/dev"  # which every root directory has
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_SHARE_OF_MEMORY = 4  # all logs of a lab together may take a quarter
_FOR_ALL = 0o666  # so that the container's user may open /dev/stdout; for other processes the file has no name


def bound_bytes(wanted: int | None, logs: int) -> int:
    """Return how many bytes each of `logs` logs may keep: `wanted`, else 10 MiB, or less if memory is short.

    Raises `InputError` if with `wanted` all of them together could take more than their share of memory.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    share = max(LEAST_BYTES, memory // _SHARE_OF_MEMORY // (2 * max(1, logs)))
    if wanted is None:
        return min(DEFAULT_BYTES, share)
    if not LEAST_BYTES <= wanted <= share:
        raise InputError(
            f"--log-max {wanted}: give a number of bytes from {LEAST_BYTES} to {share}, for example 1Mi: the logs of "
            f"{logs} containers are in memory, and may take a quarter of it, each up to twice that number"
        )
    return wanted


class Shelf:
    """A mount namespace without processes that holds the file systems of logs, each mounted over the one before.

    It keeps them mounted: unmounting one, or closing one that is mounted nowhere, makes the kernel wait for all CPUs
    (fs/namespace.c, namespace_unlock), which takes 2 ms, while all the rest takes 0.1.
    """

    def __init__(self) -> None:
        """Make it; raises `OSError` if the machine refuses."""
        self._own = syscalls.own_namespace("mnt")
        syscalls.unshare(syscalls.CLONE_NEWNS)
        try:
            self._space = syscalls.own_namespace("mnt")
            syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        finally:
            syscalls.setns(self._own, syscalls.CLONE_NEWNS)

    def directory(self, size: int) -> int:
        """Return a descriptor of a new file system's root, which holds `size` bytes."""
        syscalls.setns(self._space, syscalls.CLONE_NEWNS)
        try:
            flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
            syscalls.mount("tmpfs", _PLACE, "tmpfs", flags, f"size={size},mode=700")
            return os.open(_PLACE, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            syscalls.setns(self._own, syscalls.CLONE_NEWNS)


class LogFile:
    """One log, which keeps between half of `bound` and twice `bound` bytes; `descriptor` is open for appending.

    `was_full` means that the last `trim` came too late: lines may be missing.
    """

    def __init__(self, bound: int, shelf: Shelf) -> None:
        """Make it; raises `OSError` if the machine refuses the file system or a descriptor."""
        self.was_full = False
        self._bound = bound
        self._size = 2 * bound
        directory = shelf.directory(self._size)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self.descriptor = os.open("log", flags, 0o600, dir_fd=directory)
            os.fchmod(self.descriptor, _FOR_ALL)
        finally:
            os.close(directory)

    def opened(self) -> int:
        """Return a descriptor to read it with; the caller closes it."""
        return os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC)

    def tail(self, most_bytes: int) -> bytes:
        """Return its last bytes."""
        return tail(self.descriptor, most_bytes)

    def trim(self) -> bool:
        """Free its front if it is above its bound; returns whether it was."""
        status = os.fstat(self.descriptor)
        held = status.st_blocks * 512
        if held <= self._bound:
            return False
        end = (status.st_size - self._bound // 2) // _PAGE_BYTES * _PAGE_BYTES
        if end > 0:
            syscalls.punch_hole(self.descriptor, 0, end)
        self.was_full = held >= self._size
        return True


class Logs:
    """The logs of a lab's containers, each made when first needed."""

    def __init__(self, bound: int, shelf: Shelf) -> None:
        """`bound` is in bytes and for each log; see `LogFile`."""
        self._bound = bound
        self._shelf = shelf
        self._files: dict[Name, LogFile] = {}

    def of(self, name: Name) -> LogFile:
        """Return the log of a container; raises what `LogFile` raises."""
        found = self._files.get(name)
        if found is None:
            found = self._files[name] = LogFile(self._bound, self._shelf)
        return found

    def trim(self) -> list[tuple[Name, LogFile]]:
        """Free the fronts of those that are above their bound, and return these."""
        return [(name, each) for name, each in self._files.items() if each.trim()]


def tail(log: int, most_bytes: int) -> bytes:
    """Return the last bytes of an open log."""
    begin = max(0, os.fstat(log).st_size - most_bytes)
    return os.pread(log, most_bytes, first_byte(log, begin))


def first_byte(log: int, offset: int) -> int:
    """Return where data begins in an open log, from `offset` on: after what was freed; its end if there is no data."""
    with contextlib.suppress(OSError):  # ENXIO: there is only a hole, or nothing
        return os.lseek(log, offset, os.SEEK_DATA)
    return os.fstat(log).st_size
