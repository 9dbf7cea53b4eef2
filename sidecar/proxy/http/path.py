r"""A request's path in normal form, so that decisions based on it hold for the path that the application sees. Pure.

The result equals Envoy's with `normalize_path`, which istiod sets by default (meshConfig.pathNormalization BASE): dot
segments are resolved (RFC 3986 §5.2.4), also those written with `%2e` or with path parameters (`..;x`); `\` becomes
`/`; needless escapes are removed and missing ones added. Several slashes in a row stay, as do `%2f` and `%5c`, and the
query is left alone.
"""

import re

from sidelab.sidecar.proxy.http.message_body import BadMessageError

_PLAIN = b"!$&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~"
"""The bytes that a normal form may contain; `%` may occur too, but has to be examined."""

_ESCAPED = {bytes((byte,)): b"%%%02X" % byte for byte in b'"<>^`{|}'}
_UNRESERVED = frozenset(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")
_HEX = "0123456789abcdefABCDEF"
_LONE_PERCENT = b"\0"
"""Stands for a `%` that begins no escape, until it is known whether it would begin one in the result."""

_READ = {
    b"": _LONE_PERCENT,
    **{bytes((byte,)): _LONE_PERCENT + bytes((byte,)) for byte in range(256)},
    **{
        (high + low).encode(): bytes((byte,))
        if (byte := int(high + low, 16)) in _UNRESERVED
        else f"%{high}{low}".encode()
        for high in _HEX
        for low in _HEX
    },
}
"""The replacements of a percent sign and the text up to the next one, where that text is short."""

_MADE_ESCAPE = re.compile(rb"\0(?=[0-9A-Fa-f]{2})")
_PARAMETERS = re.compile(rb";(?:(?<=/\.;)|(?<=/\.\.;))[^/]*+")
"""Parameters of a dot segment, which some application servers recognise only after removing them."""


def normal(target: bytes) -> bytes:
    """Return the normal form of `target`, which begins with a slash and may have a query.

    Normalising the result again changes nothing, unless `target` has escaped dots with path parameters. Raises
    `BadMessageError` 400 for an escaped NUL and for a fragment, like Envoy.
    """
    # Nearly every target is in normal form already, and this is the fastest way to find out.
    return _rewritten(target) if target.translate(None, _PLAIN) or b"/." in target else target


def _rewritten(target: bytes) -> bytes:
    if b"#" in target:
        raise BadMessageError(400, "a request's target has no fragment", "path_normalization_failed")
    path, mark, query = target.partition(b"?")
    if b";" in path and b"/." in path:
        path = _PARAMETERS.sub(b"", path)
    if b"%00" in path:
        raise BadMessageError(400, "the path has an escaped NUL", "path_normalization_failed")
    path = path.replace(b"\\", b"/")
    if b"%" in path:
        path = _read_escapes(path)
    for byte, escape in _ESCAPED.items():
        path = path.replace(byte, escape)
    if _LONE_PERCENT in path:
        path = _MADE_ESCAPE.sub(b"%25", path).replace(_LONE_PERCENT, b"%")
    if b"/." in path:
        path = _without_dots(path)
    return path + mark + query


def _read_escapes(path: bytes) -> bytes:
    """Return `path` with its escapes replaced; a percent sign that begins none becomes `_LONE_PERCENT`.

    A client may send tens of thousands of escapes, so the work per escape is kept as small as possible.
    """
    while b"%%" in path:  # twice at most: the first of two in a row never begins one
        path = path.replace(b"%%", _LONE_PERCENT + b"%")
    before, *parts = path.split(b"%")
    read = _READ.get
    return before + b"".join([read(part) or _read_part(part) for part in parts])


def _read_part(part: bytes) -> bytes:
    """Return the replacement of a percent sign followed by `part`."""
    digits = part[:2]
    return (_READ.get(digits) or _LONE_PERCENT + digits) + part[2:]


def _without_dots(path: bytes) -> bytes:
    """Return `path` with its segments `.` and `..` resolved; one at the end leaves the slash before it."""
    _, *segments = path.split(b"/")
    if segments[-1] in (b".", b".."):
        segments.append(b"")
    segments = [segment for segment in segments if segment != b"."]
    if b".." in segments:
        done: list[bytes] = []
        for segment in segments:
            if segment != b"..":
                done.append(segment)
            elif done:
                done.pop()
        segments = done
    return b"/" + b"/".join(segments)
