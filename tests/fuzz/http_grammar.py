"""Messages of HTTP/1.1 from a grammar, half of them with faults at its edges; a seed and number give the same ones.

A connection's bytes are one to three messages. Each place of a message has legal and odd forms, and the result may be
damaged by a byte or two that mean something to a reader.
"""

import re
from collections.abc import Sequence
from random import Random

from comparing_readers import is_request


def _forms(text: str) -> tuple[bytes, ...]:
    """Return the forms that `text` lists between bars, with Python's escapes; `*3` after a form counts it thrice."""
    found: list[bytes] = []
    for each in text.split(" | "):
        form, count = re.fullmatch(r"(.*?)(?: \*(\d+))?", each).groups()
        found += [form.encode().decode("unicode_escape").encode("latin-1")] * int(count or 1)
    return tuple(found)


_METHODS = _forms(
    r"GET *3 | POST *2 | HEAD | PUT | DELETE | OPTIONS | PATCH | TRACE | PROPFIND | MKCOL | SEARCH | SOURCE"
)
_ODD_METHODS = _forms(
    r"get | Get | "
    r"QUERY | DESCRIBE | M-SEARCH | MSEARCH | BREW | G!T | GET1 | CONNECT | PRI |  | G\x00T | GE\xffT | GET:"
)
_TARGETS = _forms(
    r"/ *3 | /a | /a/b?c=d | /%41/%2e%2e/b | /a/../b | //x | /?q | /a;b=c | /~u/ | /%zz | /a%2fb | /!$&'()*+,;=:@ | "
    r"http://b/c | http://u:p@b:80/c?d | HTTP://B | http://[::1]:80/x | /longlonglonglonglonglonglonglonglong | "
    r'/a"<>^`{|}b | /a\\b'
)
_ODD_TARGETS = _forms(
    r"* | a | a:80 | b:443 | /#f | http:///c | http://b:99999/ | ftp://b/c | http://b/#f | ? | /%00 | https://b/x | "
    r" | /a b | /\t | /\x80 | /\x00 | /\x7f | /HTTP/1.1 | [::1]:80 | /a\rb | //b:80/ | http://b c/ | http://b?d"
)
_ODD_VERSIONS = _forms(
    r"HTTP/1.0 *2 | HTTP/0.9 | HTTP/2.0 | HTTP/1.2 | HTTP/3.0 | HTTP/1 | HTTP/1. | HTTP/.1 | HTTP/11 | HTTP/1.11 | "
    r"HTTP/01.1 | http/1.1 | HTTP/1,1 | HTTPS/1.1 | HTTP/1.1\x20 | HTTP/ 1.1 | HTTP /1.1 | HTTP/+1.1 |  | HTTP/1.1x | "
    r"HTTP/1.1\n\n"
)
_ODD_GAPS = _forms(r"\x20\x20 | \t | \x20\t |  | \r | \x0b | \x0c | \xa0 | \x20 \x20")
_ODD_ENDS = _forms(r"\n *2 | \r | \r\r\n |  | \x20\r\n | \n\r\n | \r\n\r\n | \x00\r\n | \x0b\r\n")
_HOSTS = _forms(r"Host: a *8 | host:b | HOST: a:80 | Host:  a\t | Host: [::1]:80 | Host:\x20")
_ODD_HOSTS = _forms(r"Host: a\r\nHost: b | X: no host | Host: a/b | Host: a b | Host: a\xff | Host : a | Host: a@b")
_FIELDS = _forms(
    r"X: 1 | x-y:2 | X:  3 \t | Accept: */* | X: | X:\x20 | Cookie: a=b; c=d | x: 1\r\nx: 2 | "
    r"""X_Y.z~!#$%&'*+-^`|: 1 | X: \t\xff\xc3\x80 | X: a,b,,c | X: "q\\"q" | X: a:b:c | """
    r"X: vvvvvvvvvvvvvvvvvvvvvvvvvvvvvv | NNNNNNNNNNNNNNNNNNNN: 1 | Via: 1.1 c | Connection: keep-alive | "
    r"Connection: close | Connection: X | Connection: Close , x-y | Connection: | TE: trailers | TE: gzip | "
    r"Keep-Alive: 5 | Proxy-Connection: keep-alive | Expect: 100-continue | Trailer: t | "
    r"Connection: upgrade\r\nUpgrade: websocket | Upgrade: websocket | Connection: upgrade"
)
_ODD_FIELDS = _forms(
    r"X: 1\r\n 2 | X:\r\n\t2 | X: 1\r\n \r\n 3 | \x20X: 1 | X : 1 | X\t: 1 | X | : 1 |  | X Y: 1 | (X): 1 | "
    r"X\x00: 1 | X: \x00 | X: \x01 | X: \x7f | X: a\rb | X: a\nY: b | X: a\n b | \xc3\xa9: 1 | X: 1\r | X: 1\r\r | "
    r'X\r: 1 | X: \r | X: \x0b | X: \x0c1 | X@: 1 | X/Y: 1 | X;: 1 | "X": 1 | Connection: close, close | '
    r"Connection: close\r\nConnection: keep-alive | Proxy-Connection: close | Connection: host | "
    r"Connection: x, Host | Connection: content-length | Connection: transfer-encoding | "
    r"Connection: upgrade\r\nUpgrade: h2c *2 | Connection: upgrade\r\nUpgrade: x | "
    r"Connection: Upgrade, close\r\nUpgrade: websocket | Connection: clos\xe9 | Connection: x close | "
    r"Connection: closed | Connection: close;x"
)
_LENGTHS = _forms(r"Content-Length: %d *10 | content-length:%d | CONTENT-LENGTH:\t%d\x20 | Content-Length: 00%d")
_ODD_LENGTHS = _forms(
    r"Content-Length: +%d | Content-Length: -%d | Content-Length: %d, %d | Content-Length: %d, | "
    r"Content-Length: 0x%d | Content-Length: %d\r\nContent-Length: %d | Content-Length: %d\r\nContent-Length: 0 | "
    r"Content-Length: | Content-Length: 1%d | Content-Length: %d\r\nTransfer-Encoding: chunked | "
    r"Transfer-Encoding: chunked\r\nContent-Length: %d | Content-Length : %d | "
    r"Content-Length: 1844674407370955161%d | Content-Length: 000000000000000000000000000%d | Content-Length: %d 0 | "
    r"Content-Length: %d.0 | Content-Length: 0000000000000000000000000000000000%d | "
    r"Content-Length: 99999999999999999999%d | Content_Length: %d | Content-Length: %dx | Content-Length: \x0b%d | "
    r"Content-Length: %d\x0c | Content-Length:\r\n %d | Content-Length: %d\r\n 0 | Content-Length: %d\x00 | "
    r"Content-Length: %d\r\nTransfer-Encoding: identity | Content-Length: 1_%d | Content-Length: \xb9%d | "
    r"\x20Content-Length: %d | Content-Length: 1\r%d | Content-Length:\r%d"
)
_CODINGS = _forms(r"Transfer-Encoding: chunked *10 | transfer-encoding:Chunked | TRANSFER-ENCODING: \tCHUNKED \t")
_ODD_CODINGS = _forms(
    r"Transfer-Encoding: gzip, chunked | Transfer-Encoding: gzip | Transfer-Encoding: identity | "
    r"Transfer-Encoding: | Transfer-Encoding: chunked, chunked | "
    r"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked | Transfer-Encoding: chunked, | "
    r"Transfer-Encoding: chunked, gzip | Transfer-Encoding: chunked, identity | Transfer-Encoding: ,chunked | "
    r"Transfer-Encoding: xchunked | Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked | "
    r"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip | Transfer-Encoding: chunkedx | "
    r"Transfer-Encoding : chunked | Transfer-Encoding:\r\n chunked | Transfer-Encoding: chunked;q=1 | "
    r'Transfer-Encoding: "chunked" | Transfer-Encoding: \x0bchunked | Transfer-Encoding: chunked\x0b | '
    r"Transfer_Encoding: chunked | Transfer-Encoding: chunked\r\n x | Transfer-Encoding: chun\x00ked | "
    r"Transfer-Encoding: chunked\r | \x20Transfer-Encoding: chunked | Transfer-Encoding: chunked chunked | "
    r"Transfer-Encoding: chun\rked | Transfer-Encoding:\rchunked"
)
_SIZES = _forms(r'%x *8 | %X | 0%x | 000%X | %x;a=b | %x;a="b c" | %x;a;b | %x;eeeeeeeeeeeeeeeeeeee')
_ODD_SIZES = _forms(
    r"%x\x20 | %x\t | \x20%x | +%x | -%x | 0x%x | %xg |  | ;a | %x ;a | %x; a | %x; | %x;a=\xff | %x;a\x00 | "
    r'%x;a\rb | 0000000000000000000%x | 1000000000000000%x | ffffffffffffffff%x | %x,1 | %x\r | %x;a b | %x;a=" | '
    r'%x_0 | %x;=b | %x;a= | %x\x0b | %x;a=b\t | %x;\ta | %x;a="\x7f" | 8000000000000000 | fffffffffffffffe'
)
_TRAILERS = _forms(r" *6 | T: 1\r\n | t: 1\r\nu:\r\n | T: 1 \t\r\n | X: \xff\r\n")
_ODD_TRAILERS = _forms(
    r"T\r\n | T : 1\r\n | \x20T: 1\r\n | T: 1\r\n 2\r\n | T: 1\n | : 1\r\n | T: \x00\r\n | T: a\rb\r\n | "
    r"\xff: 1\r\n | T: \x01\r\n | Content-Length: 5\r\n | Transfer-Encoding: chunked\r\n | Host: b\r\n | \r | "
    r"Connection: close\r\n | Content-Length: x\r\n | Transfer-Encoding: x\r\n"
)
_BODIES = _forms(
    r" | a | abc | 0\r\n\r\n | GET / HTTP/1.1\r\n\r\n | HTTP/1.1 200 OK\r\n\r\n | \r\n | \x00\xff\n | "
    r"01234567890123456789"
)
_STATUSES = _forms(r"200 *8 | 100 | 103 | 201 | 204 | 206 | 301 | 304 | 404 | 426 | 500 | 599 | 101")
_ODD_STATUSES = _forms(
    r"000 | 099 | 99 | 600 | 999 | 1000 | 0200 | 2000 | 20 | 2 | 20x | +200 | -200 | 20.0 |  | 2 00 | \xb200 | "
    r"\x20200"
)
_REASONS = _forms(r"\x20OK *6 | \x20Not Found | \x20 |  | \x20a\tb | \x20\xc3\xa9 | \x20 two")
_ODD_REASONS = _forms(r"\x20\x00 | \x20a\rb | \x20\x20 | \t | OK | \x20\x7f | \x20\x01 | \rOK | \x20OK\x20")
_BEFORE = _forms(r" *14 | \r\n | \r\n\r\n")
_ODD_BEFORE = _forms(r"\n | \r | \x20 | \t | \x00 | \r\n\n | x | \r\r\n | \x20\r\n | \xef\xbb\xbf")
_WORDS = _forms(
    r"\r\n | \n | \r | \x20 | \t | : | ; | \x00 | , | 0 | 1 | a | f | x | + | - | \xff | \x7f | \x80 | \x0b | \x0c | "
    r"\r\n\r\n | \n\n | \r\n\x20 | 0\r\n\r\n | HTTP/1.1 | \r\nContent-Length: 3 | \r\nTransfer-Encoding: chunked | "
    r"chunked | GET / HTTP/1.1\r\nHost: a\r\n\r\n"
)


