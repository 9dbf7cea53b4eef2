"""The body of an HTTP/1 answer, as its head frames it; pure.

Chunks are read as strictly as Go's net/http/internal reads them (`chunkedReader`): their lines end with CR LF, and what
is not data is bounded.
"""

from typing import Protocol

from sidelab.lab.net.http_head import AnswerError, Fields, Head, Lines

_DIGITS = b"0123456789abcdefABCDEF"
_SIZE_DIGITS = 16
_LINE_BYTES = 4096
_OVERHEAD_BYTES = 16 << 10
_ALLOWED_BYTES = 16
"""How much of a chunk's framing is never counted as overhead; as much again as twice its data is not, either."""


class Body(Protocol):
    """Takes bytes out of a buffer."""

    done: bool

    def take(self, buffer: bytearray, most_bytes: int) -> bytes:
        """Return the data that `buffer` holds, `most_bytes` at most, and take it out; raises `AnswerError`.

        What comes behind so much data is not looked at: so it makes no difference in what pieces it arrives.
        """

    def ended(self) -> None:
        """Take note of the connection's end; raises `AnswerError` where something is missing."""


def body_of(head: Head) -> Body:
    """Return what reads the body that `head` announces."""
    if head.chunked:
        return _Chunks()
    return _UntilEnd() if head.length is None else _Counted(head.length)


class _Counted:
    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def take(self, buffer: bytearray, most_bytes: int) -> bytes:
        data = bytes(buffer[: min(self._left, most_bytes)])
        del buffer[: len(data)]
        self._left -= len(data)
        self.done = not self._left
        return data

    def ended(self) -> None:
        raise AnswerError(f"its body ends {self._left} bytes early")


class _UntilEnd:
    done = False

    def take(self, buffer: bytearray, most_bytes: int) -> bytes:
        data = bytes(buffer[:most_bytes])
        del buffer[:most_bytes]
        return data

    def ended(self) -> None:
        self.done = True


class _Chunks:
    """A size, data, and a line's end, again and again; behind the size 0 come fields, which count for nothing."""

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._overhead = 0
        self._closing = False  # the line's end behind a chunk's data is awaited
        self._trailer: tuple[Lines, Fields] | None = None

    def take(self, buffer: bytearray, most_bytes: int) -> bytes:
        parts: list[bytes] = []
        position = 0
        while most_bytes and not self.done:
            if self._trailer is not None:
                del buffer[:position]
                self._take_trailer(*self._trailer, buffer)
                return b"".join(parts)
            if self._left:
                part = bytes(buffer[position : position + min(self._left, most_bytes)])
                if not part:
                    break
                parts.append(part)
                position += len(part)
                most_bytes -= len(part)
                self._left -= len(part)
                self._closing = not self._left
            elif self._closing:
                if len(buffer) - position < 2:
                    break
                if buffer[position : position + 2] != b"\r\n":
                    raise AnswerError("its chunks are malformed")
                position += 2
                self._closing = False
            else:
                end = buffer.find(b"\n", position, position + _LINE_BYTES)
                if end < 0:
                    if len(buffer) - position >= _LINE_BYTES:
                        raise AnswerError("its chunks are malformed")
                    break
                self._begin(bytes(buffer[position : end + 1]))
                position = end + 1
        del buffer[:position]
        return b"".join(parts)

    def ended(self) -> None:
        raise AnswerError("its body ends before its last chunk")

    def _begin(self, line: bytes) -> None:
        size = line.removesuffix(b"\r\n").rstrip(b" \t").partition(b";")[0].rstrip(b" \t")
        if not line.endswith(b"\r\n") or not 1 <= len(size) <= _SIZE_DIGITS or size.translate(None, _DIGITS):
            raise AnswerError("its chunks are malformed")
        self._left = int(size, 16)
        self._overhead = max(0, self._overhead + len(line) - _ALLOWED_BYTES - 2 * self._left)
        if self._overhead > _OVERHEAD_BYTES:
            raise AnswerError("its chunks hold next to no data")
        if not self._left:
            self._trailer = Lines(_LINE_BYTES), Fields()

    def _take_trailer(self, lines: Lines, fields: Fields, buffer: bytearray) -> None:
        while (line := lines.take(buffer)) is not None:
            if fields.add(line):
                self.done = True
                return
