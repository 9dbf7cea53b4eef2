"""Cases about upgrades: requested in many ways, accepted, refused. A client's second piece is what it sends then."""

from lanes import OK, Case

_ASKED = b"connection: upgrade\r\nupgrade: websocket\r\n"
_CONSENT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def _request(fields: bytes, *, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return method + b" /ws HTTP/" + version + b"\r\nhost: a\r\n" + fields + b"\r\n"


def _asked(name: str, fields: bytes, answer: bytes = _CONSENT, *, method: bytes = b"GET", first: bytes = b"") -> Case:
    return Case(f"upgrade: {name}", (_request(fields, method=method) + first, b"hello"), answer)


def _answered(name: str, answer: bytes, fields: bytes = _ASKED, *, closes: bool = False) -> Case:
    return Case(f"upgrade: answered with {name}", (_request(fields), b"hello"), answer, closes)


_LENGTHS = (
    b"content-length: 0",
    b"Content-Length:0",
    b"content-length: 00",
    b"content-length: 5",
    b"transfer-encoding: chunked",
)
_CONNECTIONS = (
    *(
        b"Connection: Upgrade",
        b"connection: UPGRADE",
        b"connection:upgrade",
        b"connection: upgrade,",
        b"connection: ,upgrade",
    ),
    *(b"connection: keep-alive, Upgrade", b"connection: Upgrade, keep-alive", b"connection: keep-alive,Upgrade"),
    *(b"connection: close, upgrade", b"connection: Upgrade, close", b"connection: upgrade\t,\tkeep-alive"),
    *(
        b"connection: keep-alive\r\nconnection: Upgrade",
        b"connection: upgrade, x\r\nx: 1",
        b"keep-alive: 5\r\nconnection: upgrade",
    ),
    *(
        b"connection: upgrade, sec-websocket-key\r\nsec-websocket-key: x",
        b"proxy-connection: keep-alive\r\nconnection: upgrade",
    ),
)
_NOT_CONNECTIONS = (
    b"connection: keep-alive",
    b"connection: upgraded",
    b"connection: x-upgrade",
    b"connection: upgrade websocket",
    b"x: 1",
)
_OTHERS = (
    *(
        b"tcp",
        b"TLS/1.0",
        b"TLS/1.0, HTTP/1.1",
        b"irc",
        b"websocket/13",
        b"websocket, tcp",
        b"tcp, websocket",
        b"websocket,",
        b"connect-udp",
    ),
    *(
        b"CONNECT-UDP",
        b"connect-ip",
        b"HTTP/2.0",
        b"h2c, websocket",
        b"spdy/3.1",
        b"websocket\r\nupgrade: tcp",
        b'"websocket"',
        b"web socket",
    ),
)

UPGRADES: tuple[Case, ...] = (
    *(
        _asked(f"{method!r}", _ASKED, method=method)
        for method in (b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH")
    ),
    *(
        _asked(f"{name!r}", b"connection: upgrade\r\nupgrade: " + name + b"\r\n")
        for name in (b"websocket", b"WebSocket", b"WEBSOCKET")
    ),
    *(_asked(f"{line!r}", line + b"\r\nupgrade: websocket\r\n") for line in _CONNECTIONS),
    *(_asked(f"{line!r} is none", line + b"\r\nupgrade: websocket\r\n", OK) for line in _NOT_CONNECTIONS),
    *(_asked(f"{line!r}", _ASKED + line + b"\r\n") for line in _LENGTHS),
    *(_asked(f"{line!r} first", line + b"\r\n" + _ASKED) for line in _LENGTHS),
    *(_asked(f"POST {line!r}", _ASKED + line + b"\r\n", method=b"POST") for line in _LENGTHS),
    *(_asked(f"{line!r} with what follows", _ASKED + line + b"\r\n", first=b"0\r\n\r\nearly") for line in _LENGTHS),
    *(
        _asked(f"{line!r} refused", _ASKED + line + b"\r\n", b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n")
        for line in _LENGTHS
    ),
    *(_asked(f"to {name!r}", b"connection: upgrade\r\nupgrade: " + name + b"\r\n", OK) for name in _OTHERS),
    _asked("early data", _ASKED, first=b"early"),
    _asked(
        "a request early",
        _ASKED,
        b"HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n",
        first=b"GET /2 HTTP/1.1\r\nhost: a\r\n\r\n",
    ),
    _asked("both lengths", _ASKED + b"content-length: 0\r\ntransfer-encoding: chunked\r\n"),
    _asked("a malformed length", _ASKED + b"content-length: x\r\n"),
    _asked("no Upgrade field", b"connection: upgrade\r\n", OK),
    _asked("an empty Upgrade field", b"connection: upgrade\r\nupgrade:\r\n", OK),
    _asked("expectation", _ASKED + b"expect: 100-continue\r\n"),
    _asked(
        "WebSocket fields", _ASKED + b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n"
    ),
    Case(
        "upgrade: to h2c",
        (_request(b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"),),
    ),
    Case("upgrade: to H2C", (_request(b"connection: upgrade\r\nupgrade: H2C\r\n"),)),
    Case("upgrade: HTTP/1.0", (_request(_ASKED, version=b"1.0"),), _CONSENT),
    _answered("an extension", _CONSENT[:-2] + b"Sec-WebSocket-Accept: x\r\n\r\n\x81\x02hi"),
    _answered("length 0", _CONSENT[:-2] + b"content-length: 0\r\n\r\n"),
    _answered("chunks", _CONSENT[:-2] + b"transfer-encoding: chunked\r\n\r\n"),
    _answered("another protocol", b"HTTP/1.1 101 X\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n"),
    _answered("no protocol", b"HTTP/1.1 101 X\r\n\r\n"),
    _answered("server", _CONSENT[:-2] + b"server: b\r\nkeep-alive: 5\r\nx: 1\r\n\r\n"),
    _answered("100 first", b"HTTP/1.1 100 Continue\r\n\r\n" + _CONSENT),
    _answered("200", OK),
    _answered("200 in chunks", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    *(
        _answered(f"{status}", b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\nno" % status)
        for status in (301, 400, 401, 403, 404, 426, 500, 503)
    ),
    _answered(
        "426 and its upgrade",
        b"HTTP/1.1 426 X\r\nupgrade: websocket\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno",
    ),
    _answered("400 in chunks", b"HTTP/1.1 400 X\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"),
    _answered("400 until close", b"HTTP/1.1 400 X\r\n\r\nno", closes=True),
    _answered("204", b"HTTP/1.1 204 X\r\n\r\n"),
)
