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

        If it was never connected, `Stream.connecting` is still True.
        """


class Wire(Protocol):
    """What a receiver may do with a stream; tests put memory in its place."""

    @property
    def connecting(self) -> bool:
        """Whether the handshake is not finished (after `lost`: was never finished)."""

    @property
    def idle(self) -> bool:
        """See `Stream.idle`."""

    @property
    def share(self) -> Share:
        """On whose account it is."""

    def charge(self, share: Share) -> None:
        """See `Stream.charge`."""

    def local(self) -> Destination:
        """See `Stream.local`."""

    def start(self, receiver: Receiver) -> None:
        """See `Stream.start`."""

    def redirect(self, receiver: Receiver) -> None:
        """See `Stream.redirect`."""

    def write(self, data: bytes) -> bool:
        """See `Stream.write`."""

    def pause(self) -> None:
        """See `Stream.pause`."""

    def resume(self) -> None:
        """See `Stream.resume`."""

    def end(self) -> None:
        """See `Stream.end`."""

    def close(self) -> None:
        """See `Stream.close`."""

    def linger(self) -> None:
        """See `Stream.linger`."""

    def abort(self) -> None:
        """See `Stream.abort`."""

    def drop(self) -> None:
        """See `Stream.drop`."""
