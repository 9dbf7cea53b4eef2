"""HTTP/1.1 heads as a proxy needs them: are they well formed, how long is the body, what must not be forwarded.

Pure: bytes in, values out. One regular expression checks a whole head, which is then forwarded byte for byte, without
its hop-by-hop fields; a head that does not match is first rewritten in its strict form (see `lenient`). Refusals and
their statuses are Envoy's. Sources: RFC 9110 (fields, methods), RFC 9112 (framing), and `tests/sidecar/differential`,
which compares with Envoy.
"""

import re
from ipaddress import IPv6Address

from sidelab.sidecar.proxy.http import lenient
from sidelab.sidecar.proxy.http.header_fields import (
    AUTHORITY,
    METHODS,
    NEVER_NOMINATED,
    HeaderFields,
    collect,
    connection_options,
    declared_length,
    keeps_trailers,
    without_nominated,
)
from sidelab.sidecar.proxy.http.message_body import CHUNKED, CODEC_ERROR, FIELD, TEXT, UNTIL_CLOSE, BadMessageError
from sidelab.sidecar.proxy.http.path import normal

RESPONSE_HEAD_BYTES = 80 * 1024
"""How large a response's head may be; Envoy's limit."""

_SHORT_BYTES = 2048

_REQUEST = re.compile(rb"([A-Z]++) ([\x21-\x7e]++) HTTP/(\d\.\d)\r\n(?:%b)*+\r\n" % FIELD)
_RESPONSE = re.compile(rb"HTTP/(\d\.\d) ([1-9]\d\d)(?: %b)?\r\n(?:%b)*+\r\n" % (TEXT, FIELD))
_ABSOLUTE = re.compile(
    rb"https?://(?:[!$%&'()*+,\-.:;=\w~]*@)?([A-Z0-9.-]+(?::\d{1,32})?|\[[0-9A-F:.]+\](?::\d{1,32})?)",
    re.IGNORECASE,
)
_CONNECT_TARGET = re.compile(rb"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,32}")
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*+)://")
_INVALID = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HIGHEST_PORT = 65535

# Field names match in any case; names that affect framing or routing are examined, all others are forwarded.
_INTERNAL = (
    rb"x-(?:envoy-(?:external-address|downstream-service-(?:cluster|node)|retry-on|retry-grpc-on|max-retries|internal|"
    rb"upstream-alt-stat-name|upstream-rq-timeout-ms|upstream-rq-per-try-timeout-ms|upstream-rq-timeout-alt-response|"
    rb"expected-rq-timeout-ms|force-trace|ip-tags|original-url|hedge-on-per-try-timeout|retriable-status-codes|"
    rb"retriable-header-names|is-timeout-retry|peer-metadata(?:-id)?)|forwarded-client-cert)"
)
"""Fields that could steer an Envoy further on, or claim a false client: Envoy or Istio removes them."""

_REQUEST_SPECIAL = re.compile(
    rb"\n(host|content-length|transfer-encoding|connection|keep-alive|proxy-connection|te|upgrade|"
    rb"x-(?:envoy-[^:]*+|forwarded-client-cert)):[\t ]*+([^\r]*+)",
    re.IGNORECASE,
)
_RESPONSE_SPECIAL = re.compile(
    rb"\n(content-length|transfer-encoding|connection|keep-alive|proxy-connection|upgrade):[\t ]*+([^\r]*+)",
    re.IGNORECASE,
)
# These match from the preceding line feed, because a literal first byte makes the search four times as fast.
_REQUEST_HOP = re.compile(
    rb"\n(?:connection|keep-alive|proxy-connection|upgrade|%b):[^\n]*+" % _INTERNAL, re.IGNORECASE
)
_UPGRADING_HOP = re.compile(
    rb"\n(?:keep-alive|proxy-connection|transfer-encoding|%b):[^\n]*+" % _INTERNAL, re.IGNORECASE
)
_RESPONSE_HOP = re.compile(rb"\n(?:connection|keep-alive|proxy-connection|upgrade):[^\n]*+", re.IGNORECASE)
_RESPONSE_HOP_AND_SERVER = re.compile(
    rb"\n(?:connection|keep-alive|proxy-connection|upgrade|server|x-envoy-upstream-service-time):[^\n]*+",
    re.IGNORECASE,
)
_SWITCHING_HOP = re.compile(
    rb"\n(?:keep-alive|proxy-connection|content-length|server|x-envoy-upstream-service-time):[^\n]*+", re.IGNORECASE
)
_HOST_LINE = re.compile(rb"\nhost:[^\n]*+", re.IGNORECASE)
_TE_LINE = re.compile(rb"\nte:[^\n]*+", re.IGNORECASE)
_LENGTH_LINE = re.compile(rb"\ncontent-length:[^\n]*+", re.IGNORECASE)
_CODING_LINE = re.compile(rb"\ntransfer-encoding:[^\n]*+", re.IGNORECASE)
_CODING = b"\ntransfer-encoding: chunked\r"


