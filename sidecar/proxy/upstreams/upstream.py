"""The upstream end of HTTP exchanges: a connection to a host, and its responses.

Knows how a response is framed; the exchange decides what to do with it.
"""

import errno
from typing import Protocol

from sidelab.sidecar.proxy.http.message import ResponseHead, parse_response
from sidelab.sidecar.proxy.http.message_body import (
    BadMessageError,
    ChunkedBody,
    EndlessBody,
    MessageBody,
    body_of,
    forwarded,
)
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.io.stream_interface import Wire
from sidelab.sidecar.proxy.stats.proxy_counters import ClusterCounters
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings

SWITCHING_PROTOCOLS = 101
_PASSED_ON = (100, 102, 103, 104)
"""The interim responses that Envoy forwards; of those to one request, only the first is."""


class Requester(Protocol):
    """The sender of a request, to which an upstream connection reports; one request at a time."""

    def request_complete(self) -> bool:
        """Whether the whole request was sent; if it was not when the response ends, the connection is closed."""

    def responded(self, head: ResponseHead, body: bytes, *, complete: bool) -> None:
        """Handle a response's head and the first bytes of its body; `complete` if that is all of it.

        Called for interim responses (status below 200) too; another head follows them.
        """

    def continued(self, body: bytes, *, complete: bool) -> None:
        """Handle more of the body, which may be only its end."""

    def request_drained(self) -> None:
        """Go on sending the request: the write buffer is empty again."""

    def switched(self, head: ResponseHead, wire: Wire, data: bytes) -> None:
        """Take over the connection, which has switched protocols; `data` is the first of the new protocol."""

    def broke_off(self, error: Exception, *, connecting: bool, unheard: bool) -> None:
        """Handle the failure of the connection: no (further) response comes.

        `connecting`: the destination was never reached. `unheard`: the connection had been used before and not a byte
        came back, so the server probably closed it before the request arrived.
        """


class UpstreamOwner(Protocol):
    """The host that owns a connection and lends it to one requester after the other."""

    active: int
    errors: int

    @property
    def counters(self) -> ClusterCounters:
        """The counters of its cluster."""

    @property
    def settings(self) -> ClusterSettings:
        """The settings of its cluster."""

    def put(self, upstream: "Upstream") -> None:
        """Keep a connection that is ready for another request."""

    def forget(self, upstream: "Upstream") -> None:
        """Remove an idle connection that has ended or sent something unasked."""

    def unreachable(self, error: OSError) -> None:
        """Count a failed connection attempt."""


