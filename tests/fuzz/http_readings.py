"""How a reader of HTTP/1.1 reads the bytes of a connection, in a form in which two readers can be compared.

Left out or made equal, because it is not grammar: fields that concern one connection only (their meaning is compared
as `fate` and as the body), and the path's normal form.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field

from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.http.path import normal

WAITING, REFUSED, OVER = "waits for more", "refuses", "reads no more messages"
KEPT, CLOSED, SWITCHED = "kept", "closed", "switched"

_HOP = frozenset(b"connection keep-alive proxy-connection upgrade te host content-length transfer-encoding".split())
_NEEDED = frozenset((b"host", b"content-length", b"transfer-encoding"))
_ABSOLUTE = re.compile(rb"https?://(?:[^/?#]*@)?([^/?#]*)", re.IGNORECASE)

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """A message: `start` is method and target or status and phrase, `host` is its Host.

    `fate` is what happens to the connection after it; `end` is where the next message begins, None if unknown.
    """

    start: tuple[bytes, bytes]
    host: bytes = b""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    fate: str = KEPT
    end: int | None = None


@dataclass
class Reading:
    """The messages that were read, the last of them perhaps without its end; how it ended; and why, if badly."""

    messages: list[Message] = field(default_factory=list)
    state: str = WAITING
    why: str = ""

    def comparable(self) -> tuple[str, list[Message]]:
        """Return what has to be equal: of a message refused in its middle, only that it was refused."""
        whole = [each for each in self.messages if each.end is not None or self.state != REFUSED]
        return self.state, whole


def message(start: tuple[bytes, bytes], found: Fields, fate: str, *, request: bool, forwarded: bool) -> Message:
    """Return a message whose head has been read; the path of a `forwarded` one is normalised already."""
    fields = [(name.lower(), value.strip(b" \t")) for name, value in found]
    left_out: frozenset[bytes] = _HOP
    if request:  # like Envoy, the proxy keeps the fields that Connection names in a response
        listed = b",".join(value for name, value in fields if name == b"connection").lower().split(b",")
        left_out = _HOP.union({each.strip(b" \t") for each in listed} - _NEEDED)
    others = tuple(each for each in fields if each[0] not in left_out)
    method, target = start
    match = _ABSOLUTE.match(target)
    host = match[1] if match else b",".join(value for name, value in fields if name == b"host" and value)
    path = target[match.end() :] if match else target
    if match and path[:1] in (b"", b"?"):
        path = b"/" + path
    with suppress(BadMessageError):
        path = normal(path) if path.startswith(b"/") and not forwarded else path
    return Message((method, path), host, others, b"", fate)
