"""Decides from a connection's first bytes whether it speaks HTTP or something else.

Anything else, TLS included, is forwarded as bytes; so is a connection whose client sends nothing for a while, because
the server may be the one that speaks first.
"""

import re
from collections.abc import Callable

from sidelab.sidecar.proxy.http.header_fields import METHODS
from sidelab.sidecar.proxy.http.message_body import TOKEN
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.io.stream_interface import Receiver, Wire

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""The first bytes of a client that uses HTTP/2 with prior knowledge (RFC 9113 §3.4); six more bytes follow."""

# A line counts as HTTP if it begins with a word and ends like a request line, or if it begins with a known method and
# a target, however malformed. Other protocols have no such line; a lenient server might accept it, and as bytes it
# would bypass every per-request decision. Envoy's http_inspector lets some of it pass as bytes.
_GAP = rb"[ \t\r\v\f]"
_REQUEST_LINE = re.compile(rb"%b%b[^\n]*?\bHTTP/\d\.\d[^\x21-\x7e\n]*\n" % (TOKEN, _GAP))
_TARGETED = re.compile(rb"(?:%b)%b+(?:/|(?i:https?)://)" % (b"|".join(METHODS), _GAP))
_LONG = re.compile(rb"%b%b+(?:/|\*|[A-Za-z]++://)" % (TOKEN, _GAP))
"""More than `_UNDECIDED_BYTES` without the end of a line count as HTTP only if they begin like this."""

_METHOD = re.compile(rb"(?:%b)%b" % (b"|".join(METHODS), _GAP))
_UNDECIDED = re.compile(rb"(?:%b(?:%b[^\n]*+)?)?" % (TOKEN, _GAP))
_UNDECIDED_BYTES = 8192


def speaks_http(data: bytes) -> bool | None:
    """Return whether a connection that begins with `data` speaks HTTP; None if more is needed to decide."""
    text = data.lstrip(b"\r\n \t")
    if _TARGETED.match(text):
        return True
    if b"\n" in text:
        return _REQUEST_LINE.match(text) is not None
    if not _UNDECIDED.fullmatch(text):
        return False
    return None if len(data) <= _UNDECIDED_BYTES else _LONG.match(text) is not None


def begins_http(data: bytes) -> bool:
    """Return whether `data`, after which nothing came for a while, may be the beginning of a request line."""
    text = data.lstrip(b"\r\n \t")
    return bool(text) and (_METHOD.match(text) is not None or any(each.startswith(text) for each in METHODS))


class Detection:
    """The receiver of a connection until its protocol is known: then `http` or `tcp` returns the next receiver.

    The connection is aborted if its client's connections keep too much already.
    """

    __slots__ = ("_data", "_deadlines", "_held", "_http", "_tcp", "_wire")
    divisible = False
    idle = True

    def __init__(
        self, wire: Wire, deadlines: Deadlines, http: Callable[[], Receiver], tcp: Callable[[], Receiver | None]
    ) -> None:
        self._wire = wire
        self._deadlines = deadlines
        self._http = http
        self._tcp = tcp
        self._data = b""
        self._held = 0
        deadlines.begin(self)

    def received(self, data: bytes) -> None:
        """Handle the first bytes."""
        self._data = data = self._data + data if self._data else data
        found = speaks_http(data)
        if found is not None:
            self._deadlines.met(self)
            self._become(self._http() if found else self._tcp())
            return
        share = self._wire.share
        share.add(len(data) - self._held)
        self._held = len(data)
        if len(data) > SMALL_BYTES and not share.has_room(0):
            self._wire.abort()
            self.lost(ConnectionAbortedError())

    def ended(self) -> None:
        """Handle the client's FIN: it sent less than a line, but a server that reads bytes may still answer."""
        self._deadlines.met(self)
        receiver = self._become(self._http() if _TARGETED.match(self._data) else self._tcp())
        if receiver is not None:
            receiver.ended()

    def drained(self) -> None:
        """Do nothing: nothing has been written."""

    def lost(self, _error: OSError) -> None:
        """Handle the loss of the client's connection."""
        self._let_go()
        self._deadlines.met(self)

    def late(self) -> None:
        """Assume that the server speaks first, unless a request has begun to arrive and is just slow."""
        self._become(self._http() if begins_http(self._data) else self._tcp())

    def _let_go(self) -> None:
        if self._held:
            self._wire.share.add(-self._held)
            self._held = 0

    def _become(self, receiver: Receiver | None) -> Receiver | None:
        self._let_go()
        if receiver is not None:
            self._wire.redirect(receiver)
            if self._data:
                receiver.received(self._data)
        return receiver
