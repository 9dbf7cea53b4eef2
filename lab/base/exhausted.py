"""What this machine has run out of (processes, descriptors, memory, room on a disk), as an error with its cure."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sidelab.lab.errors import MachineError, SidelabError

_CURES = {
    errno.EMFILE: (
        "this process may open no more files: raise its limit (`ulimit -n`, as root or in /etc/security/limits.conf), "
        "or start fewer pods"
    ),
    errno.ENFILE: "the machine may open no more files: raise it (`sysctl fs.file-max`), or end what holds them",
    errno.ENOMEM: "the kernel has no memory for it: free some, raise the limit (`memory.max`), or start fewer pods",
    errno.ENOSPC: (
        "no room is left for it, on a disk or within a limit of the kernel's (`sysctl user | grep max_`): make room, "
        "raise the limit, or start fewer pods"
    ),
    errno.EDQUOT: "the disk quota is used up: make room, or have it raised",
}
_FORK_CURE = (
    "no process can be forked: {}: raise the limit (`pids.max` of the control group, `ulimit -u`, `sysctl "
    "kernel.pid_max`), end other processes, or start fewer pods"
)


def as_refusal(error: Exception) -> SidelabError | None:
    """Return `error` as one with a cure, if it is one already or says that something is exhausted; else None."""
    if isinstance(error, SidelabError):
        return error
    if isinstance(error, OSError) and error.errno in _CURES:
        where = f" ({error.filename})" if error.filename else ""
        return MachineError(f"{error.strerror}{where}: {_CURES[error.errno]}")
    return None


def fork() -> int:
    """Fork as `os.fork` does. Raises `MachineError` where no process can be had."""
    with forking():
        return os.fork()


def fork_linked() -> tuple[int, socket.socket, socket.socket]:
    """Fork with a pair of connected sockets that keep messages apart; return the pid, the parent's end, the child's.

    Raises `MachineError` where no process can be had, and leaves neither socket open.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        return fork(), ours, theirs
    except MachineError:
        ours.close()
        theirs.close()
        raise


@contextmanager
def forking() -> Iterator[None]:
    """Turn the kernel's refusal of a fork within the block, such as one of `subprocess`, into a `MachineError`."""
    try:
        yield
    except BlockingIOError as error:
        raise cannot_fork(error.strerror or str(error)) from error


def cannot_fork(reason: str) -> MachineError:
    """Return the kernel's refusal of a process, with the cure."""
    return MachineError(_FORK_CURE.format(reason))
