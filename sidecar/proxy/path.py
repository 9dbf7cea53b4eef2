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

_REWRITTEN = re.compile(rb'%([0-9A-Fa-f]{2})|[%"<>^`{|}]')
_UNRESERVED = frozenset(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~")
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
    path = _REWRITTEN.sub(_written, path.replace(b"\\", b"/"))
    if _LONE_PERCENT in path:
        path = _MADE_ESCAPE.sub(b"%25", path).replace(_LONE_PERCENT, b"%")
    if b"/." in path:
        path = _without_dots(path)
    return path + mark + query


def _written(found: re.Match[bytes]) -> bytes:
    """Return an escape, or a byte that has to be one, as it is to be written."""
    digits = found[1]
    if digits is None:
        return _LONE_PERCENT if found[0] == b"%" else b"%%%02X" % ord(found[0])
    byte = int(digits, 16)
    if not byte:
        raise BadMessageError(400, "the path has an escaped NUL", "path_normalization_failed")
    return bytes((byte,)) if byte in _UNRESERVED else found[0]


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
