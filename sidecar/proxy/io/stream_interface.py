"""The interfaces between a connection and its user: the events that it delivers, and the calls that it accepts.

`stream` has the real implementation; tests use one in memory.
"""

from typing import Protocol

from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.share import Share


class Receiver(Protocol):
    """The receiver of a stream's events."""

    @property
    def idle(self) -> bool:
        """Whether closing the connection would lose nothing: no request is being sent or served."""

    @property
    def divisible(self) -> bool:
        """Whether smaller pieces mean less work each, as with chunks; a head is parsed again with every piece."""

    def received(self, data: bytes) -> None:
        """Handle bytes; never called while the stream is paused."""

    def ended(self) -> None:
        """Handle the peer's FIN; writing is still possible."""

    def drained(self) -> None:
        """Go on writing: the buffer is empty again after a `write` that returned False."""

    def lost(self, error: OSError, /) -> None:
        """Handle the failure of the connection; the stream is already closed.

        If it was never connected, `TcpStream.connecting` is still True.
        """


class Wire(Protocol):
    """The calls that a receiver may make on a stream; tests use one in memory."""

    @property
    def connecting(self) -> bool:
        """Whether the handshake is unfinished (after `lost`: was never finished)."""

    @property
    def idle(self) -> bool:
        """See `TcpStream.idle`."""

    @property
    def share(self) -> Share:
        """The share that its buffer is charged to."""

    def charge(self, share: Share) -> None:
        """See `TcpStream.charge`."""

    def local(self) -> Destination:
        """See `TcpStream.local`."""

    def start(self, receiver: Receiver) -> None:
        """See `TcpStream.start`."""

    def redirect(self, receiver: Receiver) -> None:
        """See `TcpStream.redirect`."""

    def write(self, data: bytes) -> bool:
        """See `TcpStream.write`."""

    def pause(self) -> None:
        """See `TcpStream.pause`."""

    def resume(self) -> None:
        """See `TcpStream.resume`."""

    def end(self) -> None:
        """See `TcpStream.end`."""

    def close(self) -> None:
        """See `TcpStream.close`."""

    def linger(self) -> None:
        """See `TcpStream.linger`."""

    def abort(self) -> None:
        """See `TcpStream.abort`."""

    def drop(self) -> None:
        """See `TcpStream.drop`."""
