"""A DNS question asked of another server by the way it came, from a socket of its own: so answers cannot be mixed up.

It knows messages only by their header (RFC 1035 §4.1.1) and, over TCP, their length (§4.2.2).
"""

import contextlib
import socket
import struct
from collections.abc import Callable

from sidecar.proxy.loop import READ, Loop
from sidecar.proxy.stream import Stream

MESSAGE_BYTES = 65_535
PORT = 53
PATIENCE_S = 5.0
SERVFAIL = 2


def failed(packet: bytes, status: int) -> bytes:
    """Return a response without answers: the header and nothing else, whatever was asked."""
    number, flags = struct.unpack_from("!HH", packet)
    return struct.pack("!6H", number, 0x8080 | flags & 0x7900 | status, 0, 0, 0, 0)


def forward(loop: Loop, packet: bytes, server: str, tell: Callable[[bytes], None], *, stream: bool) -> None:
    """Ask `server` (an address), and have `tell` called once, later: with its response, or SERVFAIL in its stead."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    asking = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            asking.connect((server, PORT))
        if stream:
            _OverTCP(loop, asking, packet, tell)
        else:
            _OverUDP(loop, asking, packet, tell)
    except OSError:
        asking.close()
        loop.call_soon(lambda: tell(failed(packet, SERVFAIL)))


class _OverUDP:
    def __init__(self, loop: Loop, asking: socket.socket, packet: bytes, tell: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._socket = asking
        self._packet = packet
        self._tell = tell
        asking.send(packet)
        loop.watch(asking.fileno(), READ, self._heard)
        self._timer = loop.call_later(PATIENCE_S, lambda: self._finish(failed(packet, SERVFAIL)))

    def _heard(self, _events: int) -> None:
        try:
            data = self._socket.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = failed(self._packet, SERVFAIL)
        if data[:2] == self._packet[:2]:
            self._finish(data)

    def _finish(self, response: bytes) -> None:
        self._timer.cancel()
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._tell(response)


class _OverTCP:
    """The receiver of a connection to the server."""

    def __init__(self, loop: Loop, asking: socket.socket, packet: bytes, tell: Callable[[bytes], None]) -> None:
        self._packet = packet
        self._tell = tell
        self._received = b""
        self._stream = Stream(loop, asking, _nothing)
        self._stream.connect_within(PATIENCE_S)
        self._timer = loop.call_later(PATIENCE_S, self.ended)
        self._stream.start(self)
        self._stream.write(len(packet).to_bytes(2, "big") + packet)

    def received(self, data: bytes) -> None:
        """Tell the response when it is complete."""
        self._received += data
        end = 2 + int.from_bytes(self._received[:2], "big")
        if 2 < end <= len(self._received):
            self._finish(self._received[2:end])

    def ended(self) -> None:
        """Fail: nothing complete has come."""
        self._finish(failed(self._packet, SERVFAIL))

    def drained(self) -> None:
        """Nothing waits for it."""

    def lost(self, _error: OSError) -> None:
        """Fail."""
        self.ended()

    def _finish(self, response: bytes) -> None:
        self._timer.cancel()
        self._stream.close()
        self._tell(response)


def _nothing() -> None:
    """Take note of nothing."""
