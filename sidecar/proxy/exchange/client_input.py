"""What a client has sent and cannot go on yet: the beginning of a head, or of the request behind the one being served.

It is on account of the client's share. While the next request waits, or the upstream is slow, nothing more is read.
"""

from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.io.stream_interface import Wire

EMPTY_LINES = b"\r\n"
FREE_BYTES = SMALL_BYTES
"""What is no longer than this is kept without the share being charged for it."""


class ClientInput:
    """What is kept of a client's bytes: `begun`, and in `held` how many the client's share is charged for.

    `paused`: its connection is not being read.
    """

    __slots__ = ("_wire", "begun", "held", "paused")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.begun = b""
        self.held = 0
        self.paused = False

    def keep(self, begun: bytes) -> None:
        """Keep a head that is not complete; raises `BadMessageError` 431 if its client's share has no room for it."""
        if len(begun) > FREE_BYTES:
            self.reserve(len(begun))
        self.begun = begun

    def wait(self, next_request: bytes) -> None:
        """Keep the beginning of the next request; empty lines before it, as some clients send, are no part of it."""
        self.begun = next_request.lstrip(EMPTY_LINES)
        if self.begun:
            self.pause()
            if len(self.begun) > FREE_BYTES:
                self.charge(self.held + len(self.begun))

    def reserve_head(self, size: int) -> None:
        """Charge the share for a head that is complete: what is large is kept twice, as it came and as it goes on.

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
        """Charge the share for `count` bytes, instead of those before; returns whether it has that room."""
        more, share = count - self.held, self._wire.share
        room = more <= 0 or share.has_room(more)
        share.add(more)
        self.held = count
        return room

    def pause(self) -> None:
        """Read nothing more of the client."""
        self.paused = True
        self._wire.pause()

    def resume(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            self._wire.resume()
