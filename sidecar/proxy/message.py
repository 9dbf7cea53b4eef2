"""HTTP/1.1's grammar as a proxy needs it: is this head well formed, how long is the body, what must not be passed on.

Pure: bytes in, values out. A head is checked as a whole by one expression and then forwarded as the bytes it came
as, without the fields that concern one connection only. Sources: RFC 9110 (fields, methods), RFC 9112 (framing).
"""

import re
from typing import Final

CHUNKED: Final = -1
"""A body in chunks (RFC 9112 §7.1)."""

UNTIL_CLOSE: Final = -2
"""A response body that ends with its connection (RFC 9112 §6.3)."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_FIELD = _TOKEN + rb":" + _TEXT + rb"\r\n"
# An empty line before a request is forgiven (RFC 9112 §2.2), and not passed on.
_REQUEST = re.compile(rb"(?:\r\n)?(%b) ([\x21-\x7e\x80-\xff]++) HTTP/(\d\.\d)\r\n(?:%b)*+\r\n" % (_TOKEN, _FIELD))
_RESPONSE = re.compile(rb"HTTP/(1\.[01]) ([1-5]\d\d)(?: %b)?\r\n(?:%b)*+\r\n" % (_TEXT, _FIELD))
_FIELD_LINE = re.compile(_FIELD)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[\t ]*;%b)?\r\n" % _TEXT)
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_METHOD_BEGUN = re.compile(rb"(?:\r\n)?(?:%b(?: |\Z)|\Z)|\r\Z" % _TOKEN)
_STATUS_BEGUN = b"HTTP/1."

# Field names are matched in any case; each name that changes framing or routing is looked at, the others pass.
_REQUEST_SPECIAL = re.compile(
    rb"\n(host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|te|upgrade|http2-settings)"
    rb":[\t ]*+([^\r]*+)",
    re.IGNORECASE,
)
_RESPONSE_SPECIAL = re.compile(
    rb"\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade):[\t ]*+([^\r]*+)",
    re.IGNORECASE,
)
# These match from the end of the line before, because a literal first byte makes the search four times as fast.
_REQUEST_HOP = re.compile(
    rb"\n(?:connection|keep-alive|proxy-connection|te|upgrade|http2-settings):[^\n]*+", re.IGNORECASE
)
_RESPONSE_HOP = re.compile(rb"\n(?:connection|keep-alive|proxy-connection|upgrade):[^\n]*+", re.IGNORECASE)
_RESPONSE_HOP_AND_SERVER = re.compile(
    rb"\n(?:connection|keep-alive|proxy-connection|upgrade|server|x-envoy-upstream-service-time):[^\n]*+",
    re.IGNORECASE,
)
_WELL_KNOWN_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te", b"http2-settings", b""}
_NEVER_NOMINATED = {b"host", b"content-length", b"transfer-encoding"}
_LONGEST_LENGTH_DIGITS = 18
_LONGEST_CHUNK_LINE = 4096
_LONGEST_TRAILER = 8192


class BadMessageError(Exception):
    """What arrived is no acceptable message: `status` is the answer to it, `str()` says what is wrong."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class RequestHead:
    """A checked request head.

    `raw` is what was received and `size` its length; `forward` what goes upstream in its stead; `length` the body's
    length in bytes or `CHUNKED`; `close` that the client will send nothing further; `websocket` that it asks for an
    upgrade to one.
    """

    __slots__ = ("close", "forward", "length", "method", "raw", "size", "websocket")

    def __init__(self, method: bytes, raw: bytes, forward: bytes, length: int, close: bool, websocket: bool) -> None:
        self.method = method
        self.raw = raw
        self.size = len(raw)
        self.forward = forward
        self.length = length
        self.close = close
        self.websocket = websocket


class ResponseHead:
    """A checked response head.

    `raw` is what was received and `size` its length; `lines` what goes downstream in its stead, without the empty
    line at the end, so that fields can be added; `length` the body's length, `CHUNKED` or `UNTIL_CLOSE`; `close` that
    the upstream connection cannot be used again.
    """

    __slots__ = ("close", "length", "lines", "raw", "size", "status")

    def __init__(self, status: int, raw: bytes, lines: bytes, length: int, close: bool) -> None:
        self.status = status
        self.raw = raw
        self.size = len(raw)
        self.lines = lines
        self.length = length
        self.close = close


class Limits:
    """How large a head may be: bytes, the empty line included, and fields."""

    __slots__ = ("head_bytes", "headers")

    def __init__(self, head_bytes: int, headers: int) -> None:
        self.head_bytes = head_bytes
        self.headers = headers


