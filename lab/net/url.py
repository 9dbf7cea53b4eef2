"""URLs as Go's net/url reads and writes them, where that is what a probe depends on; pure.

urllib.parse does the splitting; where it is kinder or stricter than Go, it is corrected here. It is imported when it is
needed: most paths are plain. Sources: Go's net/url (`Parse`, `EscapedPath`), kubernetes pkg/probe/http (`formatURL`).
"""

import re
from typing import TYPE_CHECKING, NamedTuple

from sidelab.lab.net.http_head import AnswerError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_PLAIN = re.compile(r"/(?!/)[-\w.~/]*(?:\?[-\w.~/=&]*)?", re.ASCII)
# Compiled when they are needed, which is seldom.
_ENCODED = r"[-\w.~/!$&'()*+,;=:@\[\]%]*"
_BAD_ESCAPE = r"%(?![0-9A-Fa-f]{2})"
_CONTROL = r"[\x00-\x1f\x7f]"
_ESCAPED_SAFE = "$&+,/:;=@"
_PORTS = {"http": 80, "https": 443}


class Url(NamedTuple):
    """What is asked for; `target` is path and query as they stand in the request line."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def netloc(self) -> str:
        """Host and port."""
        return netloc(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def netloc(host: str, port: int) -> str:
    """Return host and port as one word, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target_of(path: str) -> str:
    """Return the request target for a probe's `path`, as the kubelet builds it: a slash in front, escaped if need be.

    What is not a URL is a path as it stands. Raises `AnswerError` for what leaves no host to ask, such as `mailto:x`.
    """
    if _PLAIN.fullmatch(path):
        return path
    parts = _split(path)
    if parts is None:
        return _rooted(_escaped(path.encode(errors="surrogateescape")))
    if parts.scheme and not parts.netloc and not parts.path.startswith("/"):
        raise AnswerError(f"{path!r:.200} as a path leaves no host to ask")
    return _target(parts)


def redirected(url: Url, location: str) -> Url | None:
    """Return where `location` leads from `url`, None for another host. Raises `AnswerError` for what is not a URL."""
    from urllib.parse import urljoin, urlsplit  # noqa: PLC0415  # see above

    parts = _split(location)
    if parts is None:
        raise AnswerError(f"it redirects to {location!r:.200}, which is not a URL")
    if not parts.scheme and not parts.netloc:
        return url._replace(target=_target(urlsplit(urljoin(f"http://host{url.target}", location))))
    if parts.hostname != url.host.lower():
        return None
    scheme = parts.scheme or url.scheme
    if scheme not in _PORTS:
        raise AnswerError(f"it redirects to {location!r:.200}, which is not a URL of HTTP")
    return Url(scheme, url.host, parts.port or _PORTS[scheme], _target(parts))


def is_relative(location: str) -> bool:
    """Return whether it has no scheme: then a request keeps its Host field (Go's `Client.do`)."""
    return not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location)


def _split(text: str) -> "SplitResult | None":
    from urllib.parse import urlsplit  # noqa: PLC0415  # see above

    place = text.partition("?")[0]
    if (
        re.search(_CONTROL, text)
        or re.search(_BAD_ESCAPE, place)
        or (is_relative(text) and ":" in place.partition("/")[0])
    ):
        return None
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # it is read where it is asked for
    except ValueError:
        return None
    return parts


def _target(parts: "SplitResult") -> str:
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415  # see above

    path = parts.path
    if not re.fullmatch(_ENCODED, path, re.ASCII):
        path = _escaped(unquote_to_bytes(path.encode(errors="surrogateescape")))
    return _rooted(path) + (f"?{parts.query}" if parts.query else "")


def _rooted(path: str) -> str:
    return path if path.startswith("/") else f"/{path}"


def _escaped(path: bytes) -> str:
    from urllib.parse import quote  # noqa: PLC0415  # see above

    return quote(path, safe=_ESCAPED_SAFE)
