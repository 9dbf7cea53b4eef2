"""Which abstract UNIX sockets are bound, and whose they are: sock_diag(7) with UNIX_DIAG (net/unix/diag.c).

The kernel is asked, not the sockets: one that nobody accepts from, or that does not even listen yet, answers as well.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_AND_DUMP = 0x301
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ASKED = struct.Struct("=BBHIIIII")  # struct unix_diag_req: family, protocol, -, states, inode, what to show, cookie
_SHOW_NAME, _SHOW_UID = 0x01, 0x40
_ALL = 0xFFFFFFFF
_FOUND = struct.Struct("=BBBBIII")  # struct unix_diag_msg: family, type, state, -, inode, cookie
_ATTRIBUTE = struct.Struct("=HH")
_NAME, _UID = 0, 7
_LISTENING = 10  # TCP_LISTEN
_RECEIVE_BYTES = 1 << 17


class Bound(NamedTuple):
    """A socket that has an abstract name (without its leading NUL): whose it is, and whether it listens."""

    name: bytes
    uid: int
    listens: bool


def open_socket() -> socket.socket:
    """Return a socket to ask about the network namespace that it is opened in; raises `OSError` without sock_diag."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def bound(link: socket.socket, prefix: bytes) -> Iterator[Bound]:
    """Yield every socket whose abstract name begins with `prefix`.

    Raises `OSError` where the kernel has no UNIX_DIAG (ENOENT), or one older than Linux 5.3, which tells no owners
    (ENODATA).
    """
    asked = _ASKED.pack(socket.AF_UNIX, 0, 0, _ALL, 0, _SHOW_NAME | _SHOW_UID, _ALL, _ALL)
    link.send(_HEADER.pack(_HEADER.size + len(asked), _SOCK_DIAG_BY_FAMILY, _REQUEST_AND_DUMP, 1, 0) + asked)
    while True:
        answer = link.recv(_RECEIVE_BYTES)
        at = 0
        while at < len(answer):
            length, kind, *_ = _HEADER.unpack_from(answer, at)
            body = answer[at + _HEADER.size : at + length]
            if kind == _DONE:
                return
            if kind == _ERROR:
                raise OSError(-struct.unpack_from("=i", body)[0], "sock_diag")
            if (found := _decoded(body, b"\0" + prefix)) is not None:
                yield found
            at += _aligned(length)


def _decoded(body: bytes, prefix: bytes) -> Bound | None:
    state = _FOUND.unpack_from(body)[2]
    name, uid = b"", None
    at = _FOUND.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        value = body[at + _ATTRIBUTE.size : at + length]
        if kind == _NAME:
            name = value
        elif kind == _UID:
            (uid,) = struct.unpack("=I", value)
        at += _aligned(length)
    if not name.startswith(prefix):
        return None
    if uid is None:
        raise OSError(errno.ENODATA, "sock_diag tells no owner")
    return Bound(name[1:], uid, state == _LISTENING)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
