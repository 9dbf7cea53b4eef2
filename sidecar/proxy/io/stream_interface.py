"""The two sides of a connection, as interfaces: what it tells, and what can be done with it.

`stream` has the real one; tests put memory in its place.
"""

from typing import Protocol

from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.share import Share


class Receiver(Protocol):
    """What a stream tells."""

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with the connection: no request is being sent or served."""

    @property
    def divisible(self) -> bool:
        """Whether less at a time is less work, as with chunks; a head is looked at with every piece, and so is more."""

    def received(self, data: bytes) -> None:
        """Take bytes; never called while the stream is paused."""

    def ended(self) -> None:
        """Take note that the peer will send nothing more; writing is still possible."""

    def drained(self) -> None:
        """Take note that the buffer is empty again after a `write` that answered False."""

    def lost(self, error: OSError, /) -> None:
        """Take note that the connection failed; the stream is closed already.

        If it was never connected, `TcpStream.connecting` is still True.
        """


class Wire(Protocol):
    """What a receiver may do with a stream; tests put memory in its place."""

    @property
    def connecting(self) -> bool:
        """Whether the handshake is not finished (after `lost`: was never finished)."""

    @property
    def idle(self) -> bool:
        """See `TcpStream.idle`."""

    @property
    def share(self) -> Share:
        """On whose account it is."""

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
