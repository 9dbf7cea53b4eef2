"""Cases about `Expect`: which side consents to a body, and what happens to one that is never sent."""

from lanes import OK, Case

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_REFUSAL = b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n"


def _head(expectation: bytes, framing: bytes = b"content-length: 5\r\n", method: bytes = b"POST") -> bytes:
    return method + b" / HTTP/1.1\r\nhost: a\r\nexpect: " + expectation + b"\r\n" + framing + b"\r\n"


def _cases(word: bytes) -> tuple[Case, ...]:
    head, name = _head(word), f"expect {word!r}"
    chunks = _head(word, b"transfer-encoding: chunked\r\n")
    return (
        Case(f"{name}: body, 100", (head, b"hello"), _CONTINUE + OK),
        Case(f"{name}: body, no 100", (head, b"hello")),
        Case(f"{name}: body, 100 and then refused", (head, b"hello"), _CONTINUE + _REFUSAL),
        Case(f"{name}: body, 100 twice", (head, b"hello"), _CONTINUE * 2 + OK),
        Case(f"{name}: body, 100 with a field", (head, b"hello"), _CONTINUE[:-2] + b"x: 1\r\n\r\n" + OK),
        Case(f"{name}: body at once", (head + b"hello",), _CONTINUE + OK),
        Case(f"{name}: two in a row", (head + b"hello" + head + b"world",), _CONTINUE + OK),
        Case(f"{name}: chunks, 100", (chunks, b"5\r\nhello\r\n0\r\n\r\n"), _CONTINUE + OK),
        Case(f"{name}: no body, refused", (head,), _REFUSAL),
        Case(f"{name}: no body, answered", (head,)),
        Case(f"{name}: no body, answered and closed", (head,), OK, closes=True),
        Case(f"{name}: no body, only 100", (head,), _CONTINUE),
        Case(f"{name}: no chunks, refused", (chunks,), _REFUSAL),
        Case(f"{name}: GET without a body", (_head(word, b"", b"GET"),), _CONTINUE + OK),
        Case(f"{name}: an empty body", (_head(word, b"content-length: 0\r\n"),), _CONTINUE + OK),
    )


EXPECTATIONS: tuple[Case, ...] = tuple(
    case for word in (b"100-continue", b"100-Continue", b"200-ok", b"100-continue, x", b"") for case in _cases(word)
)