class RequestHead:
    """A checked request head.

    `raw` is what was received and `size` its length; `forward` is what is sent upstream, with the path in normal form;
    `host` is the host it names; `length` the body's length in bytes or `CHUNKED`; `close` means that the connection
    cannot be reused, `websocket` that it requests an upgrade to WebSocket, `routable` that its target is a path.
    """

    __slots__ = ("close", "forward", "host", "length", "method", "raw", "routable", "size", "websocket")

    def __init__(self, method: bytes, raw: bytes, text: bytes) -> None:
        self.method = method
        self.raw = raw
        self.size = len(raw)
        self.forward = text
        self.host = b""
        self.length = 0
        self.close = self.websocket = False
        self.routable = True


class ResponseHead:
    """A checked response head.

    `raw` is what was received and `size` its length; `lines` is what is sent downstream, without the empty line at the
    end, so that fields can be added; `length` is the body's length, `CHUNKED` or `UNTIL_CLOSE`; `close` means that the
    upstream connection cannot be reused.
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
    """How large a head may be: its bytes, including the empty line, and its number of fields."""

    __slots__ = ("head_bytes", "headers")

    def __init__(self, head_bytes: int, headers: int) -> None:
        self.head_bytes = head_bytes
        self.headers = headers


def parse_request(data: bytes, limits: Limits) -> RequestHead | None:
    """Return the head that `data` begins with, or None while it is incomplete.

    Raises `BadMessageError`: 400 if it is malformed or its length is ambiguous, 403 for an upgrade that is not served,
    426 for other versions (like Envoy in Istio), 431 beyond `limits`, 501 for unknown transfer codings.
    """
    # A long head that is obviously incomplete need not be matched byte by byte.
    match = _REQUEST.match(data) if len(data) <= _SHORT_BYTES or b"\n\r\n" in data else None
    size = match.end() if match is not None else 0
    if match is None:
        read = lenient.request_head(data)
        if read is None:
            if len(data) >= limits.head_bytes:
                raise _too_long(431, limits.head_bytes)
            return None
        size, strict = read
        match = _REQUEST.match(strict)
        if match is None:
            invalid = _INVALID.search(strict) is not None
            raise BadMessageError(400, "malformed head", "http1.invalid_characters" if invalid else CODEC_ERROR)
    text, end = match.string, match.end()
    if end > limits.head_bytes:
        raise _too_long(431, limits.head_bytes)
    if text.count(b"\n", 0, end) - 2 > limits.headers:
        raise BadMessageError(431, f"more than {limits.headers} header fields", "http1.too_many_headers")
    return _request(match, data[:size])


def _request(match: re.Match[bytes], raw: bytes) -> RequestHead:
    """Return the head that was received as `raw` and matched in its strict form; raises `BadMessageError`."""
    text, end = match.string, match.end()
    method, target, version = match.groups()
    tells_length = METHODS.get(method)
    if tells_length is None:
        raise BadMessageError(400, f"{method[:32].decode()} is not a known method")
    head = RequestHead(method, raw, text[:end])
    special = _REQUEST_SPECIAL.findall(text, 0, end)
    # The plain case, which is by far the most frequent: a path and one Host field.
    plain = len(special) == 1 and special[0][0].lower() == b"host" and target[0] == 0x2F and version == b"1.1"
    if plain and not tells_length:
        head.host = special[0][1].rstrip(b" \t")
    else:
        fields = collect(special)
        _aim(head, target, fields)
        _understand(head, fields, tells_length=tells_length)
        if version != b"1.1":
            raise BadMessageError(426, f"HTTP/{version.decode()} is not spoken here", "low_version")
        if b"host" not in fields and not head.host:
            raise BadMessageError(400, "an HTTP/1.1 request has a Host", "missing_host_header")
    if head.host.translate(None, AUTHORITY):
        raise BadMessageError(400, "the Host field has bytes that no host's name has", "http.invalid_authority")
    if head.routable:
        path = target if target[0] == 0x2F else head.forward.split(b" ", 2)[1]
        normalised = normal(path)
        if normalised is not path:
            begin = len(method) + 1
            head.forward = head.forward[:begin] + normalised + head.forward[begin + len(path) :]
    return head


def parse_response(data: bytes, limits: Limits, method: bytes, *, own_server: bool) -> ResponseHead | None:
    """Return the head that `data`, an answer to a request by `method`, begins with, or None while it is incomplete.

    `own_server` also leaves out `server`, for a proxy that puts its own name there. The number of fields is bounded by
    `limits`, the size by `RESPONSE_HEAD_BYTES`. Raises `BadMessageError` 502.
    """
    match = _RESPONSE.match(data) if len(data) <= _SHORT_BYTES or b"\n\r\n" in data else None
    size = match.end() if match is not None else 0
    if match is None:
        read = lenient.response_head(data)
        if read is None:
            if len(data) > RESPONSE_HEAD_BYTES:
                raise _too_long(502, RESPONSE_HEAD_BYTES)
            return None
        size, strict = read
        match = _RESPONSE.match(strict)
        if match is None:
            raise BadMessageError(502, "malformed head")
    text, end = match.string, match.end()
    if end > RESPONSE_HEAD_BYTES or text.count(b"\n", 0, end) - 2 > limits.headers:
        raise BadMessageError(502, "the response's head is too large")
    return _response(match, data[:size], method, own_server=own_server)


def _response(match: re.Match[bytes], raw: bytes, method: bytes, *, own_server: bool) -> ResponseHead:
    """Return the head that was received as `raw` and matched in its strict form; raises `BadMessageError`."""
    text, end = match.string, match.end()
    version, status_text = match.groups()
    status = int(status_text)
    fields = collect(_RESPONSE_SPECIAL.findall(text, 0, end))
    # The proxy adds no `server` to an interim response.
    lines = (_RESPONSE_HOP_AND_SERVER if own_server and status >= 200 else _RESPONSE_HOP).sub(b"", text[: end - 2])
    options = connection_options(fields)
    close = b"close" in options
    if version != b"1.1":
        lines = b"HTTP/1.1" + lines[8:]
        close = b"keep-alive" not in options
    if status == 101 and b"upgrade" in options:
        if b"transfer-encoding" in fields:
            raise BadMessageError(502, "a response 101 has no body")
        lines = b"HTTP/1.1" + _SWITCHING_HOP.sub(b"", text[8 : end - 2])
    elif status == 426 and b"upgrade" in fields:
        # Upgrade tells which protocol the server requires (RFC 9110 §15.5.22).
        lines += b"upgrade: %b\r\n" % b", ".join(fields[b"upgrade"])
    length, lines = _response_length(status, method, fields, lines)
    return ResponseHead(status, raw, lines, length, close or length == UNTIL_CLOSE)


def _response_length(status: int, method: bytes, fields: HeaderFields, lines: bytes) -> tuple[int, bytes]:
    """Return the length of a response's body, and `lines` with that length as Envoy writes it (RFC 9112 §6.3)."""
    declared = declared_length(fields, 502)
    if status == 204 or (status < 200 and status != 101):
        if declared or (declared is not None and fields[b"content-length"] != [b"0"]):
            raise BadMessageError(502, f"a response {status} has no body")
        return 0, lines if declared is None else _LENGTH_LINE.sub(b"", lines)
    if declared == CHUNKED and fields[b"transfer-encoding"] != [b"chunked"]:
        lines = _CODING_LINE.sub(_CODING, lines)
    if status in (101, 304):
        return 0, _CODING_LINE.sub(b"", lines) if declared == CHUNKED else lines
    if declared is None:
        lines += _CODING[1:] + b"\n"
    if method == b"HEAD":
        return 0, lines
    return UNTIL_CLOSE if declared is None else declared, lines


