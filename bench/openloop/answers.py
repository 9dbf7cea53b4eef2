"""What comes back on a connection, as far as a load generator needs it: where an answer ends, and its status; pure."""

from sidelab.lab.errors import PodError

_HEAD_BYTES = 16 * 1024


class Answer:
    """The answer that is awaited on one connection, fed piece by piece; then the next one on the same connection."""

    __slots__ = ("_head", "_left", "status")

    def __init__(self) -> None:
        self._head = b""
        self._left = -1
        self.status = 0

    def feed(self, data: bytes) -> bool:
        """Take what arrived; return whether the answer is whole, and be ready for the next one.

        Raises `PodError` for what is no answer with a length, and for more than was asked for.
        """
        if self._left < 0:
            data = self._head + data if self._head else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _HEAD_BYTES:
                    raise PodError(f"the answer's first {len(data)} bytes hold no whole HTTP head")
                self._head = data
                return False
            self._head = b""
            self.status, self._left = _read(data[:end])
            arrived = len(data) - end - 4
        else:
            arrived = len(data)
        self._left -= arrived
        if self._left > 0:
            return False
        if self._left < 0:
            raise PodError("more came back than was asked for")
        self._left = -1
        return True


def _read(head: bytes) -> tuple[int, int]:
    """Return status and length of the body."""
    line, _, fields = head.partition(b"\r\n")
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise PodError(f"no answer of HTTP/1: {line[:80]!r}")
    for field in fields.split(b"\r\n"):
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length" and value.strip().isdigit():
            return int(words[1]), int(value)
    raise PodError("the answer has no content-length, and the load generator understands nothing else")
