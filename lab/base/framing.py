"""Messages on the control socket, a stream: a length, a JSON object, and descriptors beside it."""

import json
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

from sidelab.lab.errors import PodError

_LENGTH = struct.Struct("=I")
_DESCRIPTOR = struct.Struct("@i")
_DESCRIPTORS = 250  # the kernel's limit is 253 (SCM_MAX_FD)
_LIMIT_BYTES = 16 << 20
_PART_BYTES = 1 << 16
_READS = 2  # at a time: the length, and a part of what follows


class MalformedError(PodError):
    """What came over a control socket is not a message."""


def hung_up(link: socket.socket) -> bool:
    """Return whether the other end of `link` is closed."""
    poll = select.poll()
    poll.register(link, select.POLLIN)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def receive_with_descriptors(link: socket.socket, size: int, most: int) -> tuple[bytes, list[int], int]:
    """Receive up to `size` bytes and `most` descriptors, which no program that is executed inherits; and the flags.

    `socket.recv_fds` takes flags and ignores them (CPython 3.11 to 3.13).
    """
    data, messages, flags, _ = link.recvmsg(size, socket.CMSG_LEN(most * _DESCRIPTOR.size), socket.MSG_CMSG_CLOEXEC)
    descriptors = [
        number
        for level, kind, content in messages
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for (number,) in _DESCRIPTOR.iter_unpack(content[: len(content) // _DESCRIPTOR.size * _DESCRIPTOR.size])
    ]
    return data, descriptors, flags


def send(link: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message over a blocking socket; `descriptors` arrive as the receiver's own."""
    outbox = Outbox(link)
    outbox.add(message, descriptors)
    try:
        outbox.flush()
    finally:
        outbox.close()


class Outbox:
    """The messages that wait to be taken by a socket, blocking or not."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._parts: deque[tuple[bytes, list[int]]] = deque()

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Append a message; `descriptors` stay the caller's. Raises `OSError` where they can't be duplicated."""
        data = json.dumps(message).encode()
        copies: list[int] = []
        try:
            copies.extend(os.dup(fd) for fd in descriptors)
        except OSError:
            _close(copies)
            raise
        self._parts.append((_LENGTH.pack(len(data)) + data, copies))

    def flush(self) -> None:
        """Send what the socket takes."""
        while self._parts:
            data, descriptors = self._parts[0]
            try:
                sent = socket.send_fds(self._link, [data], descriptors)
            except BlockingIOError:
                return
            _close(descriptors)
            self._parts[0] = (data[sent:], [])
            if sent == len(data):
                self._parts.popleft()

    def close(self) -> None:
        """Forget what was not taken."""
        for _, descriptors in self._parts:
            _close(descriptors)
        self._parts.clear()


def receive(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for one message and its descriptors, which are now the caller's to close; ({}, []) at the end.

    Raises `MalformedError` for what is no message, `ConnectionResetError` for an end in the middle of one.
    """
    inbox = Inbox(link)
    while (received := inbox.read()) is None:
        pass  # a socket that blocks gives None only after some of the message has come
    return received


class Inbox:
    """The messages of a socket, blocking or not, each complete or not yet there.

    `lost_descriptors` says that this process may have no more open files, and so did not get some that came.
    """

    def __init__(self, link: socket.socket) -> None:
        self.lost_descriptors = False
        self._link = link
        self._begin()

    def _begin(self) -> None:
        self._wanted = _LENGTH.size
        self._in_body = False
        self._parts = bytearray()
        self._descriptors: list[int] = []

    def read(self) -> tuple[dict[str, Any], list[int]] | None:
        """Read some of what has come: return a message once it is complete, else None; otherwise as `receive`.

        Never reads beyond a message, so that the descriptors that come are that message's; and a part at a time, so
        that a long message that comes fast does not hold up others.
        """
        for _ in range(_READS):
            if len(self._parts) == self._wanted:
                break
            try:
                size = min(self._wanted - len(self._parts), _PART_BYTES)
                part, descriptors, flags = receive_with_descriptors(self._link, size, _DESCRIPTORS)
            except BlockingIOError:
                return None
            self._descriptors += descriptors
            self.lost_descriptors |= bool(flags & socket.MSG_CTRUNC)
            if len(self._descriptors) > _DESCRIPTORS:
                raise MalformedError("a control message with more descriptors than any has")
            if not part:
                if self._parts or self._in_body:
                    raise ConnectionResetError("the other end closed in the middle of a message")
                return {}, []
            self._parts += part
            if not self._in_body and len(self._parts) == self._wanted:
                (self._wanted,) = _LENGTH.unpack(self._parts)
                self._in_body = True
                self._parts.clear()
                if not 0 < self._wanted <= _LIMIT_BYTES:
                    raise MalformedError(
                        f"a control message of {self._wanted} bytes: the other end is no sidelab of this version"
                    )
        if len(self._parts) < self._wanted or not self._in_body:
            return None
        message, descriptors = _decoded(self._parts), self._descriptors
        self._begin()
        return message, descriptors

    def close(self) -> None:
        """Close the descriptors of a message that never became complete."""
        _close(self._descriptors)
        self._descriptors = []


def _close(descriptors: Sequence[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def _decoded(data: bytearray) -> dict[str, Any]:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise MalformedError("a control message that is no JSON object: the other end is no sidelab of this version")
    return message