def _understand(head: RequestHead, fields: HeaderFields, *, tells_length: bool) -> None:
    """Fill in what follows from a request's special fields; raises `BadMessageError`."""
    length = declared_length(fields, 400)
    if fields.keys() - NEVER_NOMINATED:
        _leave_behind(head, fields)
        if head.websocket:
            return
    if length is None:
        if tells_length:
            head.forward = head.forward[:-2] + b"content-length: 0\r\n\r\n"
        return
    if length == CHUNKED and fields[b"transfer-encoding"] != [b"chunked"]:
        head.forward = _CODING_LINE.sub(_CODING, head.forward)
    head.length = length


def _leave_behind(head: RequestHead, fields: HeaderFields) -> None:
    """Remove the hop-by-hop fields and act on them; raises `BadMessageError`."""
    options = connection_options(fields)
    forward = head.forward
    if b"upgrade" in fields:
        head.websocket = _wants_websocket(options, fields)
    if b"te" in fields:
        kept = iter((b"\nte: trailers\r",) if keeps_trailers(fields) else ())
        forward = _TE_LINE.sub(lambda _: next(kept, b""), forward)
    if head.websocket:
        # What follows the head belongs to the WebSocket, even if a body is declared, and waits for the server's
        # consent. If the server refuses, the connection ends: that data must not be read as another request.
        head.forward = _UPGRADING_HOP.sub(b"", forward)
        head.close = True
        return
    head.forward = without_nominated(_REQUEST_HOP.sub(b"", forward), options, 400)
    head.close = head.close or b"close" in options