def parse_request(data: bytes, limits: Limits) -> RequestHead | None:
    """Return the head that `data` begins with, or None while it is incomplete.

    Raises `BadMessageError`: 400 for what is malformed or ambiguous about its length, 426 for HTTP/1.0 (as Envoy
    in Istio), 431 beyond `limits`, 501 for CONNECT and unknown transfer codings, 505 for other versions.
    """
    match = _REQUEST.match(data)
    if match is None:
        _check_unfinished(data, limits, 431, _METHOD_BEGUN.match(data) is not None)
        return None
    size = match.end()
    method, version = match.group(1, 3)
    if size > limits.head_bytes:
        raise BadMessageError(431, f"the head is longer than {limits.head_bytes} bytes")
    if data.count(b"\n", 0, size) - 2 > limits.headers:
        raise BadMessageError(431, f"more than {limits.headers} header fields")
    if version != b"1.1":
        raise BadMessageError(426 if version == b"1.0" else 505, f"HTTP/{version.decode()} is not spoken here")
    if method == b"CONNECT":
        raise BadMessageError(501, "CONNECT is not proxied")
    special = _REQUEST_SPECIAL.findall(data, 0, size)
    raw = data[:size]
    forward = data[match.start(1) : size]
    if len(special) == 1 and special[0][0].lower() == b"host":
        return RequestHead(method, raw, forward, 0, close=False, websocket=False)
    fields = _collect(special)
    if len(fields.get(b"host", ())) != 1:
        raise BadMessageError(400, "an HTTP/1.1 request has exactly one Host")
    length = _length(fields, 400)
    options = _connection_options(fields)
    websocket = b"upgrade" in options and length is None and fields.get(b"upgrade", [b""])[0].lower() == b"websocket"
    if fields.keys() - _NEVER_NOMINATED:
        forward = _without_nominated(_REQUEST_HOP.sub(b"", forward), options, 400)
    if websocket:
        forward = forward[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    return RequestHead(method, raw, forward, length or 0, close=b"close" in options, websocket=websocket)


def parse_response(data: bytes, limits: Limits, method: bytes, *, own_server: bool) -> ResponseHead | None:
    """Return the head that `data`, an answer to a request by `method`, begins with, or None while it is incomplete.

    `own_server` also leaves out `server`, for a proxy that puts its own name there. Raises `BadMessageError` 502.
    """
    match = _RESPONSE.match(data)
    if match is None:
        prefix = data[: len(_STATUS_BEGUN)]
        _check_unfinished(data, limits, 502, _STATUS_BEGUN.startswith(prefix))
        return None
    size = match.end()
    if size > limits.head_bytes or data.count(b"\n", 0, size) - 2 > limits.headers:
        raise BadMessageError(502, "the response's head is too large")
    version, status_text = match.group(1, 2)
    status = int(status_text)
    fields = _collect(_RESPONSE_SPECIAL.findall(data, 0, size))
    declared = _length(fields, 502)
    lines = (_RESPONSE_HOP_AND_SERVER if own_server else _RESPONSE_HOP).sub(b"", data[: size - 2])
    options = _connection_options(fields)
    if options:
        lines = _without_nominated(lines, options, 502)
    close = b"close" in options
    if version == b"1.0":
        lines = b"HTTP/1.1" + lines[8:]
        close = close or b"keep-alive" not in options
        if declared == CHUNKED:
            raise BadMessageError(502, "an HTTP/1.0 response has no transfer coding")
    if method == b"HEAD" or status < 200 or status in (204, 304):
        length = 0
    elif declared is None:
        length, close = UNTIL_CLOSE, True
    else:
        length = declared
    return ResponseHead(status, data[:size], lines, length, close)


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
            if newline < 0:
                self._line += data[at:]
                if len(self._line) > _LONGEST_CHUNK_LINE:
                    raise BadMessageError(self._status, "a line of the chunked body is too long")
                return len(data)
            line = self._line + data[at : newline + 1]
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


def _check_unfinished(data: bytes, limits: Limits, too_large: int, begun_well: bool) -> None:
    """Raise `BadMessageError` if what did not parse as a head cannot become one by more bytes."""
    malformed = 400 if too_large == 431 else too_large
    end = data.find(b"\r\n\r\n", 2)
    if not begun_well or end >= 0 or _BARE_LINE_END.search(data):
        raise BadMessageError(malformed, "malformed head")
    if len(data) >= limits.head_bytes:
        raise BadMessageError(too_large, f"the head is longer than {limits.head_bytes} bytes")


def _collect(special: list[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for name, value in special:
        fields.setdefault(name.lower(), []).append(value.rstrip(b" \t"))
    return fields


def _length(fields: dict[bytes, list[bytes]], malformed: int) -> int | None:
    """Return the declared length, `CHUNKED`, or None; anything two readers could understand differently is refused."""
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings is not None:
        if lengths is not None:
            raise BadMessageError(malformed, "both Transfer-Encoding and Content-Length")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise BadMessageError(501 if malformed == 400 else malformed, "the only transfer coding is one chunked")
        return CHUNKED
    if lengths is None:
        return None
    text = lengths[0]
    if len(lengths) > 1 or not text.isdigit() or len(text) > _LONGEST_LENGTH_DIGITS:
        raise BadMessageError(malformed, "Content-Length is not one number")
    return int(text)


def _connection_options(fields: dict[bytes, list[bytes]]) -> set[bytes]:
    values = fields.get(b"connection")
    if values is None:
        return set()
    return {option.strip(b" \t").lower() for value in values for option in value.split(b",")}


def _without_nominated(head: bytes, options: set[bytes], malformed: int) -> bytes:
    """Return `head` without the fields that its Connection field named (RFC 9110 §7.6.1)."""
    nominated = options - _WELL_KNOWN_OPTIONS
    if not nominated:
        return head
    if nominated & _NEVER_NOMINATED:
        raise BadMessageError(malformed, "Connection names a field that every hop needs")
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in nominated)
