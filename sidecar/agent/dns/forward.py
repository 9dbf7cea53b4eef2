"""Forwards a DNS query to another server, over UDP or TCP as it came, from its own socket so answers cannot mix up.

It examines only the id of a response.
"""

import contextlib
import socket
from collections.abc import Callable

from sidelab.lab.net.dns import MESSAGE_BYTES, SERVFAIL, Messages, answers, framed, refused
from sidelab.sidecar.proxy.io.proxy_loop import READ, ProxyLoop
from sidelab.sidecar.proxy.io.stream import TcpStream

PORT = 53
PATIENCE_S = 5.0


def forward(loop: ProxyLoop, packet: bytes, server: str, tell: Callable[[bytes], None], *, stream: bool) -> None:
    """Query `server` (an address); `tell` is called once, later, with its response or with SERVFAIL."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
    try:
        asking = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError:  # no descriptor is left
        loop.call_soon(lambda: tell(refused(packet, SERVFAIL)))
        return
    try:
        with contextlib.suppress(BlockingIOError):
            asking.connect((server, PORT))
        if stream:
            _OverTCP(loop, asking, packet, tell)
        else:
            _OverUDP(loop, asking, packet, tell)
    except OSError:
        asking.close()
        loop.call_soon(lambda: tell(refused(packet, SERVFAIL)))


class _OverUDP:
    def __init__(self, loop: ProxyLoop, asking: socket.socket, packet: bytes, tell: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._socket = asking
        self._packet = packet
        self._tell = tell
        asking.send(packet)
        loop.watch(asking.fileno(), READ, self._heard)
        self._timer = loop.call_later(PATIENCE_S, lambda: self._finish(refused(packet, SERVFAIL)))

    def _heard(self, _events: int) -> None:
        try:
            data = self._socket.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = refused(self._packet, SERVFAIL)
        if answers(data, self._packet):
            self._finish(data)

    def _finish(self, response: bytes) -> None:
        self._timer.cancel()
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        self._tell(response)


class _OverTCP:
    """The receiver of a connection to the server."""

    divisible = False
    idle = False

    def __init__(self, loop: ProxyLoop, asking: socket.socket, packet: bytes, tell: Callable[[bytes], None]) -> None:
        self._packet = packet
        self._tell = tell
        self._messages = Messages()
        self._stream = TcpStream(loop, asking)
        self._stream.connect_within(PATIENCE_S)
        self._timer = loop.call_later(PATIENCE_S, self.ended)
        self._stream.start(self)
        self._stream.write(framed(packet))

    def received(self, data: bytes) -> None:
        """Pass on the response when it is complete."""
        for response in self._messages.feed(data):
            if answers(response, self._packet):
                self._finish(response)
                return

    def ended(self) -> None:
        """Fail: no complete response has arrived."""
        self._finish(refused(self._packet, SERVFAIL))

    def drained(self) -> None:
        """Do nothing: nothing waits to be written."""

    def lost(self, _error: OSError) -> None:
        """Fail."""
        self.ended()

    def _finish(self, response: bytes) -> None:
        self._timer.cancel()
        self._stream.close()
        self._tell(response)
