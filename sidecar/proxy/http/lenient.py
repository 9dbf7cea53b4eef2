"""Rewrites heads that deviate from RFC 9112, but that Envoy accepts, in their strict form.

Pure. Lines may end in LF alone, fields may be folded, blanks and tabs may separate the words of the first line, and
empty lines may precede a request. A CR within a field's value is dropped; in a field that gives the body's length it
becomes a blank (RFC 9112 §2.2), which is refused. The result has none of that, so the next reader cannot read it
differently. Source: Envoy's HTTP/1 parser (quiche/balsa), measured by `tests/sidecar/differential`.
"""

import re

from sidelab.sidecar.proxy.http.header_fields import METHODS
from sidelab.sidecar.proxy.http.message_body import BadMessageError

_HEAD_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r*\n(?=[ \t])")
_GAPS = re.compile(rb"[ \t\r]+")
_STATUS_LINE = re.compile(rb"(HTTP/\d\.\d)[ \t\r]+([1-9]\d\d)(?:[ \t\r]+([\t\r\x20-\x7e\x80-\xff]*))?")
_METHOD_BEGUN = re.compile(rb"[A-Z]*+(?:[ \t\r]|\Z)")
_TARGET_BEGUN = re.compile(rb"/|https?://[A-Z0-9\[]", re.IGNORECASE)
_VERSION_BEGUN = b"HTTP/"
_FRAMING = (b"content-length", b"transfer-encoding")


def request_head(data: bytes) -> tuple[int, bytes] | None:
    """Return how much of `data` is a request's head, and that head in its strict form; None while it is incomplete.

    Raises `BadMessageError` once it is clear that `data` is not a request: 400, or 426 for one without a version.
    """
    text = data.lstrip(b"\r\n")
    first, newline, _ = text.partition(b"\n")
    if newline:
        first = _request_line(first)
    elif not _METHOD_BEGUN.match(text):
        raise BadMessageError(400, "malformed head")
    return _rewritten(data, text, first)


def response_head(data: bytes) -> tuple[int, bytes] | None:
    """Return how much of `data` is a response's head, and that head in its strict form; None while it is incomplete.

    Raises `BadMessageError` 502 once it is clear that `data` is not a response.
    """
    first, newline, _ = data.partition(b"\n")
    if newline:
        match = _STATUS_LINE.fullmatch(first.rstrip(b"\r"))
        if match is None:
            raise BadMessageError(502, "malformed status line")
        first = b"%b %b %b" % (match[1], match[2], (match[3] or b"").replace(b"\r", b" "))
    elif not data.startswith(_VERSION_BEGUN[: len(data)]):
        raise BadMessageError(502, "not HTTP")
    return _rewritten(data, data, first)


def _request_line(line: bytes) -> bytes:
    words = _GAPS.split(line.rstrip(b" \t\r"))
    if len(words) == 2 and words[0] in METHODS and _TARGET_BEGUN.match(words[1]):
        raise BadMessageError(426, "HTTP/0.9 is not spoken here", "low_version")
    if len(words) != 3:
        raise BadMessageError(400, "malformed request line")
    return b" ".join(words)


def _rewritten(data: bytes, text: bytes, first: bytes) -> tuple[int, bytes] | None:
    """Return the size and the strict form of the head at the start of `text`, which is the end of `data`.

    `first` is its first line in strict form.
    """
    end = _HEAD_END.search(text)
    if end is None:
        return None
    begin = text.find(b"\n") + 1
    lines = _FOLD.sub(b"", text[begin : end.start() + 1]).split(b"\n")
    lines.pop()
    size = len(data) - len(text) + end.end()
    return size, b"\r\n".join((first, *map(_field, lines), b"", b""))


def _field(line: bytes) -> bytes:
    """Return a field's line without CRs and with one blank before its value; a bad name is left, to be refused."""
    name, colon, value = line.partition(b":")
    if not colon:
        return name
    value = value.strip(b" \t\r")
    if b"\r" in value:
        # Without the blank, two numbers would become a third one.
        value = value.replace(b"\r", b" " if name.lower() in _FRAMING else b"")
    return b"%b: %b" % (name, value)
