r"""A request's path in its normal form, so that what is decided by it holds for what the application makes of it. Pure.

It is what Envoy makes of it with `normalize_path`, which istiod sets by default (meshConfig.pathNormalization BASE):
dot segments are resolved (RFC 3986 §5.2.4), those written with `%2e` or with path parameters (`..;x`) too; `\` is `/`;
bytes that need no escape have none, and those that need one get it. Several slashes in a row stay, `%2f` and `%5c` too,
and the query is not looked at.
"""

import re

from sidecar.proxy.body import BadMessageError

_PLAIN = b"!$&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~"
"""What may stand in a normal form; `%` may too, but is looked at."""

_ESCAPED = {bytes((byte,)): b"%%%02X" % byte for byte in b'"<>^`{|}'}
_PERCENTS = re.compile(rb"(?:%[0-9A-Fa-f]{2})+|(?:%(?![0-9A-Fa-f]{2}))+")
"""Runs of escapes, and of percent signs that begin none: a client may send tens of thousands."""

_UNRESERVED = frozenset(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")
_HEX = "0123456789abcdefABCDEF"
_READ = {
    (high + low).encode(): bytes((byte,)) if (byte := int(high + low, 16)) in _UNRESERVED else f"%{high}{low}".encode()
    for high in _HEX
    for low in _HEX
}
"""What is written in an escape's stead, by its digits."""

_LONE_PERCENT = b"\0"
"""Stands for a `%` that begins no escape, while it is open whether it would begin one in the result."""

_MADE_ESCAPE = re.compile(rb"\0(?=[0-9A-Fa-f]{2})")
_PARAMETERS = re.compile(rb"(/\.\.?);[^/]*+")
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
    if b";" in path:
        path = _PARAMETERS.sub(rb"\1", path)
    if b"%00" in path:
        raise BadMessageError(400, "the path has an escaped NUL", "path_normalization_failed")
    path = _PERCENTS.sub(_read, path.replace(b"\\", b"/"))
    for byte, escape in _ESCAPED.items():
        path = path.replace(byte, escape)
    if _LONE_PERCENT in path:
        path = _MADE_ESCAPE.sub(b"%25", path).replace(_LONE_PERCENT, b"%")
    if b"/." in path:
        path = _without_dots(path)
    return path + mark + query


def _read(found: re.Match[bytes]) -> bytes:
    """Return what is written instead of a run of escapes, or of percent signs that begin none."""
    run = found[0]
    if len(run) == 3:  # as most are, and may be many: one escape, or "%%%"
        return _READ.get(run[1:], _LONE_PERCENT * 3)
    _, *digits = run.split(b"%")
    return b"".join(map(_READ.__getitem__, digits)) if digits[0] else _LONE_PERCENT * len(digits)


def _without_dots(path: bytes) -> bytes:
    """Return `path` with its segments `.` and `..` resolved; the last one leaves the slash before it."""
    done: list[bytes] = []
    _, *segments = path.split(b"/")
    last = len(segments) - 1
    for at, segment in enumerate(segments):
        if segment not in (b".", b".."):
            done.append(segment)
            continue
        if segment == b".." and done:
            done.pop()
        if at == last:
            done.append(b"")
    return b"/" + b"/".join(done)