class Grammar:
    """Makes the bytes of a connection: one to three requests for an even number, responses for an odd one."""

    def make(self, seed: int, number: int) -> bytes:
        """Return input `number` of the series of `seed`."""
        rng = Random(seed << 40 | number)
        maker = _Maker(rng, rng.choice((0, 0, 0.02, 0.06, 0.15)))
        one = maker.request if is_request(number) else maker.response
        data = b"".join(one() for _ in range(rng.choice((1, 1, 2, 3))))
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            at = rng.randrange(len(data) + 1)
            data = data[:at] + rng.choice((b"", rng.choice(_WORDS))) + data[at + rng.choice((0, 0, 1, 1, 2)) :]
        if rng.random() < 0.04:
            data = data[: rng.randrange(len(data) + 1)]
        return data


class _Maker:
    """Makes messages in which each place has a fault with probability `faults`."""

    def __init__(self, rng: Random, faults: float) -> None:
        self._rng = rng
        self._faults = faults
        # A message with the other line ending has it in all of its lines.
        self._line_end = b"\n" if faults and rng.random() < 0.05 else b"\r\n"

    def request(self) -> bytes:
        pick = self._pick
        line = pick(_METHODS, _ODD_METHODS) + self._gap() + pick(_TARGETS, _ODD_TARGETS)
        line += self._gap() + pick((b"HTTP/1.1",), _ODD_VERSIONS)
        framing, body = self._body((b"none",) * 4 + (b"length",) * 2 + (b"chunks",) * 3)
        return pick(_BEFORE, _ODD_BEFORE) + self._head(line, [pick(_HOSTS, _ODD_HOSTS), *framing]) + body

    def response(self) -> bytes:
        pick = self._pick
        line = pick((b"HTTP/1.1",) * 6 + (b"HTTP/1.0",), _ODD_VERSIONS) + self._gap()
        status = pick(_STATUSES, _ODD_STATUSES)
        line += status + pick(_REASONS, _ODD_REASONS)
        bodiless = status[:1] == b"1" or status in (b"204", b"304")
        framing, body = self._body((b"none",) * 9 + (b"length", b"chunks") if bodiless else (b"end", *_FRAMED))
        before = pick((b"",) * 40 + (b"\r\n",), _ODD_BEFORE)
        return before + self._head(line, framing) + (b"" if bodiless and body and self._rng.random() < 0.8 else body)

    def _head(self, line: bytes, fields: list[bytes]) -> bytes:
        rng = self._rng
        fields += [self._pick(_FIELDS, _ODD_FIELDS) for _ in range(rng.choice((0, 0, 1, 2, 3)))]
        rng.shuffle(fields)
        return b"".join(each + self._end() for each in (line, *fields, b""))

    def _body(self, framings: Sequence[bytes]) -> tuple[list[bytes], bytes]:
        """Return the fields that frame a body, and the body."""
        rng, framing = self._rng, self._rng.choice(framings)
        if framing == b"none":
            return [], b""
        if framing == b"end":
            return [], rng.choice(_BODIES)
        if framing == b"length":
            body = rng.choice(_BODIES)
            field = self._pick(_LENGTHS, _ODD_LENGTHS)
            wrong = rng.choice((-1, 1)) if rng.random() < self._faults and body else 0
            return [field.replace(b"%d", b"%d" % (len(body) + wrong))], body
        chunks = b"".join(self._chunk(rng.choice(_BODIES) or b"x") for _ in range(rng.choice((0, 1, 1, 2, 3))))
        last = self._pick(_SIZES, _ODD_SIZES).replace(b"%x", b"0").replace(b"%X", b"0") + self._end()
        field = self._pick(_CODINGS, _ODD_CODINGS)
        return [field], chunks + last + self._pick(_TRAILERS, _ODD_TRAILERS) + self._end()

    def _chunk(self, data: bytes) -> bytes:
        size = self._pick(_SIZES, _ODD_SIZES).replace(b"%x", b"%x" % len(data)).replace(b"%X", b"%X" % len(data))
        after = b"more" if self._rng.random() < self._faults / 4 else b""
        return size + self._end() + data + after + self._end()

    def _gap(self) -> bytes:
        return self._pick((b" ",), _ODD_GAPS)

    def _end(self) -> bytes:
        if self._rng.random() < self._faults / 4:
            return self._rng.choice(_ODD_ENDS)
        return self._line_end

    def _pick(self, usual: Sequence[bytes], odd: Sequence[bytes]) -> bytes:
        return self._rng.choice(odd if self._rng.random() < self._faults else usual)


_FRAMED = (b"length",) * 4 + (b"chunks",) * 4
