"""The head of an HTTP/1 answer, read as Go's net/http reads it; pure.

Go is the measure because the kubelet and pilot-agent are written in it: lines may end with a bare LF, fields may be
folded, the reason may be missing; what stands before a colon must be a token. Source: Go's net/textproto
(`readMIMEHeader`) and net/http (`ReadResponse`, `fixLength`, `parseTransferEncoding`); tests/lab/go_answers.py has
what Go really says to each kind.
"""

import re
from typing import NamedTuple

HEAD_BYTES = 10 << 20
"""All of an answer before its body, interim answers included (net/http's `MaxResponseHeaderBytes`)."""

_STATUS = re.compile(rb"HTTP/(\d\.\d) +(\d{3})(?: .*)?", re.DOTALL)
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_NAME = b"!#$%&'*+-.^_`|~0123456789 " + _LETTERS + _LETTERS.upper()  # a token's, and the blank, which Go lets pass
_NO_VALUE = bytes(each for each in range(128) if (each < 32 and each != 9) or each == 127)
_LENGTH_DIGITS = 18
_KEPT = (b"content-length", b"transfer-encoding", b"location", b"content-type")
"""The fields that somebody asks for; keeping all would let ten megabytes of them become hundreds."""

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_STRICT = re.compile(
    rb"HTTP/(\d\.\d) ([02-9]\d\d)(?: %b)?\r\n(?:[!#$%%&'*+\-.^_`|~0-9A-Za-z]++:%b\r\n)*+\r\n" % (_TEXT, _TEXT)
)
"""A final answer's head as RFC 9112 asks for it; what is written otherwise is read line by line."""

_KEPT_LINE = re.compile(rb"\n(%b):[\t ]*+([^\r]*+)" % b"|".join(_KEPT), re.IGNORECASE)


class AnswerError(Exception):
    """What arrived is not an HTTP answer, or not all of it; `str()` says how it differs."""


class Head(NamedTuple):
    """An answer's status and those of its fields that matter here, by lower-case name; of a repeated one the first."""

    status: int
    fields: dict[str, str]
    length: int | None
    """How many bytes of body follow; None is until the end of the connection, or of the chunks."""

    chunked: bool


class Lines:
    """Lines out of bytes that arrive in pieces, within a bound for all of them."""

    def __init__(self, most_bytes: int = HEAD_BYTES) -> None:
        self._most = self._left = most_bytes
        self._scanned = 0

    def take(self, buffer: bytearray) -> bytes | None:
        """Take the next line out of `buffer`, without its end; None until it is complete. Raises `AnswerError`."""
        end = buffer.find(b"\n", self._scanned)
        self._scanned = 0 if end >= 0 else len(buffer)
        if max(end, self._scanned) > self._left:
            raise AnswerError(f"its headers are longer than {self._most} bytes")
        if end < 0:
            return None
        self._left -= end + 1
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        return line.removesuffix(b"\r")


class Fields:
    """The fields of a head or of a trailer, line by line."""

    def __init__(self) -> None:
        self.found: dict[bytes, list[bytes]] = {}
        self._pending: list[bytes] = []
        self._any = False

    def add(self, line: bytes) -> bool:
        """Take a line; returns whether it was the empty one that ends them. Raises `AnswerError`."""
        if line[:1] in (b" ", b"\t"):
            if not self._any:
                raise AnswerError("its first header line begins with a blank")
            self._pending.append(line.strip(b" \t"))
            return False
        self._flush()
        if line:
            if b":" not in line:
                raise AnswerError(f"{line[:80]!r} is not a header line")
            self._any = True
            self._pending.append(line.rstrip(b" \t"))
        return not line

    def _flush(self) -> None:
        """Read the line before, which could still have been continued until now."""
        if not self._pending:
            return
        line, self._pending = b" ".join(self._pending), []
        name, _, value = line.partition(b":")
        value = value.lstrip(b" \t")
        if not name or name.translate(None, _NAME) or value != value.translate(None, _NO_VALUE):
            raise AnswerError(f"{line[:80]!r} is not a header line")
        name = name.lower()
        if name in _KEPT:
            self.found.setdefault(name, []).append(value)


class HeadReader:
    """Reads up to the end of a head; interim answers are passed over, as many as fit into the bound."""

    def __init__(self, most_bytes: int = HEAD_BYTES) -> None:
        self._most = most_bytes
        self._lines: Lines | None = None
        self._first: re.Match[bytes] | None = None
        self._fields = Fields()

    def take(self, buffer: bytearray) -> Head | None:
        """Take what is complete out of `buffer`; returns the head when it is. Raises `AnswerError`."""
        if self._lines is None:
            # Only once: a long head would else be looked at from its beginning with every piece of it.
            self._lines = Lines(self._most)
            head = _strict(buffer, self._most)
            if head is not None:
                return head
        while (line := self._lines.take(buffer)) is not None:
            if self._first is None:
                self._first = _STATUS.fullmatch(line)
                if self._first is None:
                    raise AnswerError("it is not an HTTP answer")
            elif self._fields.add(line):
                head = _head(self._first[1], self._first[2], self._fields.found)
                if not 100 <= head.status < 200 or head.status == 101:
                    return head
                self._first, self._fields = None, Fields()
        return None


def _strict(buffer: bytearray, most_bytes: int) -> Head | None:
    """Take a whole head out of `buffer` that is written strictly, as nearly all are; None for any other.

    It is what reading line by line would find, in a quarter of the time, which matters to a load generator.
    """
    match = _STRICT.match(buffer, 0, most_bytes)
    if match is None:
        return None
    found: dict[bytes, list[bytes]] = {}
    for name, value in _KEPT_LINE.findall(buffer, 0, match.end()):
        found.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    version, status = match[1], match[2]
    del buffer[: match.end()]
    return _head(version, status, found)


def _head(version: bytes, number: bytes, found: dict[bytes, list[bytes]]) -> Head:
    status = int(number)
    chunked = _is_chunked(version, found.pop(b"transfer-encoding", []))
    length = _length(found.get(b"content-length", []))
    if status < 200 or status in (204, 304):
        length, chunked = 0, False
    elif chunked:
        length = None
    fields = {name.decode(): values[0].decode(errors="surrogateescape") for name, values in found.items()}
    return Head(status, fields, length, chunked)


def _is_chunked(version: bytes, values: list[bytes]) -> bool:
    if not values or version < b"1.1":
        return False
    if len(values) > 1 or values[0].lower() != b"chunked":
        raise AnswerError(f"its transfer encoding {b', '.join(values)[:80]!r} is not known")
    return True


def _length(values: list[bytes]) -> int | None:
    if not values:
        return None
    if len(set(values)) > 1 or not values[0].isdigit() or len(values[0].lstrip(b"0")) > _LENGTH_DIGITS:
        raise AnswerError(f"its content length {b', '.join(values)[:80]!r} is not a number")
    return int(values[0])
