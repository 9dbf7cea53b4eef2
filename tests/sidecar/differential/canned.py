"""Cases written by hand: `cases.txt` has those of one line, by kind; the others are here.

A kind is a place in an otherwise plain message; each case is a way in which real clients and servers depart from it.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lanes import OK, Case

_GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
_HEAD = b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n"
_CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
_NOT_ALNUM = [bytes((number,)) for number in range(256) if not bytes((number,)).isalnum()]

Make = Callable[[str, bytes], Case]


def _asks(request: Callable[[bytes], bytes]) -> Make:
    return lambda name, text: Case(name, (request(text),))


def _tells(answer: Callable[[bytes], bytes], *, closes: bool = False, request: bytes = _GET) -> Make:
    return lambda name, text: Case(name, (request,), answer(text), closes)


def _get(target: bytes = b"/", fields: bytes = b"host: a\r\n") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n"


def _post(fields: bytes, body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: a\r\n" + fields + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post(b"transfer-encoding: chunked\r\n", body)


def _ok(fields: bytes, body: bytes = b"ok") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n" + body


_KINDS: dict[str, Make] = {
    "request": _asks(bytes),
    "method": _asks(lambda text: text + b" / HTTP/1.1\r\nhost: a\r\n\r\n"),
    "target": _asks(_get),
    "version": _asks(lambda text: b"GET / " + text + b"\r\nhost: a\r\n\r\n"),
    "host": _asks(lambda text: _get(fields=text)),
    "field": _asks(lambda text: _get(fields=b"host: a\r\n" + text + b"\r\n")),
    "length": _asks(lambda text: _post(text + b"\r\n", b"abc")),
    "coding": _asks(lambda text: _post(text + b"\r\n", _CHUNKS)),
    "chunks": _asks(_chunked),
    "answer": _tells(lambda text: text.replace(b"$OK", OK)),
    "answer, then the end": _tells(bytes, closes=True),
    "answer to HEAD": _tells(bytes, request=_HEAD),
    "before an answer": _tells(lambda text: text + OK),
    "status line": _tells(lambda text: text + b"\r\ncontent-length: 2\r\n\r\nok"),
    "answer's field": _tells(lambda text: _ok(b"content-length: 2\r\n" + text + b"\r\n")),
    "answer's length": _tells(lambda text: _ok(text + b"\r\n", b"abc")),
    "answer's coding": _tells(lambda text: _ok(text + b"\r\n", _CHUNKS)),
    "answer's chunks": _tells(lambda text: _ok(b"transfer-encoding: chunked\r\n", text)),
    "answer's chunks, then the end": _tells(lambda text: _ok(b"transfer-encoding: chunked\r\n", text), closes=True),
}


def _written() -> Iterator[Case]:
    """Yield the cases of `cases.txt`."""
    kind = ""
    for line in (Path(__file__).parent / "cases.txt").read_text(encoding="ascii").splitlines():
        if line.startswith("["):
            kind = line.strip("[]")
        elif line and not line.startswith("#"):
            text = b"" if line == "(nothing)" else line.encode().decode("unicode_escape").encode("latin-1")
            yield _KINDS[kind](f"{kind}: {line}", text)


def _made(kind: str, texts: dict[str, bytes]) -> Iterator[Case]:
    for name, text in texts.items():
        yield _KINDS[kind](f"{kind}: {name}", text)


def _large() -> Iterator[Case]:
    """Yield cases near a limit, or that could cost memory."""
    fields = {
        f"{count} fields": b"\r\n".join(b"x%d: 1" % at for at in range(count - 1)) for count in (99, 100, 101, 200)
    }
    sizes = (8000, 61_000, 61_350, 62_000, 70_000, 79_800, 81_900, 82_000, 130_000, 300_000)
    fields |= {f"{size} bytes": b"x: " + b"a" * size for size in sizes}
    fields |= {
        f"{size} kB in fields": b"\r\n".join(b"x%d: " % at + b"a" * 990 for at in range(size)) for size in (50, 70, 85)
    }
    fields |= {"a thousand folds": b"x: 1" + b"\r\n 2" * 1000, "a name of 1000 bytes": b"x" * 1000 + b": 1"}
    yield from _made("field", fields)
    yield from _made("answer's field", fields)
    yield from _made("target", {f"{size} bytes": b"/" + b"a" * size for size in (8000, 61_350, 62_000, 70_000)})
    yield from _made("method", {f"{size} bytes": b"A" * size for size in (1000, 100_000)})
    yield from _made("status line", {"5000 bytes": b"HTTP/1.1 200 " + b"a" * 5000})
    chunks = {
        f"extension of {size} bytes": b"3;" + b"a" * size + b"\r\nabc\r\n0\r\n\r\n" for size in (3000, 20_000, 300_000)
    }
    chunks |= {
        f"trailer of {size} bytes": b"0\r\nx: " + b"a" * size + b"\r\n\r\n"
        for size in (9000, 61_000, 62_000, 81_000, 83_000)
    }
    chunks |= {"101 trailers": b"0\r\n" + b"x: 1\r\n" * 101 + b"\r\n", "5000 zeros": b"0" * 5000 + b"\r\n\r\n"}
    chunks |= {"100 kB after a chunk": b"1\r\na" + b"b" * 100_000 + b"\r\n0\r\n\r\n"}
    yield from _made("chunks", chunks)
    yield from _made("answer's chunks", chunks)
    requests = {f"unfinished, {size} bytes": b"GET / HTTP/1.1\r\nx: " + b"a" * size for size in (60_000, 90_000)}
    requests |= {
        "a large body": _post(b"content-length: 300000\r\n", b"a" * 300_000),
        "empty lines": b"\r\n" * 50_000 + _GET,
    }
    yield from _made("request", requests)
    answers = {f"unfinished, {size} bytes": b"HTTP/1.1 200 OK\r\nx: " + b"a" * size for size in (70_000, 130_000)}
    answers |= {"a large body": _ok(b"content-length: 300000\r\n", b"a" * 300_000)}
    answers |= {
        f"a thousand of {status}": b"HTTP/1.1 %d Wait\r\nlink: </a>\r\n\r\n" % status * 1000 + OK
        for status in (100, 103)
    }
    yield from _made("answer", answers)


def _bytes() -> Iterator[Case]:
    """Yield every byte but letters and digits, in places where bytes may be invalid."""
    for kind, around in (
        ("host", b"host: a%bb\r\n"),
        ("field", b"x%by: 1"),
        ("field", b"x: 1%b2"),
        ("method", b"GET%b"),
        ("chunks", b"3%bx\r\nabc\r\n0\r\n\r\n"),
        ("status line", b"HTTP/1.1 200 a%bb"),
        ("answer's field", b"x%by: 1"),
        ("answer's field", b"x: 1%b2"),
    ):
        yield from _made(kind, {repr(around % each): around % each for each in _NOT_ALNUM})


def _piecemeal() -> Iterator[Case]:
    """Yield messages in pieces, and early answers."""
    for name, request in {
        "plain": _GET,
        "bare LF": b"GET / HTTP/1.1\nhost: a\nx: 1\n 2\n\n",
        "chunks": _chunked(b"3 \r\nabc\r\n2;x\r\nde\r\n0\r\nt: 1\r\n\r\n"),
    }.items():
        yield Case(f"in single bytes: {name}", tuple(request[at : at + 1] for at in range(len(request))))
    yield Case("a body in pieces", (_post(b"content-length: 6\r\n", b""), b"abc", b"def"))
    yield Case("empty lines between two", (_GET, b"\r\n\r\n" + _GET))
    yield Case("empty lines after a body", (_post(b"content-length: 1\r\n", b"a\r\n"), _GET))
    yield Case("early answer, then the end", (_post(b"content-length: 90\r\n", b"abc"),), OK, closes=True)
    yield Case(
        "folded answer to HEAD", (b"HEAD / HTTP/1.1\nhost: a\n\n",), b"HTTP/1.1 200 OK\nx: 1\n 2\ncontent-length: 2\n\n"
    )
    yield Case("until close to close", (_get(fields=b"host: a\r\nconnection: close\r\n"),), _ok(b""), closes=True)


def named(cases: Iterable[Case]) -> dict[str, Case]:
    """Return the cases by name; two of one name are a mistake in the tables."""
    found: dict[str, Case] = {}
    for case in cases:
        assert case.name not in found, case.name
        found[case.name] = case
    return found


CASES: tuple[Case, ...] = (*_written(), *_large(), *_bytes(), *_piecemeal())
