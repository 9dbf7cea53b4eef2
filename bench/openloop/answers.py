"""What comes back on a connection, as far as a load generator needs it: where an answer ends, and its status; pure."""

from sidelab.lab.errors import PodError
from sidelab.lab.net.http_head import AnswerError, HeadReader

_HEAD_BYTES = 16 * 1024


class AnswerParser:
    """The answer that is awaited on one connection, fed piece by piece; then the next one on the same connection."""

    __slots__ = ("_buffer", "_known", "_left", "_length", "_reader", "status")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._reader: HeadReader | None = None  # while a head is on its way
        self._known = b""  # the head before this one: nearly all are the same, and need not be read again
        self._length = 0
        self._left = -1
        self.status = 0

    def feed(self, data: bytes) -> bool:
        """Take what arrived; return whether the answer is whole, and be ready for the next one.

        Raises `PodError` for what is no answer with a length, and for more than was asked for.
        """
        if self._left >= 0:
            self._left -= len(data)
        elif self._known and self._reader is None and data.startswith(self._known):
            self._left = self._length + len(self._known) - len(data)
        elif not self._begin(data):
            return False
        if self._left > 0:
            return False
        if self._left < 0:
            raise PodError("more came back than was asked for")
        self._left = -1
        return True

    def _begin(self, data: bytes) -> bool:
        """Take a part of the head; return whether it is complete, and `status` and what is left of the body known."""
        whole = self._reader is None
        if self._reader is None:
            self._reader = HeadReader(_HEAD_BYTES)
        self._buffer += data
        try:
            head = self._reader.take(self._buffer)
        except AnswerError as error:
            raise PodError(f"what came back is no answer of HTTP/1: {error}") from error
        if head is None:
            return False
        if head.length is None:
            raise PodError("the answer has no content-length, and the load generator understands nothing else")
        arrived = len(self._buffer)
        self._known = data[: len(data) - arrived] if whole else b""
        self.status, self._length, self._left = head.status, head.length, head.length - arrived
        self._buffer.clear()
        self._reader = None
        return True
