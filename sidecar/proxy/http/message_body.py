"""Where a message's body ends (RFC 9112 §6.3, §7.1), and in which form it is forwarded. Pure."""

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKED: Final = -1
"""A body in chunks (RFC 9112 §7.1)."""

UNTIL_CLOSE: Final = -2
"""A response body that ends with its connection (RFC 9112 §6.3)."""

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
FIELD = TOKEN + rb":" + TEXT + rb"\r\n"

_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_SIZE = re.compile(rb"0*([0-9A-Fa-f]{1,16})(?:[\t ;][^\r\n]*)?\r\n")
_SIZE_BEGUN = re.compile(rb"([0-9A-Fa-f]*)(?:[\t ;][^\r\n]*)?(\r?)")
_FIELD = re.compile(TOKEN + rb":" + TEXT)
_NAME = re.compile(TOKEN)
_FOLDED = re.compile(rb"[ \t]" + TEXT)
_LONGEST_SIZE = 8192
_KEPT_OF_TRAILER = 256
_LONGEST_TRAILER = {400: (60 * 1024, 431), 502: (80 * 1024, 502)}
"""By the status for malformed messages: how many bytes of trailers are read, and the status beyond that. Envoy's."""


CODEC_ERROR = "http1.codec_error"
"""Envoy's details for a malformed message for which there is nothing more specific."""


class BadMessageError(Exception):
    """A message that is not acceptable: `status` is the answer to it, `str()` says what is wrong.

    `details` is its %RESPONSE_CODE_DETAILS% in Envoy; `before` is the part of a body that precedes the fault, in the
    form in which it is forwarded.
    """

    def __init__(self, status: int, reason: str, details: str = CODEC_ERROR) -> None:
        super().__init__(reason)
        self.status = status
        self.details = details
        self.before = b""


class LengthBody:
    """Follows a body of known length."""

    __slots__ = ("_left",)
    edited = None

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def done(self) -> bool:
        """Whether the body's last byte has been seen."""
        return self._left == 0

    def feed(self, data: bytes) -> int:
        """Return how many bytes from the start of `data` belong to the body."""
        taken = min(self._left, len(data))
        self._left -= taken
        return taken


class EndlessBody:
    """Follows a body that ends with its connection; it is forwarded in chunks, so that its end is marked."""

    __slots__ = ("edited",)
    done = False
    end = b"0\r\n\r\n"

    def __init__(self) -> None:
        self.edited: bytes | None = None

    def feed(self, data: bytes) -> int:
        """Return the length of `data`: all of it belongs to the body."""
        self.edited = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        return len(data)


class ChunkedBody:
    """Follows a body in chunks.

    Strict framing is forwarded unchanged. Envoy accepts more: padded sizes, extensions, bytes between a chunk and the
    end of its line, trailers with LF. All of this is left out of what is forwarded.
    """

    __slots__ = ("_expect", "_left", "_line", "_status", "_trailer_bytes", "done", "edited")

    def __init__(self, bad_status: int) -> None:
        self._status = bad_status
        self._left = 0
        self._line = b""
        self._expect: Callable[[bytes], bytes] = self._size
        self._trailer_bytes = 0
        self.done = False
        self.edited: bytes | None = None

    def feed(self, data: bytes) -> int:
        """Return how many bytes from the start of `data` belong to the body; raises `BadMessageError`."""
        at = kept = 0
        out = line = b""
        self.edited = None
        try:
            while at < len(data) and not self.done:
                if self._left:
                    taken = min(self._left, len(data) - at)
                    self._left -= taken
                    at += taken
                    continue
                newline = data.find(b"\n", at)
                if newline < 0:
                    # The line is forwarded once it is complete.
                    self.edited = out + data[kept:at]
                    self._hold(self._line + data[at:])
                    return len(data)
                line, held = self._line + data[at : newline + 1], self._line
                self._line = b""
                strict = self._expect(line)
                if held or strict != line:
                    out += data[kept:at] + strict
                    kept = newline + 1
                at = newline + 1
        except BadMessageError as error:
            # Like Envoy, which hands over body data when the body is complete or when no more data is there.
            complete = self._expect == self._trailer or not line.strip(b"0\n")
            error.before = out + data[kept:at] if complete else b""
            raise
        if kept:
            self.edited = out + data[kept:at]
        return at

    def _hold(self, line: bytes) -> None:
        """Keep what is needed of an incomplete line."""
        if self._expect == self._end_of_chunk:
            line = line[-1:]
        elif self._expect == self._size:
            match = _SIZE_BEGUN.fullmatch(line)
            if match is None or match.end(1) > _LONGEST_SIZE:
                raise BadMessageError(self._status, "malformed chunk size")
            if len(line) > _LONGEST_SIZE:
                line = match[1] + b";" + match[2]
        elif self._expect == self._trailer:
            self._check_trailer(len(line))
            line = self._shortened(line)
        self._line = line

    def _shortened(self, line: bytes) -> bytes:
        """Return what to keep of an incomplete trailer line: enough to decide whether it is well formed.

        Trailers are not forwarded, and may be long.
        """
        if len(line) <= _KEPT_OF_TRAILER:
            return line
        text = line.replace(b"\r", b"")
        if _FIELD.fullmatch(text):
            kept = b"x:"
        elif _NAME.fullmatch(text):
            kept = b"x"
        elif self._trailer_bytes and _FOLDED.fullmatch(text):
            kept = b" "
        else:
            kept = b"\0"
        kept += b"\r" if line.endswith(b"\r") else b""
        self._trailer_bytes += len(line) - len(kept)
        return kept

    def _size(self, line: bytes) -> bytes:
        plain = _PLAIN_SIZE.fullmatch(line)
        match = plain or _SIZE.fullmatch(line)
        if match is None:
            raise BadMessageError(self._status, "malformed chunk size")
        self._left = int(match[1], 16)
        self._expect = self._end_of_chunk if self._left else self._trailer
        return line if plain else b"%x\r\n" % self._left

    def _end_of_chunk(self, _line: bytes) -> bytes:
        self._expect = self._size
        return b"\r\n"

    def _trailer(self, line: bytes) -> bytes:
        if line in (b"\r\n", b"\n"):
            self.done = True
            return b"\r\n"
        self._check_trailer(len(line))
        text = line.replace(b"\r", b"")[:-1]
        if not (_FIELD.fullmatch(text) or (self._trailer_bytes and _FOLDED.fullmatch(text))):
            raise BadMessageError(self._status, "malformed trailer")
        self._trailer_bytes += len(line)
        return b""

    def _check_trailer(self, more_bytes: int) -> None:
        most_bytes, status = _LONGEST_TRAILER[self._status]
        if self._trailer_bytes + more_bytes > most_bytes:
            raise BadMessageError(status, f"the trailers are longer than {most_bytes} bytes", "http1.headers_too_large")


MessageBody = LengthBody | ChunkedBody | EndlessBody


def body_of(length: int, bad_status: int) -> MessageBody:
    """Return an object that follows a body of `length`, which may be `CHUNKED` or `UNTIL_CLOSE`."""
    if length == CHUNKED:
        return ChunkedBody(bad_status)
    return EndlessBody() if length == UNTIL_CLOSE else LengthBody(length)


def forwarded(body: MessageBody, data: bytes, taken: int) -> bytes:
    """Return what to forward for the first `taken` bytes of `data`, which were just fed to `body`."""
    if body.edited is not None:
        return body.edited
    return data if taken == len(data) else data[:taken]
