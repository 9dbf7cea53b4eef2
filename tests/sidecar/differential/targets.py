"""Cases about a request's destination: absolute targets, CONNECT, and Host, with every byte and odd addresses."""

from collections.abc import Iterator

from lanes import Case

_VISIBLE = [bytes((each,)) for each in range(0x21, 0x7F)]
_USERS = (
    *(each + b"@" for each in _VISIBLE),
    *(b"b" + each + b"@" for each in _VISIBLE),
    *(b"", b"u:p@", b"@", b"@@", b"u@v@", b":@", b"%41@", b"a.b-c_d~@", b"[::1]@", b"u:@", b":p@", b"u:p:q@", b"u%00@"),
)
_LITERALS = rb"""
::1 :: 1 : ::g 1:2:3:4:5:6:7:8 1:2:3:4:5:6:7:8:9 ::1%25eth0 ::ffff:1.2.3.4 v1.a fe80::1.2 ::: 1::2::3 12345::
""".split()
_HOSTS = (
    *(b"c" + each + b"d" for each in _VISIBLE),
    *(b"[" + each + b"]" for each in (*_LITERALS, b"")),
    *(b"[" + each + b"]:80" for each in (*_LITERALS, b"")),
    *rb"""
    . - a. a..b .a 1.2.3.4 1.2.3 256.1.1.1 0x7f.1 a: a:0 a:80 a:080 a:65535 a:65536 a:00000 a:000080 a:123456 a:-1 a:+1
    A.B xn--a a_b %61 a%2eb ::1 1:2:3 a:80:90 [::1]x [::1]: [::1]:x [::1 ::1] a:99999999999999999999 [::1]:65536
    """.split(),
)
_TARGETS = rb"""
http:/c/ http:c/ http:///c http://// HTTP://c/ hTTps://c/ ws://c/ http//c ://c/ h2c://c/ httpx://c/ http://c//x
http://c;x/ //c/x /\c \c *x ** ?x #x /* ;x . .. a/b c:80 [::1]:80 http:// https:// http://? http://@/ http://c@/
http://c:80@/ http://c:80@d:90/x
""".split()


def _texts() -> Iterator[bytes]:
    yield from (b"GET http://" + user + b"c/ HTTP/1.1\r\nhost: a" for user in _USERS)
    for host in _HOSTS:
        yield from (
            b"GET http://" + host + rest + b" HTTP/1.1\r\nhost: a" for rest in (b"/", b"", b"?q", b"#f", b"\\x")
        )
        yield b"GET https://u@" + host + b"/ HTTP/1.1\r\nhost: a"
        yield b"GET / HTTP/1.1\r\nhost: " + host
        yield b"CONNECT " + host + b" HTTP/1.1\r\nhost: " + host
    for method in (b"GET", b"OPTIONS", b"POST", b"CONNECT"):
        yield from (method + b" " + target + b" HTTP/1.1\r\nhost: a" for target in _TARGETS)


def targets() -> tuple[Case, ...]:
    """Return the cases."""
    return tuple(Case(f"target: {text!r}", (text + b"\r\n\r\n",)) for text in dict.fromkeys(_texts()))
