"""Open labs' control sockets in the network namespace of the machine's first process, wherever a lab is started.

An abstract socket is visible only in its own network namespace (unix(7)). Root may be in another one (`ip netns exec`,
`unshare -n`), and opens the socket at home all the same. A process that may not go home can't start a lab, because
no command would find it. "Home" is the namespace of process 1 as /proc shows it: in a container, the container's own.
"""

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sidelab.lab.base.syscalls import CLONE_NEWNET, own_namespace, setns
from sidelab.lab.errors import MachineError

# A file that each network namespace has of its own. Seeing its inode needs no privilege, unlike that of ns/net.
_HOME, _HERE = Path("/proc/1/net/dev"), Path("/proc/thread-self/net/dev")


def open_socket() -> socket.socket:
    """Return a stream socket opened at home, or in this network namespace if this process may not go home."""
    with _at_home():
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def open_home(opened: Callable[[], socket.socket]) -> socket.socket:
    """Return the socket that `opened` opens at home; raises `PermissionError` if this process may not go there."""
    with _at_home() as arrived:
        if not arrived:
            raise PermissionError(errno.EPERM, "another network namespace")
        return opened()


def sockets_listed() -> str:
    """Return the text of home's /proc/net/unix, which everybody may read."""
    home = Path("/proc/1/net/unix")
    try:
        return home.read_text(encoding="utf-8", errors="replace")  # a name may be any bytes
    except OSError:  # hidepid
        return Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")


def reachable() -> bool:
    """Whether this process may open sockets at home."""
    with _at_home() as arrived:
        return arrived


def refuse_unreachable() -> None:
    """Raise `MachineError` if a background lab would end with this process, or could not be found again."""
    if os.getpid() == 1:
        raise MachineError(
            "sidelab is the first process of its pid namespace here (a container's command, `unshare --pid --fork`), "
            "and the lab would end together with it: start a shell there, and the lab from that"
        )
    if _foreign_root():
        raise MachineError(
            "this root is of a user namespace of its own (`unshare -U`), outside of which no command would find the "
            "lab: leave that namespace: sidelab makes one itself, for an ordinary user with subordinate ids"
        )
    if not reachable():
        raise MachineError(
            "this is another network namespace than that of the machine's first process, and outside of it no command "
            "would find the lab: start the lab outside (without `ip netns exec`, `unshare -n` or the like: it has "
            "network namespaces of its own in any case), or as root"
        )


@contextmanager
def _at_home() -> Iterator[bool]:
    """Move this thread to home for the length of the block, if it may; yield whether it is there."""
    if not _away():
        yield True
        return
    here = own_namespace("net")
    try:
        arrived = _go_home()
        try:
            yield arrived
        finally:
            if arrived:
                setns(here, CLONE_NEWNET)
    finally:
        os.close(here)


def _go_home() -> bool:
    """Enter through process 1, or, if even root may not open that, through an ancestor of ours that is at home."""
    marker = _HOME.stat().st_ino
    for pid in (1, *_ancestors()):
        try:
            if Path(f"/proc/{pid}/net/dev").stat().st_ino == marker:
                home = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    setns(home, CLONE_NEWNET)
                finally:
                    os.close(home)
                return True
        except OSError:
            continue  # we may not look at it, or it is just ending
    return False


def _ancestors() -> Iterator[int]:
    pid = os.getppid()
    while pid > 1:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return  # it has ended, and its parent is unknown
        pid = int(stat.rpartition(") ")[2].split()[1])


def _away() -> bool:
    try:
        return _HOME.stat().st_ino != _HERE.stat().st_ino
    except OSError:
        return False  # hidepid: unknown


def _foreign_root() -> bool:
    """Whether this is root of a user namespace in which the machine's (or container's) first process has no user."""
    try:
        overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
        return os.getuid() == 0 and Path("/proc/1").stat().st_uid == overflow
    except OSError:
        return False
