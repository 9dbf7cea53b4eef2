"""An HTTP/1 answer out of bytes that arrive in any pieces: its head, and the beginning of its body; pure."""

from sidelab.lab.net.http_body import Body, body_of
from sidelab.lab.net.http_head import AnswerError, Head, HeadReader

__all__ = ["Answer", "AnswerError"]


class Answer:
    """An answer as far as it has arrived: once `done`, `body` is complete, or its first `limit` bytes are there."""

    def __init__(self, limit: int) -> None:
        self.head: Head | None = None
        self.done = False
        self._limit = limit
        self._kept: list[bytes] = []
        self._size = 0
        self._buffer = bytearray()
        self._reader = HeadReader()
        self._body: Body | None = None

    @property
    def status(self) -> int:
        """The status, 0 until it is known."""
        return self.head.status if self.head is not None else 0

    @property
    def body(self) -> bytes:
        """What has arrived of the body, up to the limit."""
        return b"".join(self._kept)

    def field(self, name: str) -> str:
        """Return a field of the head by its lower-case name, one that `head` keeps; "" where it is missing."""
        return self.head.fields.get(name, "") if self.head is not None else ""

    def feed(self, data: bytes) -> bool:
        """Take what has arrived, b"" for the connection's end; returns `done`. Raises `AnswerError`."""
        if self.done:
            return True
        self._buffer += data
        if self._body is None:
            self.head = self._reader.take(self._buffer)
            if self.head is not None:
                self._body = body_of(self.head)
        if self._body is not None:
            part = self._body.take(self._buffer, self._limit - self._size)
            if part:
                self._size += len(part)
                self._kept.append(part)
            self.done = self._body.done or self._size >= self._limit
        if not data and not self.done:
            self._ended()
        return self.done

    def _ended(self) -> None:
        if self._body is None:
            raise AnswerError("it ended without an HTTP answer")
        self._body.ended()
        self.done = self._body.done
