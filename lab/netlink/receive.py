"""Exchanges with the kernel over a netlink socket: the only module that reads from one.

The kernel does what it is asked inside send(2), and continues a dump inside recv(2): an answer that is not there yet
never comes. So nothing here waits, and an empty queue is an end. The caller's socket decides in which network namespace
the kernel answers. Sources: netlink(7), Linux' net/netlink/af_netlink.c (netlink_sendmsg, netlink_recvmsg).
"""

import errno as errors
import itertools
import socket
from typing import NamedTuple

from sidelab.lab.netlink.header import (
    DONE,
    DUMP,
    DUMP_INTERRUPTED,
    ERROR,
    Received,
    Refusal,
    message,
    messages,
    refusal,
)

_SOL_NETLINK = 270
_DONTWAIT, _TRUNC = int(socket.MSG_DONTWAIT), int(socket.MSG_TRUNC)  # an enum's `&` takes longer than an exchange
_CAP_ACK, _EXT_ACK = 10, 11
_RECEIVE_BYTES = 1 << 16  # a part of a dump has 32 kB at most (netlink_dump), a refusal without our message few
_TRIES = 5
_YES = bytes(4)  # the error number 0

# Every exchange has numbers of its own, so that an answer left over from one that failed is not taken for the next's.
MOST_NUMBERS = 1 << 12
_exchanges = itertools.count(1)


class Answers(NamedTuple):
    """What the kernel refused of a few messages, in their order; not `complete` if an answer was lost or missing."""

    refusals: tuple[Refusal, ...]
    complete: bool


def open_socket(protocol: int) -> socket.socket:
    """Return a socket to the network namespace that the caller is in, whichever the caller enters later.

    Raises `OSError` where the kernel lacks `protocol` (one of NETLINK_…).
    """
    return prepared(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol))


def prepared(sock: socket.socket) -> socket.socket:
    """Return a netlink socket, whatever opened it, over which the kernel explains refusals and repeats no message."""
    sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    sock.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
    return sock


def sequences(count: int) -> range:
    """Return numbers for the messages of one exchange, at most `MOST_NUMBERS`."""
    first = next(_exchanges) * MOST_NUMBERS % (1 << 32)
    return range(first, first + count)


def carry_out(sock: socket.socket, data: bytes) -> Answers:
    """Send messages of which only the last asks for an answer: errors come without being asked for.

    Raises `OSError` if they can't be sent. All answers are read, so that the next exchange finds the socket empty.
    """
    sock.send(data)
    refusals: list[Refusal] = []
    lost = False
    while True:
        received = _received(sock)
        if received is None:
            return Answers(tuple(refusals), bool(refusals) and not lost)
        answers, cut = received
        lost |= cut
        for each in answers:
            if each.kind == ERROR:
                # Answers come in the order of the messages, and only the last message is told a yes.
                if each.body.startswith(_YES):
                    return Answers(tuple(refusals), not lost)
                refusals.append(refusal(each))


def ask(sock: socket.socket, kind: int, body: bytes) -> bytes:
    """Return the body of the one answer to a request. Raises `OSError` with the kernel's reason."""
    bodies, _ = _asked(sock, kind, 0, body)
    return bodies[0]


def dump(sock: socket.socket, kind: int, body: bytes) -> list[bytes]:
    """Return the bodies of all answers to a dump request, asked again if what it lists changed meanwhile.

    Raises `OSError` with the kernel's reason, or if the list is never whole; a part of it is not returned.
    """
    for _ in range(_TRIES):
        bodies, interrupted = _asked(sock, kind, DUMP, body)
        if not interrupted:
            return bodies
    raise OSError(errors.EBUSY, "what is listed changes faster than it can be read: try again")


def _asked(sock: socket.socket, kind: int, flags: int, body: bytes) -> tuple[list[bytes], bool]:
    """Return the bodies of the answers, and whether the kernel says that they do not fit together."""
    (sequence,) = sequences(1)
    sock.send(message(kind, flags, sequence, body))
    bodies: list[bytes] = []
    interrupted = lost = False
    while (received := _received(sock)) is not None:
        answers, cut = received
        lost |= cut
        for each in answers:
            if each.sequence != sequence:
                continue
            interrupted |= bool(each.flags & DUMP_INTERRUPTED)
            if each.kind in (ERROR, DONE):
                refused = refusal(each)
                if refused.errno:
                    raise OSError(refused.errno, refused.why)
                return _whole(bodies, lost), interrupted
            bodies.append(each.body)
        if bodies and not flags:
            return _whole(bodies, lost), interrupted
    raise OSError(errors.ENOBUFS, "the kernel's answer was lost or ended early: does it lack memory?")


def _whole(bodies: list[bytes], lost: bool) -> list[bytes]:
    if lost:
        raise OSError(errors.ENOBUFS, "the kernel's answer was too long, or did not fit the socket's buffer")
    return bodies


def _received(sock: socket.socket) -> tuple[list[Received], bool] | None:
    """Return the messages that wait, None if there are none, and whether some were lost (ENOBUFS) or cut."""
    try:
        data, _, flags, sender = sock.recvmsg(_RECEIVE_BYTES, 0, _DONTWAIT)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno != errors.ENOBUFS:
            raise
        return [], True
    if sender[0]:  # another process's: the kernel's port is 0
        return [], False
    return list(messages(data)), bool(flags & _TRUNC)
