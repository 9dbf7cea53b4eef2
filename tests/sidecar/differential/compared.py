"""What two proxies did, in a comparable form: the messages at both ends, and whether the connection was kept.

Left out or made equal, because it is not what is compared, or has no meaning:

- names of fields in lower case (Envoy writes them so, the bundled proxy as they came; RFC 9110 §5.1), `host` first,
  `transfer-encoding` and the proxy's own last, values of one name joined at its first place (RFC 9110 §5.3);
- how a body is cut into chunks: a body is its bytes, and how its end is found;
- `x-forwarded-proto` upstream and `date` downstream where a proxy added them; the milliseconds of
  `x-envoy-upstream-service-time`;
- the reason phrase, which Envoy writes anew;
- the text of a proxy's own answer: its status is what counts.
"""

import re
from dataclasses import dataclass

from lanes import Case, Seen

_HEAD = re.compile(rb"([^\r\n]*)\r\n((?:[^\r\n:]+:[^\r\n]*\r\n)*)\r\n")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})\r\n")
_TIME = b"x-envoy-upstream-service-time"
_RANKS = {b"host": 0, b"transfer-encoding": 2, b"server": 3, _TIME: 4}
_NOW = re.compile(rb"\w{3}, \d\d \w{3} 20(?:2[5-9]|[3-9]\d) \d\d:\d\d:\d\d GMT")


@dataclass(frozen=True)
class Message:
    """A request or a response: its start line, its fields in their order, and its body.

    `framing` is how the body's end is found: by `length`, `chunks` or `close`, or `none` without a body; `whole` means
    that the end was there, `own` that it is an answer of the proxy's own.
    """

    start: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    framing: str
    body: bytes
    whole: bool = True
    own: bool = False


@dataclass(frozen=True)
class Behaviour:
    """What a proxy did with a case; `stray` are bytes that do not belong to a message."""

    answers: tuple[Message, ...]
    requests: tuple[tuple[Message, ...], ...]
    kept: bool
    stray: tuple[bytes, ...] = ()


def behaviour(case: Case, seen: Seen) -> Behaviour:
    """Return what was seen, in the comparable form."""
    stray: list[bytes] = []
    answers = _messages(seen.client, stray, request=False)
    requests = tuple(_messages(each, stray, request=True) for each in seen.server if each)
    return Behaviour(answers, requests, seen.kept, tuple(stray))


def _messages(data: bytes, stray: list[bytes], *, request: bool) -> tuple[Message, ...]:
    found = []
    while data:
        message, data = _message(data, request=request)
        if message is None:
            stray.append(data)
            break
        found.append(message)
    return tuple(found)


def _message(data: bytes, *, request: bool) -> tuple[Message | None, bytes]:
    match = _HEAD.match(data)
    if match is None:
        return None, data
    fields = [
        (name.lower(), value.strip(b" \t"))
        for name, _, value in (line.partition(b":") for line in match[2].split(b"\r\n") if line)
    ]
    known = dict(fields)
    start = match[1] if request else b" ".join(match[1].split(b" ", 2)[:2])
    rest = data[match.end() :]
    framing, body, whole, rest = _body(known, rest, start, request=request)
    own = not request and _TIME not in known and (not body or known.get(b"content-type") == b"text/plain")
    own = own and not start.startswith(b"HTTP/1.1 1")
    if own:
        return Message(start, (), "", b"", own=True), rest
    return Message(start, _normal(fields, request=request), framing, body, whole), rest


def _body(known: dict[bytes, bytes], rest: bytes, start: bytes, *, request: bool) -> tuple[str, bytes, bool, bytes]:
    """Return framing, body, whether it is whole, and what follows it."""
    bodiless = not request and (rest.startswith(b"HTTP/1.1 ") or not rest)
    if b"transfer-encoding" in known:
        if bodiless:
            return "chunks", b"", False, rest
        return ("chunks", *_chunks(rest))
    if b"content-length" in known and known[b"content-length"].isdigit():
        length = int(known[b"content-length"])
        if bodiless:
            return "length", b"", length == 0, rest
        return "length", rest[:length], len(rest) >= length, rest[length:]
    if request or re.match(rb"HTTP/1.1 (?:1..|204|304)", start):
        return "none", b"", True, rest
    return "close", rest, True, b""


def _chunks(rest: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while (match := _CHUNK.match(rest)) is not None:
        size = int(match[1], 16)
        data = rest[match.end() :]
        if size == 0:
            return body, data.startswith(b"\r\n"), data[2:]
        body += data[:size]
        rest = data[size:]
        if not rest.startswith(b"\r\n"):
            break
        rest = rest[2:]
    return body, False, b""


def _normal(fields: list[tuple[bytes, bytes]], *, request: bool) -> tuple[tuple[bytes, bytes], ...]:
    joined: dict[bytes, bytes] = {}
    for name, value in fields:
        comma = b"\n" if name == b"set-cookie" else b","
        joined[name] = joined[name] + comma + value if name in joined else value
    if _TIME in joined:
        joined[_TIME] = b"N"
    if request and joined.get(b"x-forwarded-proto") == b"http":
        del joined[b"x-forwarded-proto"]
    if not request and _NOW.fullmatch(joined.get(b"date", b"")):
        del joined[b"date"]
    # Python's sort is stable, so fields of the same rank keep their order.
    return tuple(sorted(joined.items(), key=lambda item: _RANKS.get(item[0], 1)))
