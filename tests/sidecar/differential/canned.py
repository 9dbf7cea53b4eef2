"""Cases written by hand, by kind: each is a way in which real clients and servers depart from the plain case.

To add one is to add a line: `_ask(name, request)`, `_told(name, answer)`, or a whole `Case`.
"""

from collections.abc import Iterable

from lanes import OK, Case

_GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
_LONG = b"a" * 1000


def _ask(name: str, *pieces: bytes) -> Case:
    return Case(f"request: {name}", pieces)


def _told(name: str, answer: bytes, *, closes: bool = False, request: bytes = _GET) -> Case:
    return Case(f"answer: {name}", (request,), answer, closes)


def _field(name: str, line: bytes, method: bytes = b"GET") -> Case:
    return _ask(name, method + b" / HTTP/1.1\r\nhost: a\r\n" + line + b"\r\n\r\n")


def _get(name: str, target: bytes, host: bytes = b"host: a\r\n") -> Case:
    return _ask(name, b"GET " + target + b" HTTP/1.1\r\n" + host + b"\r\n")


def _post(name: str, fields: bytes, body: bytes) -> Case:
    return _ask(name, b"POST / HTTP/1.1\r\nhost: a\r\n" + fields + b"\r\n" + body)


def _chunked(name: str, body: bytes) -> Case:
    return _post(f"chunks: {name}", b"transfer-encoding: chunked\r\n", body)


def _head(name: str, lines: bytes, body: bytes = b"ok", *, closes: bool = False) -> Case:
    return _told(name, b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + body, closes=closes)


def _in_chunks(name: str, body: bytes, *, closes: bool = False) -> Case:
    return _head(f"chunks: {name}", b"transfer-encoding: chunked\r\n", body, closes=closes)


