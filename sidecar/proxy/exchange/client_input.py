"""Client bytes that cannot be forwarded yet: the beginning of a head, or of the request after the one being served.

They are charged to the client's share. While the next request waits, or the upstream is slow, nothing more is read.
"""

from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.io.stream_interface import Wire

EMPTY_LINES = b"\r\n"
FREE_BYTES = SMALL_BYTES
"""Up to this size, bytes are kept without charging the share for them."""


class ClientInput:
    """The client's bytes that are kept (`begun`), and how many bytes its share is charged for (`held`).

    `paused`: its connection is not being read.
    """

    __slots__ = ("_wire", "begun", "held", "paused")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.begun = b""
        self.held = 0
        self.paused = False

    def keep(self, begun: bytes) -> None:
        """Keep an incomplete head; raises `BadMessageError` 431 if the client's share has no room for it."""
        if len(begun) > FREE_BYTES:
            self.reserve(len(begun))
        self.begun = begun

    def wait(self, next_request: bytes) -> None:
        """Keep the beginning of the next request, without the empty lines that some clients send before it."""
        self.begun = next_request.lstrip(EMPTY_LINES)
        if self.begun:
            self.pause()
            if len(self.begun) > FREE_BYTES:
                self.charge(self.held + len(self.begun))

    def reserve_head(self, size: int) -> None:
        """Charge the share for a complete head; a large one is kept twice, as received and as forwarded.

        Raises `BadMessageError` 431 if there is no room for it.
        """
        self.reserve(2 * size if size > FREE_BYTES else 0)

    def may_keep(self, whole: bytes) -> bool:
        """Return whether a request may be kept, and charge the share for it if it is large."""
        return len(whole) <= FREE_BYTES or self.charge(self.held + len(whole))

    def reserve(self, count: int) -> None:
        """Charge the share for `count` bytes; raises `BadMessageError` 431 if it has no room for them."""
        if not self.charge(count):
            raise BadMessageError(431, "this client's connections keep too much already", "http1.headers_too_large")

    def charge(self, count: int) -> bool:
        """Charge the share for `count` bytes, in place of the previous charge; returns whether it has room for them."""
        more, share = count - self.held, self._wire.share
        room = more <= 0 or share.has_room(more)
        share.add(more)
        self.held = count
        return room

    def pause(self) -> None:
        """Stop reading from the client."""
        self.paused = True
        self._wire.pause()

    def resume(self) -> None:
        """Go on reading, if paused."""
        if self.paused:
            self.paused = False
            self._wire.resume()