def _wants_websocket(options: set[bytes], fields: HeaderFields) -> bool:
    """Return whether a request asks for a WebSocket; raises `BadMessageError` for an upgrade to anything else.

    An upgrade to h2c is ignored: the server answers in HTTP/1.1 (RFC 9110 §7.8), as it does behind Envoy.
    """
    if b"upgrade" not in options or b"upgrade" not in fields:
        return False
    wanted = b",".join(fields[b"upgrade"]).lower()
    if wanted == b"connect-udp":
        raise BadMessageError(404, "connect-udp is not served here", "route_not_found")
    if wanted not in (b"websocket", b"h2c"):
        raise BadMessageError(403, "this upgrade is not served here", "upgrade_failed")
    return wanted == b"websocket"


def _aim(head: RequestHead, target: bytes, fields: HeaderFields) -> None:
    """Set a request's host from its target and its Host field; raises `BadMessageError`.

    Several Host fields count as one with all of their values, like in Envoy. An absolute target overrides Host and is
    forwarded as a path (RFC 9112 §3.2.2). CONNECT, `*`, and a query without a path are not routable.
    """
    if head.method == b"CONNECT":
        _check_connect(target, fields)
        head.host, head.routable, head.close = target, False, True
        return
    hosts = fields.get(b"host", [])
    head.host = hosts[0] if len(hosts) == 1 else b",".join(filter(None, hosts))
    path = target
    if target[0] == 0x2A:  # "*", and what begins with it is not routable either
        head.routable = False
        if head.method != b"OPTIONS":
            # A bad length or coding is reported first.
            declared_length(fields, 400)
            raise BadMessageError(400, "only OPTIONS has the target *", "http1.invalid_url")
    elif target[0] != 0x2F:
        head.host, path = _absolute(target)
        head.routable = not path.startswith(b"?")
        head.forward = head.forward.replace(target, path, 1)
    if path is not target or len(hosts) > 1:
        head.forward = _HOST_LINE.sub(b"", head.forward).replace(b"\r\n", b"\r\nhost: %b\r\n" % head.host, 1)


def _absolute(target: bytes) -> tuple[bytes, bytes]:
    """Return the host and the path of an absolute target; raises `BadMessageError` 400."""
    match = _ABSOLUTE.match(target)
    rest = target[match.end() :] if match else b""
    if match is None or rest[:1] not in (b"", b"/", b"?", b"#") or not _possible(match[1]):
        scheme = _SCHEME.match(target)
        known = scheme is not None and scheme[1].lower() in (b"http", b"https")
        details = CODEC_ERROR if scheme is None else "http1.invalid_url" if known else "http1.invalid_scheme"
        raise BadMessageError(400, "the request's target is neither a path nor an http URL", details)
    return match[1], rest or b"/"


def _possible(authority: bytes) -> bool:
    """Return whether the port of `authority`, if any, is valid, and what it has in brackets is an IPv6 address."""
    host, bracket, port = authority.rpartition(b"]")
    if bracket and not _is_ipv6(host[1:]):
        return False
    _, colon, port = port.rpartition(b":")
    return not (colon and port.isdigit()) or int(port) <= _HIGHEST_PORT


def _is_ipv6(host: bytes) -> bool:
    try:
        IPv6Address(host.decode("ascii"))
    except ValueError:
        return False
    return True


def _check_connect(target: bytes, fields: HeaderFields) -> None:
    """Raise `BadMessageError` for a malformed CONNECT; a well-formed one is not routable."""
    if fields.get(b"content-length", [b"0"]) != [b"0"]:
        raise BadMessageError(400, "a CONNECT has no body", "http1.body_disallowed")
    if b"transfer-encoding" in fields:
        raise BadMessageError(501, "a CONNECT has no body", "http1.invalid_transfer_encoding")
    if not _CONNECT_TARGET.fullmatch(target) or not _possible(target):
        raise BadMessageError(400, "malformed CONNECT", "http1.invalid_url" if b":" in target else CODEC_ERROR)


def _too_long(status: int, most_bytes: int) -> BadMessageError:
    return BadMessageError(status, f"the head is longer than {most_bytes} bytes", "http1.headers_too_large")
