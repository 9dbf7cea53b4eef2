"""Generated cases: requests and answers put together at random from usual and from faulty parts.

The random numbers are the same in every run, so a case is known by its number.
"""

from collections.abc import Sequence
from random import Random

from lanes import OK, Case

_SEED = 20240101

_METHODS = (
    (b"GET",) * 6 + (b"POST",) * 4 + (b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"PATCH", b"CONNECT", b"BREW", b"get")
)
_TARGETS = (b"/",) * 6 + (b"/a?b=c", b"/x/y", b"*", b"http://b/c", b"http://b:80?d", b"a", b"/\x80", b"/a b")
_VERSIONS = (b"HTTP/1.1",) * 20 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1")
_GAPS = (b" ",) * 20 + (b"\t", b"  ", b" \t", b"\r")
_LINE_ENDS = ((b"\r\n",),) * 6 + ((b"\n",), (b"\r\n", b"\n"), (b"\r\n",) * 8 + (b"\r\r\n", b"\n"))
_HOSTS = (b"host: a",) * 14 + (b"Host:b", b"host: a:80", b"host:", b"host: a/b", b"host: a\r\nhost: c", b"x: no host")
_FIELDS = (
    *(
        b"x: 1",
        b"X-Y:2",
        b"x:  3 ",
        b"x:\t4",
        b"accept: */*",
        b"cookie: a=b",
        b"user-agent: c",
        b"x: a\xff\xc3b",
        b"y:",
    ),
    *(
        b"x: 1\r\n 2",
        b"z: a\n\tb",
        b"connection: keep-alive",
        b"connection: close",
        b"connection: x\r\nx: 1",
        b"te: trailers",
    ),
    *(b"te: gzip", b"keep-alive: 5", b"proxy-connection: keep-alive", b"x: a\rb", b"x_y: 1", b"via: 1.1 c"),
)
_BAD_FIELDS = (b"x", b": 1", b"x : 1", b"x y: 1", b"x: \x00", b"x: \x01", b" x: 1", b"\xc3: 1", b"x\x7f: 1")
_LENGTHS = (b"content-length: %d",) * 12 + (
    *(
        b"content-length:%d",
        b"Content-Length: 0%d",
        b"content-length: +%d",
        b"content-length: %d, %d",
        b"content-length: -%d",
    ),
    *(
        b"content-length: %d\r\ncontent-length: %d",
        b"content-length: %d\r\ntransfer-encoding: chunked",
        b"content-length: %dx",
    ),
)
_CODINGS = (b"transfer-encoding: chunked",) * 12 + (
    *(
        b"Transfer-Encoding: Chunked",
        b"transfer-encoding:\r\n chunked",
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding: x",
    ),
    *(
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        b"transfer-encoding : chunked",
        b"transfer-encoding: identity",
    ),
)
_SIZES = (b"%x",) * 12 + (
    b"%X",
    b"0%x",
    b"%x ",
    b"%x\t",
    b"%x;a=b",
    b"%x ;a",
    b" %x",
    b"%xg",
    b"-%x",
    b"0x%x",
    b"%x\x00",
    b"%x,1",
)
_TRAILERS = (b"",) * 12 + (b"x: 1\r\n", b"x: 1\n", b"x\r\n", b"x: 1\r\n 2\r\n", b"content-length: 3\r\n", b" x: 1\r\n")
_STATUSES = (b"200",) * 10 + (
    b"204",
    b"304",
    b"404",
    b"500",
    b"503",
    b"201",
    b"600",
    b"999",
    b"099",
    b"20",
    b"2xx",
    b"205",
    b"302",
)
_REASONS = (b" OK",) * 8 + (b"", b" ", b" a\xffb", b"\tc", b"  d", b" a\x01b", b" \x00")
_ANSWER_VERSIONS = (b"HTTP/1.1",) * 14 + (b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/1", b"http/1.1", b"ICY")
_ANSWER_FIELDS = (
    *(
        b"x: 1",
        b"X-Y:2",
        b"x:  3 ",
        b"content-type: a/b",
        b"set-cookie: a",
        b"set-cookie: b",
        b"server: c",
        b"x: a\xffb",
        b"y:",
    ),
    *(
        b"x: 1\r\n 2",
        b"z: a\n\tb",
        b"connection: keep-alive",
        b"connection: close",
        b"connection: x",
        b"keep-alive: 5",
        b"x: a\rb",
    ),
    *(b"date: Mon, 01 Jan 2024 00:00:00 GMT", b"etag: d", b"upgrade: e", b"via: 1.1 f"),
)
_INTERIM = (b"100 Continue", b"103 Early Hints", b"102 Processing", b"150 Odd")
_ODD_BYTES = b"\x00\r\n\t :;,0a\x7f\xff"


def generated(count: int) -> list[Case]:
    """Return `count` cases, always the same ones."""
    return [_Maker(Random(_SEED + number)).case(f"generated {number}") for number in range(count)]


class _Maker:
    """Makes cases with one random generator."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ends: Sequence[bytes] = (b"\r\n",)

    def case(self, name: str) -> Case:
        likely = self._random.random()
        request = self._request() if likely < 0.7 else b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        answer = self._answer() if likely > 0.4 else OK
        # If the server closes, it would be luck whether a second request arrives before that; so there is none.
        closes = self._one_in(4)
        if not closes and self._one_in(5):
            request += self._request()
        return Case(name, self._pieces(self._mutated(request)), self._mutated(answer), closes=closes)

    def _request(self) -> bytes:
        pick = self._random.choice
        self._ends = pick(_LINE_ENDS)
        before = pick((b"\r\n", b"\n", b"\r\n\r\n")) if self._one_in(12) else b""
        words = (pick(_METHODS), pick(_TARGETS), pick(_VERSIONS))
        line = words[0] + pick(_GAPS) + words[1] + pick(_GAPS) + words[2]
        fields = [pick(_HOSTS), *self._some(_FIELDS)]
        framing, body = self._body(empty=5)
        return before + self._head(line, fields + framing) + body

    def _answer(self) -> bytes:
        pick = self._random.choice
        self._ends = pick(_LINE_ENDS)
        interim = b""
        while self._one_in(8):
            interim += self._head(b"HTTP/1.1 " + pick(_INTERIM), self._some(_ANSWER_FIELDS))
        line = pick(_ANSWER_VERSIONS) + pick(_GAPS) + pick(_STATUSES) + pick(_REASONS)
        framing, body = self._body(empty=12)
        return interim + self._head(line, self._some(_ANSWER_FIELDS) + framing) + body

    def _head(self, line: bytes, fields: list[bytes]) -> bytes:
        if self._one_in(15):
            fields.append(self._random.choice(_BAD_FIELDS))
        self._random.shuffle(fields)
        return b"".join(each + self._random.choice(self._ends) for each in (line, *fields, b""))

    def _some(self, fields: Sequence[bytes]) -> list[bytes]:
        return self._random.sample(fields, self._random.choice((0, 0, 1, 2, 3)))

    def _body(self, *, empty: int) -> tuple[list[bytes], bytes]:
        """Return the fields about a body, and the body; there are no fields in `empty` of 8 + `empty` cases."""
        kind = self._random.randrange(8 + empty)
        if kind < 4:
            body = self._random.choice((b"", b"a", b"abc", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"))
            field = self._random.choice(_LENGTHS)
            length = len(body) + (self._random.choice((-1, 1)) if self._one_in(10) and body else 0)
            return [field % ((length,) * field.count(b"%d"))], body
        if kind < 8:
            chunks = b"".join(
                self._chunk(b"x" * self._random.choice((1, 3, 20))) for _ in range(self._random.randrange(3))
            )
            end = self._random.choice((b"0\r\n",) * 8 + (b"00\r\n", b"0 \r\n", b"0;a\r\n", b"0\n", b""))
            return [self._random.choice(_CODINGS)], chunks + end + self._random.choice(_TRAILERS) + self._end()
        return [], self._random.choice((b"",) * 8 + (b"abc",)) if empty > 8 else b""

    def _chunk(self, data: bytes) -> bytes:
        return self._random.choice(_SIZES) % len(data) + self._end() + data + self._end()

    def _end(self) -> bytes:
        return b"\n" if self._one_in(20) else b"\r\n"

    def _mutated(self, data: bytes) -> bytes:
        while self._one_in(8) and data:
            at = self._random.randrange(len(data))
            data = (
                data[:at]
                + self._random.choice((b"", bytes((self._random.choice(_ODD_BYTES),))))
                + data[at + self._random.randrange(2) :]
            )
        return data

    def _pieces(self, data: bytes) -> tuple[bytes, ...]:
        cuts = sorted(self._random.randrange(len(data) + 1) for _ in range(self._random.choice((0, 0, 0, 1, 3))))
        return tuple(
            data[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True) if end > begin
        ) or (data,)

    def _one_in(self, count: int) -> bool:
        return self._random.randrange(count) == 0
