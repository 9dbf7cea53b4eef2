"""Where a message's body ends (RFC 9112 §6.3, §7.1). Pure: it counts bytes and passes none on itself."""

import re
from typing import Final

CHUNKED: Final = -1
"""A body in chunks (RFC 9112 §7.1)."""

UNTIL_CLOSE: Final = -2
"""A response body that ends with its connection (RFC 9112 §6.3)."""

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
FIELD = TOKEN + rb":" + TEXT + rb"\r\n"

_FIELD_LINE = re.compile(FIELD)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;%b)?\r\n" % TEXT)
_LONGEST_CHUNK_LINE = 4096
_LONGEST_TRAILER = 8192


class BadMessageError(Exception):
    """What arrived is no acceptable message: `status` is the answer to it, `str()` says what is wrong.

    `details` is what Envoy calls it in %RESPONSE_CODE_DETAILS%.
    """

    def __init__(self, status: int, reason: str, details: str = "http1.codec_error") -> None:
        super().__init__(reason)
        self.status = status
        self.details = details


class LengthBody:
    """Follows a body of known length."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def done(self) -> bool:
        """Whether the body's last byte was seen."""
        return self._left == 0

    def feed(self, data: bytes) -> int:
        """Return how many bytes from the start of `data` belong to the body."""
        taken = min(self._left, len(data))
        self._left -= taken
        return taken


class EndlessBody:
    """Follows a body that only its connection's end ends."""

    __slots__ = ()
    done = False

    def feed(self, data: bytes) -> int:
        """Return the length of `data`: all of it belongs to the body."""
        return len(data)


class ChunkedBody:
    """Follows a body in chunks, checking their framing; the bytes themselves are passed on as they are."""

    __slots__ = ("_expect", "_left", "_line", "_status", "_trailer_bytes", "done")

    def __init__(self, bad_status: int) -> None:
        self._status = bad_status
        self._left = 0
        self._line = b""
        self._expect = self._size
        self._trailer_bytes = 0
        self.done = False

    def feed(self, data: bytes) -> int:
        """Return how many bytes from the start of `data` belong to the body; raises `BadMessageError`."""
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                taken = min(self._left, len(data) - at)
                self._left -= taken
                at += taken
                continue
            newline = data.find(b"\n", at)
            line = self._line + data[at : newline + 1 if newline >= 0 else None]
            if len(line) > _LONGEST_CHUNK_LINE:
                raise BadMessageError(self._status, "a line of the chunked body is too long")
            if newline < 0:
                self._line = line
                return len(data)
            self._line = b""
            at = newline + 1
            self._expect(line)
        return at

    def _size(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise BadMessageError(self._status, "malformed chunk size")
        self._left = int(match[1], 16)
        self._expect = self._end_of_chunk if self._left else self._trailer

    def _end_of_chunk(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadMessageError(self._status, "a chunk is longer than its size")
        self._expect = self._size

    def _trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _LONGEST_TRAILER or _FIELD_LINE.fullmatch(line) is None:
            raise BadMessageError(self._status, "malformed or too long trailer")


Body = LengthBody | ChunkedBody | EndlessBody


def body_of(length: int, bad_status: int) -> Body:
    """Return what follows a body of `length`, which may be `CHUNKED` or `UNTIL_CLOSE`."""
    if length == CHUNKED:
        return ChunkedBody(bad_status)
    return EndlessBody() if length == UNTIL_CLOSE else LengthBody(length)
