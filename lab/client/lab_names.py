"""Names of labs: claim a name for a new lab, and find the labs of a user by name.

A lab's control socket is an abstract one, `sidelab/UID/LAB/RANDOM`: it vanishes with the last process that holds it, so
nothing is left of a lab that was killed. Anybody may bind any abstract name; so the last part is unpredictable, and a
socket counts only if the kernel reports the user as its owner (`lab.netlink.unix_sockets`). Other users can neither
occupy a lab's name nor add one to the list. If the kernel can't report owners (it has no UNIX_DIAG, or labs are in a
network namespace that this process may not enter), names are read from /proc/net/unix, and the owner is known only
after connecting.
"""

import os
import re
import socket
from time import sleep
from typing import NamedTuple

from sidelab.lab.client import meeting
from sidelab.lab.errors import InputError
from sidelab.lab.netlink import unix_sockets

_PREFIX = "sidelab"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?")
_ADDRESS = re.compile(rf"({_NAME.pattern})/[0-9a-f]{{16}}")
_ACCEPTS = 1 << 16  # in /proc/net/unix: __SO_ACCEPTCON (linux/net.h)
_ATTEMPTS = 5
_WITHDRAWN_S = 0.02


class Claimed(NamedTuple):
    """A lab that is starting or, if it `listens`, is up; `address` is that of its control socket."""

    lab: str
    address: bytes
    listens: bool


def claimed(uid: int) -> list[Claimed]:
    """Return the labs that a user has claimed, sorted by name."""
    prefix = f"{_PREFIX}/{uid}/"
    found = []
    for name, listens in _bound(prefix, uid):
        match = _ADDRESS.fullmatch(name.removeprefix(prefix))
        if match is not None:
            found.append(Claimed(match[1], f"\0{name}".encode("ascii"), listens))
    return sorted(found)


def running() -> list[str]:
    """Return the names of this user's labs that are up or starting."""
    return sorted({each.lab for each in claimed(os.getuid())})


def addresses(lab: str) -> list[bytes]:
    """Return the addresses of this user's lab: at most one, or several if owners are unknown."""
    return [each.address for each in claimed(os.getuid()) if each.lab == lab]


def inodes(lab: str) -> set[str]:
    """Return the inodes of a lab's control sockets, whoever bound them, as the links in /proc/PID/fd show them."""
    prefix = f"@{_PREFIX}/{os.getuid()}/{lab}/"
    lines = (line.split() for line in meeting.sockets_listed().splitlines())
    return {words[6] for words in lines if words[-1].startswith(prefix)}


def claim(name: str) -> socket.socket:
    """Return the control socket of a new lab, bound but not yet listening.

    Raises `InputError` for an invalid name, or one already in use. If several processes claim a name at the same
    moment, at most one gets it: each binds an address of its own, and only then looks for others; one that finds
    another withdraws, and tries again a little later, because the other may do the same.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"a lab can't be named {name!r}: use up to 50 of a-z, 0-9 and -, which may not begin or end it"
        )
    for _ in range(_ATTEMPTS):
        listener = meeting.open_socket()
        own = f"\0{_PREFIX}/{os.getuid()}/{name}/{os.urandom(8).hex()}".encode("ascii")
        listener.bind(own)
        others = [each for each in claimed(os.getuid()) if each.lab == name and each.address != own]
        if not others:
            return listener
        listener.close()
        if any(each.listens for each in others):
            break
        sleep(_WITHDRAWN_S * os.urandom(1)[0] / 255)
    raise InputError(
        f"a lab named {name!r} is already running: choose another --lab, or end it with `sidelab down {name}`"
    )


def _bound(prefix: str, uid: int) -> list[tuple[str, bool]]:
    """Return the abstract names that begin with `prefix`, and whether each listens: the user's, or else anybody's."""
    try:
        with meeting.open_home(unix_sockets.open_socket) as link:
            sockets = unix_sockets.bound(link, prefix.encode("ascii"))
            return [(each.name.decode("ascii", "replace"), each.listens) for each in sockets if each.uid == uid]
    except OSError:
        return _listed(meeting.sockets_listed(), prefix)


def _listed(proc_net_unix: str, prefix: str) -> list[tuple[str, bool]]:
    """Read the text of /proc/net/unix, which shows an abstract name's first byte as @, once for each connection."""
    listening: dict[str, bool] = {}
    for line in proc_net_unix.splitlines():
        columns = line.split()
        if columns[-1].startswith(f"@{prefix}"):
            name = columns[-1].removeprefix("@")
            listening[name] = listening.get(name, False) or int(columns[3], 16) & _ACCEPTS != 0
    return list(listening.items())
