"""HTTP/1.1's heads as a proxy needs them: is this one well formed, how long is the body, what must not be passed on.

Pure: bytes in, values out. A head is checked as a whole by one expression and then forwarded as the bytes it came
as, without the fields that concern one connection only. Sources: RFC 9110 (fields, methods), RFC 9112 (framing).
"""

import re

from sidecar.proxy.body import CHUNKED, FIELD, TEXT, TOKEN, UNTIL_CLOSE, BadMessageError
from sidecar.proxy.fields import NEVER_NOMINATED, collect, connection_options, declared_length, without_nominated

# An empty line before a request is forgiven (RFC 9112 §2.2), and not passed on.
_REQUEST = re.compile(rb"(?:\r\n)?(%b) ([\x21-\x7e\x80-\xff]++) HTTP/(\d\.\d)\r\n(?:%b)*+\r\n" % (TOKEN, FIELD))
_RESPONSE = re.compile(rb"HTTP/(1\.[01]) ([1-5]\d\d)(?: %b)?\r\n(?:%b)*+\r\n" % (TEXT, FIELD))
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_METHOD_BEGUN = re.compile(rb"(?:\r\n)?(?:%b(?: |\Z)|\Z)|\r\Z" % TOKEN)
_STATUS_BEGUN = b"HTTP/1."
_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#@]+)", re.IGNORECASE)
_HOST_LINE = re.compile(rb"\nhost:[^\r]*+", re.IGNORECASE)

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


class RequestHead:
    """A checked request head.

    `raw` is what was received and `size` its length; `forward` what goes upstream in its stead; `host` what it says
    it is for; `length` the body's length in bytes or `CHUNKED`; `close` that the client will send nothing further;
    `websocket` that it asks for an upgrade to one.
    """

    __slots__ = ("close", "forward", "host", "length", "method", "raw", "size", "websocket")

    def __init__(
        self, method: bytes, raw: bytes, forward: bytes, host: bytes, *, length: int, close: bool, websocket: bool
    ) -> None:
        self.method = method
        self.raw = raw
        self.size = len(raw)
        self.forward = forward
        self.host = host
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
        raise _too_long(431, limits)
    if data.count(b"\n", 0, size) - 2 > limits.headers:
        raise _too_many(431, limits)
    if version != b"1.1" or method == b"CONNECT":
        raise _not_spoken(method, version)
    special = _REQUEST_SPECIAL.findall(data, 0, size)
    raw = data[:size]
    forward = data[match.start(1) : size]
    target = match.start(2)
    if len(special) == 1 and special[0][0].lower() == b"host" and data[target] == 0x2F:
        host = special[0][1].rstrip(b" \t")
        return RequestHead(method, raw, forward, host, length=0, close=False, websocket=False)
    fields = collect(special)
    if len(fields.get(b"host", ())) != 1:
        raise BadMessageError(400, "an HTTP/1.1 request has exactly one Host", "missing_host_header")
    host = fields[b"host"][0]
    if data[target] != 0x2F:
        host, forward = _with_own_target(match[2], host, forward)
    length = declared_length(fields, 400)
    options = connection_options(fields)
    websocket = b"upgrade" in options and length is None and fields.get(b"upgrade", [b""])[0].lower() == b"websocket"
    if fields.keys() - NEVER_NOMINATED:
        forward = without_nominated(_REQUEST_HOP.sub(b"", forward), options, 400)
    if websocket:
        forward = forward[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    return RequestHead(method, raw, forward, host, length=length or 0, close=b"close" in options, websocket=websocket)


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
    fields = collect(_RESPONSE_SPECIAL.findall(data, 0, size))
    declared = declared_length(fields, 502)
    lines = (_RESPONSE_HOP_AND_SERVER if own_server else _RESPONSE_HOP).sub(b"", data[: size - 2])
    options = connection_options(fields)
    if options:
        lines = without_nominated(lines, options, 502)
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


def _with_own_target(target: bytes, host: bytes, forward: bytes) -> tuple[bytes, bytes]:
    """Return host and head of a request whose target is no path.

    An absolute one decides alone whom the request is for, and goes on as a path (RFC 9112 §3.2.2).
    """
    if target == b"*":
        return host, forward
    match = _ABSOLUTE.match(target)
    if match is None:
        raise BadMessageError(400, "the request's target is neither a path nor an http URL", "http1.invalid_url")
    authority, path = match[1], target[match.end() :].partition(b"#")[0]
    path = path if path.startswith(b"/") else b"/" + path
    return authority, _HOST_LINE.sub(lambda _: b"\nhost: " + authority, forward.replace(target, path, 1), count=1)


def _check_unfinished(data: bytes, limits: Limits, too_large: int, begun_well: bool) -> None:
    """Raise `BadMessageError` if what did not parse as a head cannot become one by more bytes."""
    malformed = 400 if too_large == 431 else too_large
    end = data.find(b"\r\n\r\n", 2)
    if not begun_well or end >= 0 or _BARE_LINE_END.search(data):
        raise BadMessageError(malformed, "malformed head")
    if len(data) >= limits.head_bytes:
        raise _too_long(too_large, limits)
    if data.count(b"\n") > limits.headers + 2:
        raise _too_many(too_large, limits)


def _not_spoken(method: bytes, version: bytes) -> BadMessageError:
    if version == b"1.0":
        return BadMessageError(426, "HTTP/1.0 is not spoken here", "low_version")
    if version != b"1.1":
        return BadMessageError(505, f"HTTP/{version.decode()} is not spoken here")
    return BadMessageError(501, f"{method.decode()} is not proxied")


def _too_long(status: int, limits: Limits) -> BadMessageError:
    return BadMessageError(status, f"the head is longer than {limits.head_bytes} bytes", "http1.headers_too_large")


def _too_many(status: int, limits: Limits) -> BadMessageError:
    return BadMessageError(status, f"more than {limits.headers} header fields", "http1.too_many_headers")