class Upstream:
    """The receiver of one upstream connection, used by one exchange after the other."""

    __slots__ = (
        "_body",
        "_buffer",
        "_close",
        "_exchange",
        "_held",
        "_interim",
        "_last",
        "_method",
        "_reused",
        "host",
        "sweeps",
        "wire",
    )

    idle = False

    def __init__(self, host: UpstreamOwner, wire: Wire) -> None:
        self._exchange: Requester | None = None
        self._method = b""
        self._buffer = b""
        self._held = 0
        self._last: tuple[bytes, ResponseHead] | None = None
        self._body: MessageBody | None = None
        self._interim = False
        self._reused = False
        self._close = False
        self.host = host
        self.sweeps = 0
        self.wire = wire

    @property
    def divisible(self) -> bool:
        """Whether a chunked body or a series of interim responses is being read."""
        return isinstance(self._body, ChunkedBody) or self._interim

    def request(self, exchange: Requester, method: bytes, data: bytes) -> bool:
        """Begin an exchange by sending `data`; returns what `Wire.write` returns."""
        self._exchange = exchange
        self._method = method
        self.host.active += 1
        return self.wire.write(data)

    def abandon(self) -> None:
        """End the exchange without its response, and reset the connection."""
        self._keep(b"")
        self._exchange = None
        self.host.active -= 1
        self.wire.abort()

    def received(self, data: bytes) -> None:
        """Handle bytes of a response."""
        exchange = self._exchange
        if exchange is None:
            # There is no request: this must not become the response to the next one.
            self._retire()
        elif self._body is None:
            self._read_head(exchange, self._buffer + data if self._buffer else data)
        else:
            self._read_body(exchange, self._body, data)

    def ended(self) -> None:
        """Handle the server's FIN: it ends an idle connection or an endless body, and anything else is a failure."""
        exchange = self._exchange
        if exchange is None:
            self._retire()
        elif isinstance(self._body, EndlessBody):
            self._exchange = None
            self.host.active -= 1
            self.wire.close()
            exchange.continued(self._body.end, complete=True)
        elif self._body is not None or self._buffer:
            self._break_off(BadMessageError(502, "closed within a response"))
        else:
            self._break_off(ConnectionResetError(errno.ECONNRESET, "closed before the response was complete"))

    def drained(self) -> None:
        """Tell the requester that it can go on sending."""
        if self._exchange is not None:
            self._exchange.request_drained()

    def lost(self, error: OSError) -> None:
        """Handle the failure of the connection."""
        if self.wire.connecting:
            self.host.unreachable(error)
        if self._exchange is None:
            self.host.forget(self)
        else:
            self._break_off(error)

    def _read_head(self, exchange: Requester, data: bytes) -> None:
        try:
            head = self._parse(data)
            while head is not None and head.status < 200:
                data = data[head.size :]
                if head.status == SWITCHING_PROTOCOLS:
                    self._keep(b"")
                    self._exchange = None
                    self.host.active -= 1
                    exchange.switched(head, self.wire, data)
                    return
                self._reused = False
                if head.status in _PASSED_ON and not self._interim:
                    self._interim = True
                    exchange.responded(head, b"", complete=False)
                head = self._parse(data) if data else None
            if head is None:
                self._keep(data)
                return
            if self._buffer:
                self._keep(b"")
            self._interim = False
            self._close = head.close
            rest = data[head.size :]
            if head.length == len(rest):
                # The response arrived in one piece, as most do.
                self._finish(exchange, reusable=not head.close)
                exchange.responded(head, rest, complete=True)
                return
        except BadMessageError as error:
            self._break_off(error)
            return
        body = self._body = body_of(head.length, 502)
        try:
            taken = body.feed(rest)
        except BadMessageError as error:
            exchange.responded(head, error.before, complete=False)
            self._break_off(error)
            return
        if body.done:
            self._finish(exchange, reusable=not head.close and taken == len(rest))
        exchange.responded(head, forwarded(body, rest, taken), complete=body.done)

    def _parse(self, data: bytes) -> ResponseHead | None:
        """Return the head that `data` begins with; it is not parsed again if it is the same as last time."""
        last = self._last
        if last is not None and last[0] == self._method and data.startswith(last[1].raw):
            return last[1]
        settings = self.host.settings
        head = parse_response(data, settings.limits, self._method, own_server=settings.own_server)
        if head is not None:
            self._last = (self._method, head) if head.size <= SMALL_BYTES else None
        return head

    def _keep(self, begun: bytes) -> None:
        """Keep the beginning of a head; raises `BadMessageError` if the client's share has no room for it."""
        share = self.wire.share
        share.add(len(begun) - self._held)
        self._buffer, self._held = begun, len(begun)
        if len(begun) > SMALL_BYTES and not share.has_room(0):
            raise BadMessageError(502, "this client's connections keep too much already")

    def _read_body(self, exchange: Requester, body: MessageBody, data: bytes) -> None:
        try:
            taken = body.feed(data)
        except BadMessageError as error:
            exchange.continued(error.before, complete=False)
            self._break_off(error)
            return
        if body.done:
            self._finish(exchange, reusable=not self._close and taken == len(data))
        exchange.continued(forwarded(body, data, taken), complete=body.done)

    def _finish(self, exchange: Requester, *, reusable: bool) -> None:
        """End the exchange, before its last bytes are handed over so that the next request finds the connection."""
        self._exchange = None
        self._body = None
        self.host.active -= 1
        if reusable and exchange.request_complete():
            self._reused = True
            self.host.put(self)
        else:
            self.wire.close()

    def _break_off(self, error: Exception) -> None:
        exchange, self._exchange = self._exchange, None
        host = self.host
        if isinstance(error, BadMessageError):
            host.counters.upstream_cx_protocol_error += 1
        connecting = self.wire.connecting
        unheard = self._reused and self._body is None and not self._buffer
        self._keep(b"")
        self.wire.abort()
        if exchange is not None:
            host.active -= 1
            host.errors += 1
            exchange.broke_off(error, connecting=connecting, unheard=unheard)

    def _retire(self) -> None:
        self.host.forget(self)
        self.wire.close()
