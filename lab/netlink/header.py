"""The header of every netlink message, its flags, and how the kernel says no. Pure.

Sources: netlink(7), Linux' include/uapi/linux/netlink.h, net/netlink/af_netlink.c.
"""

import errno as errors
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from sidelab.lab.netlink.attributes import attributes, name

# NLM_F_*
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
DUMP_INTERRUPTED = 0x10
REPLACE, EXCLUSIVE, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
# NLMSG_*
ERROR, DONE = 2, 3

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_CAPPED, _EXPLAINED = 0x100, 0x200  # NLM_F_CAPPED, NLM_F_ACK_TLVS
_ERRNO = struct.Struct("=i")
_SENTENCE, _OFFSET = 1, 2  # NLMSGERR_ATTR_MSG, _OFFS


class Received(NamedTuple):
    """A message without its header's length and port; `body` is what follows the header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Refusal(NamedTuple):
    """The kernel's answer about message number `sequence`; `errno` 0 is a yes.

    `sentence` is the kernel's reason and `offset` where in the message the refused attribute is, if it says so: older
    kernels do not, nor does any over a socket that was not `receive.prepared`.
    """

    sequence: int
    errno: int
    sentence: str = ""
    offset: int = 0

    @property
    def why(self) -> str:
        """The error in words, by its name, and the kernel's own sentence."""
        why = f"{os.strerror(self.errno)} ({errors.errorcode.get(self.errno, self.errno)})"
        return f"{why}: {self.sentence}" if self.sentence else why


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return a request; `body` is what follows the header."""
    return HEADER.pack(len(body) + 16, kind, REQUEST | flags, sequence, 0) + body


def messages(data: bytes) -> Iterator[Received]:
    """Yield each netlink message in `data`; one that is cut off, and what follows it, is left out."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        end = offset + length
        if length < 16 or end > len(data):
            return
        yield Received(kind, flags, sequence, data[offset + 16 : end])
        offset = end + -length % 4


def refusal(answer: Received) -> Refusal:
    """Return what a message of type `ERROR` or `DONE` says: both begin with an error number, which may be 0."""
    kind, flags, sequence, body = answer
    if len(body) < 4:
        return Refusal(sequence, 0 if kind == DONE else errors.EPROTO)
    sentence, offset = "", 0
    if flags & _EXPLAINED:
        for _, number, content in attributes(body[_explained_at(kind, flags, body) :]):
            if number == _SENTENCE:
                sentence = name(content)
            elif number == _OFFSET and len(content) == 4:
                (offset,) = struct.unpack("=I", content)
    return Refusal(sequence, -_ERRNO.unpack_from(body)[0], sentence, offset)


def _explained_at(kind: int, flags: int, body: bytes) -> int:
    """Return where the attributes begin: in an error, behind the header of our message or, uncapped, all of that."""
    if kind == DONE:
        return 4
    if flags & _CAPPED or len(body) < 8:
        return 4 + 16
    (length,) = struct.unpack_from("=I", body, 4)
    return int(4 + length + -length % 4)
