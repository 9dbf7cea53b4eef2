"""What a connection speaks, from its first bytes: HTTP, or anything else.

Anything else passes as bytes, TLS among it; so does a client that says nothing for a while, because then it may be the
server's turn to speak first.
"""

import re
from collections.abc import Callable

from sidelab.sidecar.proxy.http.header_fields import METHODS
from sidelab.sidecar.proxy.http.message_body import TOKEN
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.io.stream_interface import Receiver, Wire

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
"""How a client that takes HTTP/2 for granted begins (RFC 9113 §3.4); six more bytes follow."""

# HTTP is whatever begins with a word and ends as a request line does, and a known method with a target, however
# malformed it is. Other protocols have no such line, a server may be kinder than HTTP is, and as bytes it would pass by
# all that is decided by request. Envoy's http_inspector lets some of it pass as bytes.
_GAP = rb"[ \t\r\v\f]"
_REQUEST_LINE = re.compile(rb"%b%b[^\n]*?\bHTTP/\d\.\d[^\x21-\x7e\n]*\n" % (TOKEN, _GAP))
_TARGETED = re.compile(rb"(?:%b)%b+(?:/|(?i:https?)://)" % (b"|".join(METHODS), _GAP))
_LONG = re.compile(rb"%b%b+(?:/|\*|[A-Za-z]++://)" % (TOKEN, _GAP))
"""What more than `_UNDECIDED_BYTES` without the end of a line have to begin with."""

_METHOD = re.compile(rb"(?:%b)%b" % (b"|".join(METHODS), _GAP))
_UNDECIDED = re.compile(rb"(?:%b(?:%b[^\n]*+)?)?" % (TOKEN, _GAP))
_UNDECIDED_BYTES = 8192


def speaks_http(data: bytes) -> bool | None:
    """Return whether a connection that begins with `data` speaks HTTP; None: more is needed to tell."""
    text = data.lstrip(b"\r\n \t")
    if _TARGETED.match(text):
        return True
    if b"\n" in text:
        return _REQUEST_LINE.match(text) is not None
    if not _UNDECIDED.fullmatch(text):
        return False
    return None if len(data) <= _UNDECIDED_BYTES else _LONG.match(text) is not None


def begins_http(data: bytes) -> bool:
    """Return whether a connection that says no more than `data` for a while is about to say a request line."""
    text = data.lstrip(b"\r\n \t")
    return bool(text) and (_METHOD.match(text) is not None or any(each.startswith(text) for each in METHODS))


class Detection:
    """The receiver of a connection until it is known: then `http` or `tcp` returns the receiver that goes on.

    A client whose connections keep too much already is cut off.
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
        """Take the first bytes."""
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
        """Take the client's FIN: what it said is no whole line, but a server that reads bytes may still answer."""
        self._deadlines.met(self)
        receiver = self._become(self._http() if _TARGETED.match(self._data) else self._tcp())
        if receiver is not None:
            receiver.ended()

    def drained(self) -> None:
        """Nothing was written that could be."""

    def lost(self, _error: OSError) -> None:
        """Take note that the client is gone."""
        self._let_go()
        self._deadlines.met(self)

    def late(self) -> None:
        """Take the connection for one whose server speaks first, unless a request has begun and is slow to come."""
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
