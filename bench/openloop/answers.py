"""Parse answers on a connection as far as a load generator needs it: where one ends, and its status; pure."""

from sidelab.lab.errors import PodError
from sidelab.lab.net.http_head import AnswerError, HeadReader

_HEAD_BYTES = 16 * 1024


class AnswerParser:
    """Parses the answers on one connection, one after the other, fed piece by piece."""

    __slots__ = ("_buffer", "_known", "_left", "_length", "_reader", "status")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._reader: HeadReader | None = None  # set while a head is incomplete
        self._known = b""  # the previous head: nearly all are the same, and need not be parsed again
        self._length = 0
        self._left = -1
        self.status = 0

    def feed(self, data: bytes) -> bool:
        """Take data that arrived; return whether the answer is whole; the next call then begins the next answer.

        Raises `PodError` for anything but an answer with a length, and for more data than was asked for.
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
        """Take a part of the head; return whether it is complete, so that `status` and the rest's length are known."""
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