LINE_ENDS = (
    _ask("plain", _GET),
    _ask("bare LF", b"GET / HTTP/1.1\nhost: a\n\n"),
    _ask("bare LF after the request line", b"GET / HTTP/1.1\nhost: a\r\n\r\n"),
    _ask("bare LF after a field", b"GET / HTTP/1.1\r\nhost: a\nx: 1\r\n\r\n"),
    _ask("bare LF at the end", b"GET / HTTP/1.1\r\nhost: a\r\n\n"),
    _ask("bare LF with a body", b"POST / HTTP/1.1\nhost: a\ncontent-length: 3\n\nabc"),
    _ask("bare LF with chunks", b"POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\n3\nabc\n0\n\n"),
    _ask("bare CR after the request line", b"GET / HTTP/1.1\rhost: a\r\n\r\n"),
    _ask("bare CR after a field", b"GET / HTTP/1.1\r\nhost: a\rx: 1\r\n\r\n"),
    _ask("bare CR within a value", b"GET / HTTP/1.1\r\nhost: a\r\nx: 1\r2\r\n\r\n"),
    _ask("CR CR LF", b"GET / HTTP/1.1\r\r\nhost: a\r\n\r\n"),
    _ask("CR CR LF after a field", b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n"),
    _ask("LF CR", b"GET / HTTP/1.1\r\nhost: a\n\r"),
    _ask("an empty line before", b"\r\n" + _GET),
    _ask("two empty lines before", b"\r\n\r\n" + _GET),
    _ask("ten empty lines before", b"\r\n" * 10 + _GET),
    _ask("a thousand empty lines before", b"\r\n" * 1000 + _GET),
    _ask("empty LF lines before", b"\n\n" + _GET),
    _ask("a CR before", b"\r" + _GET),
    _ask("empty lines between two", _GET, b"\r\n\r\n" + _GET),
    _ask("empty lines after a body", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\na\r\n", _GET),
    _ask("a blank before", b" " + _GET),
    _ask("a tab before", b"\t" + _GET),
    _ask("in single bytes", *(_GET[at : at + 1] for at in range(len(_GET)))),
    _ask("bare LF in single bytes", *(bytes([each]) for each in b"GET / HTTP/1.1\nhost: a\n\n")),
    _ask("two in a row", _GET + _GET),
    _ask("three in a row", _GET + b"HEAD /2 HTTP/1.1\r\nhost: a\r\n\r\n" + _GET),
    _ask("two in a row, bare LF", b"GET / HTTP/1.1\nhost: a\n\nGET /2 HTTP/1.1\nhost: a\n\n"),
    _ask("two in a row, the second malformed", _GET + b"GET\r\n\r\n"),
    _ask("nothing", b""),
    _ask("half a head", b"GET / HTTP/1.1\r\nhost"),
)

REQUEST_LINES = (
    *(
        _ask(f"method {method!r}", method + b" / HTTP/1.1\r\nhost: a\r\n\r\n")
        for method in (
            *(b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"CONNECT", b"get", b"Get"),
            *(
                b"BREW",
                b"PROPFIND",
                b"M-SEARCH",
                b"X_Y",
                b"X1",
                b"G!T",
                b"G#T",
                b"!",
                b"PRI",
                b"G(T",
                b"G:T",
                b"G\xc3T",
            ),
            *(b"", b"A" * 24, b"A" * 25, b"A" * 33, b"A" * 1000, b"SOURCE", b"QUERY", b"UPDATEREDIRECTREF", b"GE\tT"),
        )
    ),
    *(
        _ask(f"version {version!r}", b"GET / " + version + b"\r\nhost: a\r\n\r\n")
        for version in (
            *(b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/1.10", b"HTTP/01.1"),
            *(b"http/1.1", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/1.1 ", b"HTTP/1.1\t", b"HTTP 1.1", b"ICE/1.0"),
            *(b"HTTPS/1.1", b"", b"RTSP/1.0", b"HTTP/1.1 x", b"HTTP/9.9", b"HTTP/11.1", b"HTTP/1,1", b"HTTP/1.1;"),
        )
    ),
    _ask("HTTP/0.9", b"GET /\r\n\r\n"),
    _ask("HTTP/0.9 without an empty line", b"GET /\r\n"),
    _ask("HTTP/1.0 without Host", b"GET / HTTP/1.0\r\n\r\n"),
    _ask("HTTP/1.0 with keep-alive", b"GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"),
    _ask("two blanks after the method", b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n"),
    _ask("two blanks before the version", b"GET /  HTTP/1.1\r\nhost: a\r\n\r\n"),
    _ask("a tab after the method", b"GET\t/ HTTP/1.1\r\nhost: a\r\n\r\n"),
    _ask("a tab before the version", b"GET /\tHTTP/1.1\r\nhost: a\r\n\r\n"),
    _ask("no target", b"GET HTTP/1.1\r\nhost: a\r\n\r\n"),
    _ask("only a method", b"GET\r\nhost: a\r\n\r\n"),
    *(
        _get(f"target {target[:40]!r}", target)
        for target in (
            *(b"/a b", b"/a\tb", b"/a?b=c&d", b"/?", b"/a?b?c", b"/\x7f", b"/\x80", b"/\xc3\xa9", b"/\x00", b"/\x01"),
            *(b'/a"b', b"/<a>", b"/a|b", b"/{a}", b"/a\\b", b"/a^b", b"/a`b", b"/%zz", b"/%", b"/%41", b"/%00"),
            *(
                b"*",
                b"a",
                b"a/b",
                b"?a",
                b".",
                b"http://b/",
                b"http://b",
                b"http://b/x?y",
                b"HTTP://b/",
                b"https://b/x",
            ),
            *(
                b"http://b:80/",
                b"http://b:8080/x",
                b"http://u@b/",
                b"http://u:p@b/x",
                b"http:///x",
                b"http:/x",
                b"http:",
            ),
            *(b"ftp://b/", b"b:80", b"http://b?x", b"http://[::1]/", b"http://[::1]:80/x", b"//b/x", b"http://b:x/"),
            *(b"http://b:99999/", b"http://b_c/", b"http://b%41/", b"ws://b/", b"/" + b"a" * 8000),
        )
    ),
    _ask("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
    _ask("CONNECT with a port", b"CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n"),
    _ask("CONNECT with a body", b"CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\ncontent-length: 3\r\n\r\nabc"),
    _ask("CONNECT with chunks", b"CONNECT b:443 HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
)

HOSTS = (
    *(
        _get(f"Host {line!r}", b"/", line)
        for line in (
            *(b"", b"host:\r\n", b"host: \r\n", b"host: a\r\nhost: a\r\n", b"host: a\r\nhost: b\r\n", b"HOST: a\r\n"),
            *(
                b"host:a\r\n",
                b"host:  a  \r\n",
                b"host:\ta\t\r\n",
                b"host: a b\r\n",
                b"host: a,b\r\n",
                b"host: a:80\r\n",
            ),
            *(
                b"host: A.B\r\n",
                b"host: a:\r\n",
                b"host: a:x\r\n",
                b"host: a/b\r\n",
                b"host: a@b\r\n",
                b"host: a?b\r\n",
            ),
            *(b"host: a#b\r\n", b"host: [::1]\r\n", b"host: [::1]:80\r\n", b"host: ::1\r\n", b"host: a_b\r\n"),
            *(b"host: \xc3\xa9\r\n", b"host: a\x00b\r\n", b"host: %41\r\n", b"host: a'b\r\n", b'host: a"b\r\n'),
            *(b"host : a\r\n", b"host: a\r\nHost: a\r\n", b"host: a\r\nhost:\r\n", b"host: a.\r\n", b"host: *\r\n"),
            *(b"host: a\\b\r\n", b"host: <a>\r\n", b"host: a;b\r\n", b"host: a:80:90\r\n", b"host: a:99999\r\n"),
            *(b"host: a\r\n b\r\n", b"host:\r\n a\r\n", b":authority: a\r\n", b"host: a\r\n:authority: b\r\n"),
        )
    ),
    _get("an absolute target without Host", b"http://b/", b""),
    _get("an absolute target with two Hosts", b"http://b/", b"host: a\r\nhost: c\r\n"),
    _get("an absolute target with an empty Host", b"http://b/", b"host:\r\n"),
)

FIELDS = (
    *(
        _field(f"field {line[:60]!r}", line)
        for line in (
            *(b"x: 1", b"x:1", b"x:  1  ", b"x:\t1\t", b"x:", b"x: ", b"X: 1", b"X-Y: A", b"x: 1\r\nx: 2", b"x : 1"),
            *(b"x\t: 1", b" x: 1", b"\tx: 1", b"x_y: 1", b"x.y: 1", b"x!y: 1", b"x y: 1", b"x(y: 1", b"x@y: 1", b"x"),
            *(
                b": 1",
                b"x: 1\r\n 2",
                b"x: 1\r\n\t2",
                b"x: 1\r\n   2  \r\n 3",
                b"x:\r\n 1",
                b"x: 1\r\n \r\ny: 2",
                b"x/y: 1",
            ),
            *(
                b"x: 1\n 2",
                b"x: \x00",
                b"x: a\x00b",
                b"x: \x01",
                b"x: \x7f",
                b"x: \x80\xff",
                b"x: \xc3\xa9",
                b"\xc3: 1",
            ),
            *(b"x\x00: 1", b"x: \x0b", b"x: \x0c1", b"x: a\x1fb", b"x: \x1b[0m", b"x\x7f: 1", b"x: a\tb", b"x: a  b"),
            *(
                b'x: "a',
                b"x: a,b",
                b"x: ;",
                b"x: :",
                b"1: 1",
                b"-: 1",
                b"_: 1",
                b"x-forwarded-for: 1.2.3.4",
                b"x\\y: 1",
            ),
            *(b"x-request-id: 1", b"x-forwarded-proto: https", b"x-forwarded-proto: ftp", b"x-forwarded-host: b"),
            *(b"x-envoy-retry-on: 5xx", b"x-envoy-original-path: /b", b"x-envoy-upstream-rq-timeout-ms: 1000"),
            *(b"x-envoy-internal: true", b"x-envoy-decorator-operation: b", b"x-envoy-attempt-count: 9", b"via: 1.1 b"),
            *(
                b"cookie: a=b\r\ncookie: c=d",
                b"accept: a\r\naccept: b",
                b"user-agent:",
                b"referer: http://b/",
                b"date: x",
            ),
            *(b"expect: nothing", b"te: trailers", b"te: gzip", b"te: trailers, gzip", b"trailer: x", b"upgrade: b"),
            *(b"connection: close", b"connection: keep-alive", b"connection: Close", b"connection: x\r\nx: 1"),
            *(b"connection: x, close\r\nx: 1", b"connection:", b"connection: ,", b"connection: close, close"),
            *(
                b"connection: keep-alive, close",
                b"connection: close\r\nconnection: keep-alive",
                b"proxy-connection: close",
            ),
            *(b"connection: host", b"connection: content-length", b"connection: te\r\nte: trailers", b"keep-alive: 5"),
            *(b"connection: upgrade\r\nupgrade: b", b"connection: upgrade\r\nupgrade: TLS/1.0", b"connection: upgrade"),
            *(b"connection: upgrade\r\nupgrade: websocket", b"connection: upgrade, x\r\nupgrade: websocket\r\nx: 1"),
            *(
                b"connection: x-forwarded-for\r\nx-forwarded-for: b",
                b"connection: x y\r\nx: 1",
                b'connection: "x"\r\nx: 1',
            ),
            *(b"connection: cookie\r\ncookie: a=b", b"proxy-connection: keep-alive", b"proxy-authorization: b"),
            *(
                b"authorization: b",
                b"content-type: a",
                b"content-encoding: gzip",
                b"range: bytes=0-1",
                b"http2-settings: b",
            ),
            *(b":method: PUT", b":path: /b", b"::x: 1", b"transfer-encoding:", b"content-length:", b"x: " + _LONG),
            *(
                b"x" * 1000 + b": 1",
                b"x: 1\r\nX: 2\r\nx: 3",
                b"x: 1\r\ny: 2\r\nx: 3",
                b"server: b",
                b"x:: 1",
                b"x: 1\r\n: 2",
            ),
            *(b"forwarded: for=b", b"max-forwards: 0", b"x-forwarded-client-cert: b", b"traceparent: b", b"origin: b"),
        )
    ),
    *(
        _field(f"{count} fields", b"\r\n".join(b"x%d: 1" % at for at in range(count - 1)))
        for count in (99, 100, 101, 200)
    ),
    *(
        _field(f"a head of about {size} bytes", b"x: " + b"a" * size)
        for size in (8000, 30000, 61000, 61350, 62000, 70000)
    ),
    *(_get(f"a target of {size} bytes", b"/" + b"a" * size) for size in (20000, 61000, 61350, 62000, 70000)),
    _field("a head of about 120 kB in many fields", b"\r\n".join(b"x%d: " % at + b"a" * 2000 for at in range(60))),
    *(_field(f"{size} bytes unfinished", b"x: " + b"a" * size) for size in (0,)),
    *(
        _ask(f"a head without an end of {size} bytes", b"GET / HTTP/1.1\r\nx: " + b"a" * size)
        for size in (60000, 90000)
    ),
    _field("a thousand folds", b"x: 1" + b"\r\n 2" * 1000),
)

BODIES = (
    *(
        _post(f"length {line!r}", line + b"\r\n", b"abc")
        for line in (
            *(b"content-length: 3", b"content-length: 03", b"content-length: +3", b"content-length: -3", b"content-length: 3 "),
            *(b"content-length: 3.0", b"content-length: 0x3", b"content-length: 3 3", b"content-length: 3,3", b"content-length: 3, 3"),
            *(b"content-length: 3\r\ncontent-length: 3", b"content-length: 3\r\ncontent-length: 2", b"content-length: a"),
            *(b"content-length: 2", b"content-length: 4", b"content-length: 0", b"content-length:\t3", b"content-length : 3"),
            *(b"content-length: 18446744073709551615", b"content-length: 18446744073709551616", b"content-length: 3;"),
            *(b"content-length: 9223372036854775808", b"content-length: 99999999999999999999999", b"content-length: 3,4"),
            *(b"content-length:\r\n 3", b"content-length: 3\r\n ", b"content-length: 1\r\n 2", b"content_length: 3", b"content-length: \xb2"),
            *(b"content-length: 3\r\ntransfer-encoding: chunked", b"transfer-encoding: chunked\r\ncontent-length: 3"),
            *(b"content-length: 3\r\ntransfer-encoding: identity", b"transfer-encoding: identity", b"content-length: "),
            *(b"content-length: 3\r\nconnection: close", b"content-length: 3\r\nconnection: content-length"),
        )
    ),
    *(
        _post(f"coding {line!r}", line + b"\r\n", b"3\r\nabc\r\n0\r\n\r\n")
        for line in (
            *(b"transfer-encoding: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding: CHUNKED"),
            *(b"transfer-encoding: chunked ", b"transfer-encoding:chunked", b"transfer-encoding:\tchunked"),
            *(b"transfer-encoding: gzip, chunked", b"transfer-encoding: chunked, gzip", b"transfer-encoding: gzip"),
            *(b"transfer-encoding: chunked, chunked", b"transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
            *(b"transfer-encoding: gzip\r\ntransfer-encoding: chunked", b"transfer-encoding: xchunked", b"transfer-encoding: "),
            *(b"transfer-encoding: identity, chunked", b"transfer-encoding: chunked;q=1", b"transfer-encoding: \"chunked\""),
            *(b"transfer-encoding : chunked", b"transfer-encoding: chunked\r\nconnection: transfer-encoding"),
            *(b"transfer-encoding:\x0bchunked", b"transfer-encoding: chunked\x00", b"transfer-encoding:\r\n chunked"),
            *(b"transfer_encoding: chunked", b" transfer-encoding: chunked", b"transfer-encoding: ,chunked", b"transfer-encoding: chunked,"),
            *(b"te: trailers\r\ntransfer-encoding: chunked", b"transfer-encoding: chunked\r\ntrailer: x", b"transfer-encoding: chunke\xc4\x8f"),
        )
    ),
    *(
        _chunked(name, body)
        for name, body in (
            ("plain", b"3\r\nabc\r\n0\r\n\r\n"),
            ("several", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
            ("none", b"0\r\n\r\n"),
            ("zeros", b"00\r\n\r\n"),
            ("leading zeros", b"0003\r\nabc\r\n000\r\n\r\n"),
            ("many leading zeros", b"0" * 30 + b"3\r\nabc\r\n0\r\n\r\n"),
            ("capitals", b"A\r\n0123456789\r\n0\r\n\r\n"),
            ("extension", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
            ("extension without value", b"3;a\r\nabc\r\n0;b\r\n\r\n"),
            ("extension in quotes", b"3;a=\"b;c\"\r\nabc\r\n0\r\n\r\n"),
            ("extension after a blank", b"3 ;a=b\r\nabc\r\n0\r\n\r\n"),
            ("extension after a tab", b"3\t;a=b\r\nabc\r\n0\r\n\r\n"),
            ("empty extension", b"3;\r\nabc\r\n0\r\n\r\n"),
            ("long extension", b"3;" + b"a" * 3000 + b"\r\nabc\r\n0\r\n\r\n"),
            ("endless extension", b"3;" + b"a" * 20000 + b"\r\nabc\r\n0\r\n\r\n"),
            ("extension with LF", b"3;a\nabc\r\n0\r\n\r\n"),
            ("extension with CR", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
            ("extension with NUL", b"3;\x00\r\nabc\r\n0\r\n\r\n"),
            ("extension with bytes", b"3;\xff\xc3\r\nabc\r\n0\r\n\r\n"),
            ("padded with a blank", b"3 \r\nabc\r\n0\r\n\r\n"),
            ("padded with blanks", b"3      \r\nabc\r\n0   \r\n\r\n"),
            ("padded with a tab", b"3\t\r\nabc\r\n0\r\n\r\n"),
            ("blank before", b" 3\r\nabc\r\n0\r\n\r\n"),
            ("bare LF", b"3\nabc\n0\n\n"),
            ("bare LF after the size", b"3\nabc\r\n0\r\n\r\n"),
            ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n"),
            ("bare LF at the end", b"3\r\nabc\r\n0\r\n\n"),
            ("bare LF after the last size", b"3\r\nabc\r\n0\n\r\n"),
            ("bare CR after the size", b"3\rabc\r\n0\r\n\r\n"),
            ("no number", b"x\r\nabc\r\n0\r\n\r\n"),
            ("empty size", b"\r\nabc\r\n0\r\n\r\n"),
            ("negative", b"-3\r\nabc\r\n0\r\n\r\n"),
            ("plus", b"+3\r\nabc\r\n0\r\n\r\n"),
            ("0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
            ("underscore", b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"),
            ("too long data", b"3\r\nabcd\r\n0\r\n\r\n"),
            ("too short data", b"3\r\nab\r\n0\r\n\r\n"),
            ("15 digits", b"f" * 15 + b"\r\nabc\r\n"),
            ("16 digits", b"f" * 16 + b"\r\nabc\r\n"),
            ("17 digits", b"1" + b"0" * 16 + b"\r\nabc\r\n"),
            ("blank within the size", b"1 0\r\n0123456789abcdef\r\n0\r\n\r\n"),
            ("trailer", b"3\r\nabc\r\n0\r\nx: 1\r\n\r\n"),
            ("trailers", b"3\r\nabc\r\n0\r\nx: 1\r\ny: 2\r\n\r\n"),
            ("trailer of framing", b"3\r\nabc\r\n0\r\ncontent-length: 5\r\nhost: b\r\n\r\n"),
            ("malformed trailer", b"3\r\nabc\r\n0\r\nx\r\n\r\n"),
            ("trailer with a blank", b"3\r\nabc\r\n0\r\nx : 1\r\n\r\n"),
            ("folded trailer", b"3\r\nabc\r\n0\r\nx: 1\r\n 2\r\n\r\n"),
            ("trailer with LF", b"3\r\nabc\r\n0\r\nx: 1\n\n"),
            ("trailer with NUL", b"3\r\nabc\r\n0\r\nx: \x00\r\n\r\n"),
            ("large trailer", b"3\r\nabc\r\n0\r\nx: " + b"a" * 9000 + b"\r\n\r\n"),
            ("huge trailer", b"3\r\nabc\r\n0\r\nx: " + b"a" * 70000 + b"\r\n\r\n"),
            ("101 trailers", b"0\r\n" + b"x: 1\r\n" * 101 + b"\r\n"),
            ("then another request", b"3\r\nabc\r\n0\r\n\r\n" + _GET),
            ("unfinished", b"3\r\nab"),
            ("malformed after a good one", b"3\r\nabc\r\nx\r\n"),
        )
    ),
    _ask("chunks in single bytes", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
         *(bytes([each]) for each in b"3 \r\nabc\r\n2;x\r\nde\r\n0\r\nt: 1\r\n\r\n")),
    _field("GET with a body", b"content-length: 3\r\n\r\nabc"),
    _field("HEAD with a body", b"content-length: 3\r\n\r\nabc", b"HEAD"),
    _field("DELETE with chunks", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0", b"DELETE"),
    _post("no length", b"", b""),
    _post("no length, but a body", b"", b"abc"),
    _post("a body in two pieces", b"content-length: 6\r\n", b"abc"),
    _ask("a body in pieces", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\n", b"abc", b"def"),
    _post("a large body", b"content-length: 300000\r\n", b"a" * 300000),
)  # fmt: skip

STATUS_LINES = (
    *(
        _told(f"status line {line!r}", line + b"\r\ncontent-length: 2\r\n\r\nok")
        for line in (
            *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.1 999 Denied", b"HTTP/1.1 600 Six"),
            *(b"HTTP/1.1 599 X", b"HTTP/1.1 1000 X", b"HTTP/1.1 99 X", b"HTTP/1.1 000 X", b"HTTP/1.1 099 X", b"HTTP/1.1 20 X"),
            *(b"HTTP/1.1 2000 X", b"HTTP/1.1 700", b"HTTP/1.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/2 200 OK"),
            *(b"HTTP/0.9 200 OK", b"HTTP/1 200 OK", b"HTTP/1.10 200 OK", b"http/1.1 200 OK", b"HTTP/3.1 200 OK", b"ICY 200 OK"),
            *(b"HTTP/1.1  200 OK", b"HTTP/1.1 200  OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK", b" HTTP/1.1 200 OK", b"HTTP/1.1 2xx OK"),
            *(b"HTTP/1.1 200OK", b"HTTP/1.1 -200 OK", b"HTTP/1.1 +20 OK", b"HTTP/1.1 200 \xc3\xa9", b"HTTP/1.1 200 a\tb"),
            *(b"HTTP/1.1 200 a\x00b", b"HTTP/1.1 200 a\x01b", b"HTTP/1.1 200 a\x7fb", b"HTTP/1.1 200 " + b"a" * 5000, b"HTTP/1.1 OK"),
            *(b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 200.1 OK", b"SSH-2.0-OpenSSH", b"220 ready", b"", b"x", b"HTTP/1.1 200 OK\r", b"HTTP/1.1 200 a\rb"),
            *(b"HTTP/1.1 200 OK ", b"HTTP/1.1 404 Nope", b"HTTP/1.1 500 Oh", b"HTTP/1.1 503 x", b"HTTP/1.1 226 x", b"HTTP/1.1 451 x", b"HTTP/1.1 418"),
            *(b"HTTP/1.1 204 None", b"HTTP/1.1 304 Not", b"HTTP/1.1 205 Reset", b"HTTP/1.1 206 Part", b"HTTP/1.1 301 Away", b"HTTP/1.1 199 Odd"),
        )
    ),
    *(_told(f"{text!r} before", text + OK) for text in (b"\r\n", b"\n", b"\r\n\r\n", b"\r\n" * 20, b"\r", b" ", b"x\r\n")),
    _told("bare LF", b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
    _told("bare LF after the status line", b"HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok"),
    _told("bare LF after a field", b"HTTP/1.1 200 OK\r\ncontent-length: 2\nx: 1\r\n\r\nok"),
    _told("bare LF at the end", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\nok"),
    _told("bare LF until close", b"HTTP/1.1 200 OK\ncontent-type: a\n\nok", closes=True),
    _told("bare LF with chunks", b"HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n2\nok\n0\n\n"),
    _told("bare LF from HTTP/1.0", b"HTTP/1.0 200 OK\ncontent-type: a\n\nok", closes=True),
    _told("bare LF, 304", b"HTTP/1.1 304 Not\netag: a\n\n"),
    _told("bare CR after a field", b"HTTP/1.1 200 OK\r\ncontent-length: 2\rx: 1\r\n\r\nok"),
    _told("nothing", b"", closes=True),
    _told("half a head", b"HTTP/1.1 200 OK\r\ncontent-le", closes=True),
    _told("HTTP/0.9", b"ok", closes=True),
    _told("garbage after it", OK + b"garbage"),
    _told("two answers", OK + OK),
    _told("an empty line after it", OK + b"\r\n"),
    _told("then the end", OK, closes=True),
)  # fmt: skip

ANSWER_FIELDS = (
    *(
        _head(f"field {line[:60]!r}", b"content-length: 2\r\n" + line + b"\r\n")
        for line in (
            *(b"x: 1", b"x:1", b"x:  1  ", b"x:\t1\t", b"x:", b"X-Y: A", b"x: 1\r\nx: 2", b"x : 1", b"x\t: 1", b" x: 1"),
            *(b"x_y: 1", b"x y: 1", b"x(y: 1", b"x@y: 1", b"x", b": 1", b"x: 1\r\n 2", b"x: 1\r\n\t2", b"x:\r\n 1"),
            *(b"x: 1\r\n   2  \r\n 3", b"x: 1\r\n \r\ny: 2", b"x: \x00", b"x: a\x00b", b"x: \x01", b"x: \x7f", b"x: \xff"),
            *(b"x\x00: 1", b"x: a\x1fb", b"\xc3: 1", b"x: a\tb", b"x: a\rb", b"set-cookie: a\r\nset-cookie: b", b"server: b"),
            *(b"date: Mon, 01 Jan 2024 00:00:00 GMT", b"date: x", b"via: 1.1 b", b"connection: close", b"connection: keep-alive"),
            *(b"connection: x\r\nx: 1", b"connection: close, x\r\nx: 1", b"connection:", b"keep-alive: timeout=5", b"trailer: x"),
            *(b"connection: content-length", b"connection: upgrade\r\nupgrade: b", b"upgrade: h2c", b"proxy-connection: close"),
            *(b"transfer-encoding: chunked", b"transfer-encoding: identity", b"te: trailers", b"x-envoy-upstream-service-time: 9"),
            *(b"x-envoy-overloaded: true", b"location: http://b/", b"vary: a\r\nvary: b", b"cache-control: a\r\ncache-control: b"),
            *(b":status: 500", b"x: " + _LONG, b"x" * 1000 + b": 1", b"proxy-authenticate: b", b"www-authenticate: a\r\nwww-authenticate: b"),
            *(b"x-envoy-immediate-health-check-fail: 1", b"grpc-status: 0", b"content-type: application/grpc", b"content-encoding: gzip", b"alt-svc: b"),
        )
    ),
    *(
        _head(f"length {line!r}", line + b"\r\n", b"abc")
        for line in (
            *(b"content-length: 3", b"content-length: 03", b"content-length: +3", b"content-length: -3", b"content-length: 3 "),
            *(b"content-length: 3\r\ncontent-length: 3", b"content-length: 3\r\ncontent-length: 2", b"content-length: 3,3", b"content-length: 3, 3"),
            *(b"content-length: a", b"content-length:", b"content-length: 2", b"content-length: 18446744073709551616", b"content-length:\r\n 3"),
            *(b"content-length: 18446744073709551615", b"content-length: 9223372036854775808", b"content-length : 3", b"Content-Length: 3"),
        )
    ),
    *(
        _head(f"coding {line!r}", line + b"\r\n", b"3\r\nabc\r\n0\r\n\r\n")
        for line in (
            *(b"transfer-encoding: chunked", b"Transfer-Encoding: Chunked", b"transfer-encoding: chunked ", b"transfer-encoding: gzip"),
            *(b"transfer-encoding: gzip, chunked", b"transfer-encoding: chunked, chunked", b"transfer-encoding: identity", b"transfer-encoding:"),
            *(b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", b"transfer-encoding: chunked\r\ncontent-length: 3", b"transfer-encoding:\r\n chunked"),
            *(b"content-length: 3\r\ntransfer-encoding: chunked", b"transfer-encoding: chunked\r\nconnection: close", b"transfer-encoding : chunked"),
        )
    ),
    *(_head(f"{count} fields", b"content-length: 2\r\n" + b"".join(b"x%d: 1\r\n" % at for at in range(count - 1))) for count in (99, 100, 101, 150, 300)),
    *(
        _head(f"a head of about {size} bytes", b"content-length: 2\r\nx: " + b"a" * size + b"\r\n")
        for size in (8000, 30000, 61000, 61400, 62000, 70000, 79800, 81900, 82000, 90000, 130000, 300000)
    ),
    *(
        _head(f"a head of about {size} kB in many fields", b"content-length: 2\r\n" + b"".join(b"x%d: " % at + b"a" * 1000 + b"\r\n" for at in range(size)))
        for size in (50, 70, 78, 85, 95)
    ),
    _head("a head without an end of 70000 bytes", b"x: " + b"a" * 70000, b""),
    _head("a head without an end of 130000 bytes", b"x: " + b"a" * 130000, b""),
    _head("a thousand folds", b"content-length: 2\r\nx: 1" + b"\r\n 2" * 1000 + b"\r\n"),
)  # fmt: skip

ANSWER_BODIES = (
    *(
        _in_chunks(name, body)
        for name, body in (
            ("plain", b"3\r\nabc\r\n0\r\n\r\n"),
            ("several", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
            ("none", b"0\r\n\r\n"),
            ("leading zeros", b"0003\r\nabc\r\n000\r\n\r\n"),
            ("extension", b"3;a=b\r\nabc\r\n0\r\n\r\n"),
            ("extension after a blank", b"3 ;a=b\r\nabc\r\n0\r\n\r\n"),
            ("long extension", b"3;" + b"a" * 20000 + b"\r\nabc\r\n0\r\n\r\n"),
            ("padded with a blank", b"3 \r\nabc\r\n0\r\n\r\n"),
            ("padded with blanks", b"3      \r\nabc\r\n0   \r\n\r\n"),
            ("padded with a tab", b"3\t\r\nabc\r\n0\r\n\r\n"),
            ("blank before", b" 3\r\nabc\r\n0\r\n\r\n"),
            ("bare LF", b"3\nabc\n0\n\n"),
            ("bare LF after the data", b"3\r\nabc\n0\r\n\r\n"),
            ("no number", b"x\r\nabc\r\n0\r\n\r\n"),
            ("too long data", b"3\r\nabcd\r\n0\r\n\r\n"),
            ("16 digits", b"f" * 16 + b"\r\nabc\r\n"),
            ("17 digits", b"1" + b"0" * 16 + b"\r\nabc\r\n"),
            ("trailer", b"3\r\nabc\r\n0\r\nx: 1\r\n\r\n"),
            ("malformed trailer", b"3\r\nabc\r\n0\r\nx\r\n\r\n"),
            ("folded trailer", b"3\r\nabc\r\n0\r\nx: 1\r\n 2\r\n\r\n"),
            ("large trailer", b"3\r\nabc\r\n0\r\nx: " + b"a" * 9000 + b"\r\n\r\n"),
            ("then more", b"3\r\nabc\r\n0\r\n\r\nmore"),
        )
    ),
    _in_chunks("unfinished", b"3\r\nab", closes=True),
    _in_chunks("without the last", b"3\r\nabc\r\n", closes=True),
    _in_chunks("without the empty line", b"3\r\nabc\r\n0\r\n", closes=True),
    _head("until close", b"", closes=True),
    _head("until close, empty", b"", b"", closes=True),
    _head("until close, with connection: close", b"connection: close\r\n", closes=True),
    _head("until close, with keep-alive", b"connection: keep-alive\r\n", closes=True),
    _head("shorter than said", b"content-length: 5\r\n", closes=True),
    _head("longer than said", b"content-length: 1\r\n"),
    _head("large", b"content-length: 300000\r\n", b"a" * 300000),
    _told("HTTP/1.0 with chunks", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    _told("HTTP/1.0 with chunks, closed", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes=True),
    _told("HTTP/1.0 with a length", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    _told("HTTP/1.0 with keep-alive", b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
    _told("HTTP/1.0 until close", b"HTTP/1.0 200 OK\r\n\r\nok", closes=True),
    *(
        _told(f"{status} with {what}", b"HTTP/1.1 %d X\r\n" % status + lines)
        for status in (204, 304, 205, 200, 404)
        for what, lines in (
            ("nothing", b"\r\n"),
            ("length 0", b"content-length: 0\r\n\r\n"),
            ("length 2", b"content-length: 2\r\n\r\n"),
            ("length 2 and a body", b"content-length: 2\r\n\r\nok"),
            ("chunked", b"transfer-encoding: chunked\r\n\r\n"),
            ("chunks", b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            ("an empty body in chunks", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            ("a body that was not announced", b"\r\nok"),
        )
    ),
    *(
        _told(f"HEAD: {what}", b"HTTP/1.1 " + lines, request=b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", closes=closes)
        for what, lines, closes in (
            ("length", b"200 OK\r\ncontent-length: 2\r\n\r\n", False),
            ("length 0", b"200 OK\r\ncontent-length: 0\r\n\r\n", False),
            ("chunked", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n", False),
            ("neither", b"200 OK\r\n\r\n", False),
            ("neither, closed", b"200 OK\r\n\r\n", True),
            ("with a body", b"200 OK\r\ncontent-length: 2\r\n\r\nok", False),
            ("with chunks", b"200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", False),
            ("204", b"204 X\r\n\r\n", False),
            ("204 with chunked", b"204 X\r\ntransfer-encoding: chunked\r\n\r\n", False),
            ("304 with length", b"304 X\r\ncontent-length: 2\r\n\r\n", False),
            ("bare LF", b"200 OK\ncontent-length: 2\n\n", False),
            ("two lengths", b"200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n", False),
            ("404 with length", b"404 No\r\ncontent-length: 2\r\n\r\n", False),
            ("both", b"200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", False),
        )
    ),
    *(
        _told(f"interim {what}", lines)
        for what, lines in (
            ("100", b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
            ("102", b"HTTP/1.1 102 Processing\r\n\r\n" + OK),
            ("103", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK),
            ("100 and 103", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK),
            ("103 twice", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 2 + OK),
            ("199", b"HTTP/1.1 199 Odd\r\n\r\n" + OK),
            ("150", b"HTTP/1.1 150 Odd\r\n\r\n" + OK),
            ("101 unasked", b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: b\r\n\r\n"),
            ("101 unasked, bare", b"HTTP/1.1 101 Switching\r\n\r\n"),
            ("100 with length 0", b"HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n" + OK),
            ("100 with length", b"HTTP/1.1 100 Continue\r\ncontent-length: 2\r\n\r\n" + OK),
            ("100 with chunked", b"HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n" + OK),
            ("103 with length 0", b"HTTP/1.1 103 Hints\r\ncontent-length: 0\r\n\r\n" + OK),
            ("103 with length", b"HTTP/1.1 103 Hints\r\ncontent-length: 2\r\n\r\n" + OK),
            ("103 with chunked", b"HTTP/1.1 103 Hints\r\ntransfer-encoding: chunked\r\n\r\n" + OK),
            ("103 with connection: close", b"HTTP/1.1 103 Hints\r\nconnection: close\r\n\r\n" + OK),
            ("100 with bare LF", b"HTTP/1.1 100 Continue\n\n" + OK),
            ("103 with a folded field", b"HTTP/1.1 103 Hints\r\nlink: </a>,\r\n </b>\r\n\r\n" + OK),
            ("100 from HTTP/1.0", b"HTTP/1.0 100 Continue\r\n\r\n" + OK),
            ("a hundred of 100", b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + OK),
            ("a thousand of 103", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 1000 + OK),
            ("100 and no more", b"HTTP/1.1 100 Continue\r\n\r\n"),
            ("103 malformed", b"HTTP/1.1 103 Early Hints\r\nlink\r\n\r\n" + OK),
        )
    ),
    Case("answer: before the request is complete", (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 90\r\n\r\nabc",)),
    Case("answer: before the chunks are complete", (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",)),
    Case("answer: before the request is complete, with close", (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 90\r\n\r\nabc",), OK, closes=True),
    Case("answer: folded lines to HEAD", (b"HEAD / HTTP/1.1\nhost: a\n\n",), b"HTTP/1.1 200 OK\nx: 1\n 2\ncontent-length: 2\n\n"),
    Case("answer: until close to a request with close", (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",), b"HTTP/1.1 200 OK\r\n\r\nok", closes=True),
)  # fmt: skip

CASES: tuple[Case, ...] = (
    *LINE_ENDS,
    *REQUEST_LINES,
    *HOSTS,
    *FIELDS,
    *BODIES,
    *STATUS_LINES,
    *ANSWER_FIELDS,
    *ANSWER_BODIES,
)


def named(cases: Iterable[Case]) -> dict[str, Case]:
    """Return the cases by name; two of one name are a mistake in the tables."""
    found: dict[str, Case] = {}
    for case in cases:
        assert case.name not in found, case.name
        found[case.name] = case
    return found
