r"""A request's path in its normal form, so that what is decided by it holds for what the application makes of it. Pure.

It is what Envoy makes of it with `normalize_path`, which istiod sets by default (meshConfig.pathNormalization BASE):
dot segments are resolved (RFC 3986 §5.2.4), those written with `%2e` or with path parameters (`..;x`) too; `\` is `/`;
bytes that need no escape have none, and those that need one get it. Several slashes in a row stay, `%2f` and `%5c` too,
and the query is not looked at.
"""

import re

from sidelab.sidecar.proxy.http.message_body import BadMessageError

_PLAIN = b"!$&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~"
"""What may stand in a normal form; `%` may too, but is looked at."""

_ESCAPED = {bytes((byte,)): b"%%%02X" % byte for byte in b'"<>^`{|}'}
_UNRESERVED = frozenset(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")
_HEX = "0123456789abcdefABCDEF"
_LONE_PERCENT = b"\0"
"""Stands for a `%` that begins no escape, while it is open whether it would begin one in the result."""

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
"""What is written instead of a percent sign and what follows it up to the next one, where that is short."""

_MADE_ESCAPE = re.compile(rb"\0(?=[0-9A-Fa-f]{2})")
_PARAMETERS = re.compile(rb";(?:(?<=/\.;)|(?<=/\.\.;))[^/]*+")
"""A dot segment that some application servers recognise only after they have cut off what begins with a semicolon."""


def normal(target: bytes) -> bytes:
    """Return the normal form of `target`, which begins with a slash and may have a query.

    That is its own normal form, unless `target` has escaped dots with path parameters. Raises `BadMessageError` 400 for
    an escaped NUL and for a fragment, as Envoy does.
    """
    # Nearly every target is one already, and this is the fastest way to see it.
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
    """Return `path` with what is written instead of its escapes; a percent sign that begins none is `_LONE_PERCENT`.

    A client may send tens of thousands: what is done for each of them is as little as can be.
    """
    while b"%%" in path:  # twice at most: the first of two in a row never begins one
        path = path.replace(b"%%", _LONE_PERCENT + b"%")
    before, *parts = path.split(b"%")
    read = _READ.get
    return before + b"".join([read(part) or _read_part(part) for part in parts])


def _read_part(part: bytes) -> bytes:
    """Return what is written instead of a percent sign and `part`."""
    digits = part[:2]
    return (_READ.get(digits) or _LONE_PERCENT + digits) + part[2:]


def _without_dots(path: bytes) -> bytes:
    """Return `path` with its segments `.` and `..` resolved; the last one leaves the slash before it."""
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
