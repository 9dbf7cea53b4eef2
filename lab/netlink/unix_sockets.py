"""Which abstract UNIX sockets are bound, and whose they are: sock_diag(7) with UNIX_DIAG (net/unix/diag.c).

The kernel is asked, not the sockets: one that nobody accepts from, or that does not even listen yet, answers as well.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from sidelab.lab.netlink import receive
from sidelab.lab.netlink.attributes import contents

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_ASKED = struct.Struct("=BBHIIIII")  # struct unix_diag_req: family, protocol, -, states, inode, what to show, cookie
_SHOW_NAME, _SHOW_UID = 0x01, 0x40
_ALL = 0xFFFFFFFF
_FOUND = struct.Struct("=BBBBIII")  # struct unix_diag_msg: family, type, state, -, inode, cookie
_NAME, _UID = 0, 7
_LISTENING = 10  # TCP_LISTEN


class Bound(NamedTuple):
    """A socket that has an abstract name (without its leading NUL): whose it is, and whether it listens."""

    name: bytes
    uid: int
    listens: bool


def open_socket() -> socket.socket:
    """Return a socket to ask about the network namespace that it is opened in; raises `OSError` without sock_diag."""
    return receive.open_socket(_NETLINK_SOCK_DIAG)


def bound(link: socket.socket, prefix: bytes) -> Iterator[Bound]:
    """Yield every socket whose abstract name begins with `prefix`.

    Raises `OSError` where the kernel has no UNIX_DIAG (ENOENT), or one older than Linux 5.3, which tells no owners
    (ENODATA).
    """
    asked = _ASKED.pack(socket.AF_UNIX, 0, 0, _ALL, 0, _SHOW_NAME | _SHOW_UID, _ALL, _ALL)
    for body in receive.dump(link, _SOCK_DIAG_BY_FAMILY, asked):
        if (found := _decoded(body, b"\0" + prefix)) is not None:
            yield found


def _decoded(body: bytes, prefix: bytes) -> Bound | None:
    state = _FOUND.unpack_from(body)[2]
    found = contents(body[_FOUND.size :])
    name = found.get(_NAME, b"")
    if not name.startswith(prefix):
        return None
    if _UID not in found:
        raise OSError(errno.ENODATA, "sock_diag tells no owner")
    (uid,) = struct.unpack("=I", found[_UID])
    return Bound(name[1:], uid, state == _LISTENING)
