"""The head of an HTTP/1 request, for a server that is no proxy; pure.

It is strict where two readers could differ about where a request ends (RFC 9112: lines end with CR LF, one length, one
Host), and knows no bodies in chunks. The proxy and the agent's pages have a reader of their own
(`sidecar.proxy.http.message`), which refuses what Envoy refuses and keeps the bytes to pass them on. This one is on the
way of every request that is measured, so it splits rather than looks for patterns, and imports next to nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

REQUEST_HEAD_BYTES = 16 * 1024
"""A longer request head is refused with 431."""

_LENGTH_DIGITS = 18


class RequestError(Exception):
    """What arrived is no request that can be served; where the next one begins is not known."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with status {status}")
        self.status = status


class AskedRequest(NamedTuple):
    """A request: its `method`, its target, which is a path with or without a query, and its fields' lines.

    `close` is whether the client wants the connection to end behind the answer, `length` how many bytes of body follow.
    """

    method: bytes
    target: bytes
    fields: bytes
    close: bool
    length: int


def request_head(data: bytes) -> bytes | None:
    """Return the head that `data` begins with, less the empty line behind it; None while it is incomplete.

    Raises `RequestError`: 431 for one that is too long, 400 once a line ends otherwise than with CR LF.
    """
    end = data.find(b"\r\n\r\n")
    if 0 <= end <= REQUEST_HEAD_BYTES:
        head = data[:end]
        if not head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n"):
            raise RequestError(400)
        return head
    if b"\n" in data[:REQUEST_HEAD_BYTES].replace(b"\r\n", b""):
        raise RequestError(400)
    if len(data) > REQUEST_HEAD_BYTES:
        raise RequestError(431)
    return None


def read_request(head: bytes) -> AskedRequest:
    """Return what a head from `request_head` asks for.

    Raises `RequestError`: 400 for what is malformed, 501 for a transfer coding, 505 for other versions of HTTP.
    """
    line, _, fields = head.partition(b"\r\n")
    words = line.split(b" ")
    if len(words) != 3 or not words[1].startswith(b"/") or not words[0].isalpha():
        raise RequestError(400)
    method, target, version = words
    old = False
    if version != b"HTTP/1.1":
        old = version == b"HTTP/1.0"
        if not old:
            raise RequestError(505 if version.startswith(b"HTTP/") else 400)
    hosts, close, length = _meanings(fields) if fields else (0, False, 0)
    close = close or old
    if hosts != 1 and not (close and not hosts):
        raise RequestError(400)
    return AskedRequest(method, target, fields, close, length)


def _meanings(fields: bytes) -> tuple[int, bool, int]:
    """Return how many fields name a host, whether one asks for the connection's end, and the length of the body."""
    hosts, close, length = 0, False, b""
    if b"\0" in fields:
        raise RequestError(400)
    for each in fields.split(b"\r\n"):
        name, colon, value = each.partition(b":")
        if not colon or not name or name.strip() != name:
            raise RequestError(400)
        name = name.lower()
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            value = value.strip()
            if length or not value.isdigit() or len(value) > _LENGTH_DIGITS:
                raise RequestError(400)
            length = value
        elif name == b"transfer-encoding":
            raise RequestError(501)
        elif name == b"connection" and b"close" in value.lower():
            close = True
    return hosts, close, int(length or b"0")


def request_fields(fields: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and values of a head's lines behind the first, without blanks around the values."""
    for line in fields.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            yield name, value.strip()
