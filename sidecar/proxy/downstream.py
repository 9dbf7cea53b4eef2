"""The downstream end of HTTP exchanges: requests of one captured connection, one after the other, and their answers.

Every request goes to where the connection was going. Bodies pass as they come, in both directions at the speed of
the slower side; heads pass as their bytes, without the fields that concern one hop only.
"""

import enum
import time
from http import HTTPStatus

from sidecar.proxy.counters import HttpCounters
from sidecar.proxy.destination import Destination
from sidecar.proxy.message import UNTIL_CLOSE, BadMessageError, Body, RequestHead, ResponseHead, body_of, parse_request
from sidecar.proxy.pump import Pump
from sidecar.proxy.upstream import Pool, Upstream
from sidecar.proxy.wire import Wire

_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Idempotent methods (RFC 9110 §9.2.2): sent again if a reused connection turns out to be closed."""

_NO_RESPONSE = "upstream connect error or disconnect/reset before headers. reset reason: "
"""Envoy's words, which people search for."""


class State(enum.Enum):
    """What a connection waits for."""

    HEAD = enum.auto()
    BODY = enum.auto()
    RESPONSE = enum.auto()
    NOTHING = enum.auto()


# An enumeration's members are slow to look up in its class, and these are looked up for every piece of data.
_HEAD, _BODY, _RESPONSE, _NOTHING = State


class Gateway:
    """What the HTTP connections of a listener share.

    `server_name` is put into responses as `server`; None leaves the application's. Closing is by `drain`.
    """

    def __init__(self, pool: Pool, counters: HttpCounters, server_name: str | None) -> None:
        self.pool = pool
        self.counters = counters
        self.own_fields = f"server: {server_name}\r\nx-envoy-upstream-service-time: ".encode() if server_name else b""
        self.local_fields = f"server: {server_name}\r\n".encode() if server_name else b""
        self.draining = False
        self.connections: set[Downstream] = set()

    def serve(self, wire: Wire, destination: Destination) -> None:
        """Take a captured connection."""
        connection = Downstream(self, wire, destination)
        self.connections.add(connection)
        wire.start(connection)

    def drain(self) -> None:
        """Close what is idle now and everything else after its response."""
        self.draining = True
        self.pool.close()
        for connection in tuple(self.connections):
            connection.drain()


class Downstream:
    """The receiver of one client's connection, and the exchange that its upstream connections answer to."""

    __slots__ = (
        "_body", "_buffer", "_choked", "_close", "_destination", "_gateway", "_half_closed", "_head", "_last",
        "_paused", "_responding", "_started_s", "_state", "_upstream", "_wire",
    )  # fmt: skip

    def __init__(self, gateway: Gateway, wire: Wire, destination: Destination) -> None:
        self._gateway = gateway
        self._wire = wire
        self._destination = destination
        self._state = _HEAD
        self._buffer = b""
        self._head: RequestHead | None = None
        self._last: RequestHead | None = None
        self._body: Body | None = None
        self._upstream: Upstream | None = None
        self._started_s = 0.0
        self._choked = self._close = self._half_closed = self._paused = self._responding = False

    # What the client does.

    def received(self, data: bytes) -> None:
        """Take bytes of a request."""
        state = self._state
        if state is _HEAD:
            self._begin(self._buffer + data if self._buffer else data)
        elif state is _BODY:
            self._forward_body(data)
        elif state is _RESPONSE:
            # The next request came early. It waits here, and what follows it in the kernel.
            self._buffer += data
            self._pause()

    def ended(self) -> None:
        """Take the client's FIN: a complete request is still answered."""
        if self._state is _RESPONSE:
            self._half_closed = True
        else:
            self._leave()
            self._wire.close()

    def drained(self) -> None:
        """Go on: the client has read what was sent."""
        self._choked = False
        if self._upstream is not None:
            self._upstream.wire.resume()
        elif self._state is _HEAD:
            self._next()

    def lost(self, _error: OSError) -> None:
        """Take the failure of the client's connection."""
        self._leave()

    def drain(self) -> None:
        """Close if no request is being served."""
        if self._state is _HEAD and not self._buffer:
            self._leave()
            self._wire.close()

    # What the upstream connection does.

    def request_complete(self) -> bool:
        """Whether all of the request was passed on."""
        return self._state is _RESPONSE

    def request_drained(self) -> None:
        """Read more of the request."""
        if self._state is _BODY:
            self._resume()

    def responded(self, head: ResponseHead, body: bytes, *, complete: bool) -> None:
        """Pass on a response's head and what came with it."""
        gateway = self._gateway
        if head.status < 200:
            self._wire.write(head.lines + b"\r\n")
            return
        gateway.counters.answered(head.status)
        request = self._head
        self._responding = True
        self._close = (
            head.length == UNTIL_CLOSE
            or gateway.draining
            or (request is not None and request.close)
            or (complete and self._state is _BODY)
        )
        end = b"connection: close\r\n\r\n" if self._close else b"\r\n"
        if gateway.own_fields:
            elapsed_ms = int((time.perf_counter() - self._started_s) * 1000)
            end = b"%b%d\r\n%b" % (gateway.own_fields, elapsed_ms, end)
        self._pass_on(head.lines + end + body, complete=complete)

    def continued(self, body: bytes, *, complete: bool) -> None:
        """Pass on more of a response."""
        self._pass_on(body, complete=complete)

    def _pass_on(self, data: bytes, *, complete: bool) -> None:
        if data and not self._wire.write(data):
            self._choked = True
            if not complete and self._upstream is not None:
                self._upstream.wire.pause()
        if complete:
            self._upstream = None
            self._finish()

    def switched(self, head: ResponseHead, wire: Wire, data: bytes) -> None:
        """Become a byte pump, if the client asked for a WebSocket."""
        self._upstream = None
        if self._head is None or not self._head.websocket:
            wire.abort()
            self._answer(502, _NO_RESPONSE + "protocol error")
            return
        self._gateway.counters.answered(head.status)
        early = self._buffer
        self._leave()
        pump = Pump(self._wire, wire, self._gateway.pool.cluster.unreachable)
        self._wire.redirect(pump.from_downstream)
        wire.redirect(pump.from_upstream)
        pump.from_upstream.received(head.lines + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n" + data)
        self._resume()
        if early:
            pump.from_downstream.received(early)
        if self._half_closed:
            pump.from_downstream.ended()

    def broke_off(self, error: Exception, *, connecting: bool, unheard: bool) -> None:
        """Try again where that is safe, else say what happened, or cut the response short."""
        self._upstream = None
        head = self._head
        if self._responding:
            self._leave()
            self._wire.close()
        elif isinstance(error, BadMessageError):
            self._answer(502, _NO_RESPONSE + "protocol error")
        elif connecting:
            self._answer_unreachable(error)
        elif unheard and head is not None and head.length == 0 and head.method in _REPEATABLE:
            self._gateway.pool.cluster.counters.upstream_rq_retry += 1
            self._send(head, head.forward, again=True)
        else:
            self._answer(503, _NO_RESPONSE + "connection termination")

    # One request from beginning to end.

    def _begin(self, data: bytes) -> None:
        try:
            head = self._last
            if head is None or not data.startswith(head.raw):
                # Else it is the last one again: a client repeats itself on a connection.
                head = parse_request(data, self._gateway.pool.limits)
                if head is None:
                    self._buffer = data
                    return
                self._last = head
            self._head = head
            self._gateway.counters.downstream_rq_total += 1
            if head.length == 0:
                self._await_response(data[head.size :])
                self._send(head, head.forward)
                return
            body = self._body = body_of(head.length, 400)
            self._state = _BODY
            rest = data[head.size :]
            taken = body.feed(rest)
        except BadMessageError as error:
            self._refuse(error)
            return
        self._buffer = b""
        if body.done:
            self._await_response(rest[taken:])
        self._send(head, head.forward + rest[:taken])

    def _forward_body(self, data: bytes) -> None:
        body, upstream = self._body, self._upstream
        if body is None or upstream is None:
            return
        try:
            taken = body.feed(data)
        except BadMessageError as error:
            upstream.abandon()
            self._upstream = None
            if self._responding:
                self._leave()
                self._wire.close()
            else:
                self._refuse(error)
            return
        if body.done:
            self._await_response(data[taken:])
        if not upstream.wire.write(data if taken == len(data) else data[:taken]) and not body.done:
            self._pause()

    def _await_response(self, next_request: bytes) -> None:
        self._state = _RESPONSE
        self._buffer = next_request
        if next_request:
            self._pause()

    def _send(self, head: RequestHead, data: bytes, *, again: bool = False) -> None:
        pool = self._gateway.pool
        self._started_s = time.perf_counter()
        try:
            upstream = pool.dial(self._destination) if again else pool.take(self._destination)
        except OSError as error:
            self._answer_unreachable(error)
            return
        self._upstream = upstream
        pool.cluster.counters.upstream_rq_total += 1
        if not upstream.request(self, head.method, data) and self._state is _BODY:
            self._pause()

    def _finish(self) -> None:
        """End an exchange whose response is complete."""
        self._responding = False
        if self._state is _BODY or self._close or (self._half_closed and not self._buffer):
            self._leave()
            self._wire.linger()
            return
        self._state = _HEAD
        self._head = None
        if self._choked:
            self._pause()
        elif self._paused:
            self._next()

    def _next(self) -> None:
        """Read on, beginning with what is there already."""
        self._resume()
        if self._buffer:
            self._begin(self._buffer)

    def _refuse(self, error: BadMessageError) -> None:
        counters = self._gateway.counters
        counters.downstream_cx_protocol_error += 1
        if self._state is _HEAD:
            counters.downstream_rq_total += 1
        self._close = True
        self._answer(error.status, f"{error}\n")

    def _answer_unreachable(self, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            reason = "connection timeout"
        else:
            words = error.strerror if isinstance(error, OSError) else str(error)
            reason = f"remote connection failure, transport failure reason: delayed connect error: {words}"
        self._answer(503, _NO_RESPONSE + reason)

    def _answer(self, status: int, text: str) -> None:
        """Answer in the upstream's stead.

        With part of a request still to come, or the next one already there, the connection ends with it.
        """
        gateway = self._gateway
        gateway.counters.answered(status)
        self._close = self._close or self._state is not _RESPONSE or bool(self._buffer) or gateway.draining
        self._close = self._close or (self._head is not None and self._head.close)
        body = text.encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-length: {len(body)}\r\n"
            "content-type: text/plain\r\n"
        ).encode()
        end = b"connection: close\r\n\r\n" if self._close else b"\r\n"
        shown = b"" if self._head is not None and self._head.method == b"HEAD" else body
        if not self._wire.write(head + gateway.local_fields + end + shown):
            self._choked = True
        self._finish()

    # The connection as a whole.

    def _leave(self) -> None:
        self._state = _NOTHING
        self._gateway.connections.discard(self)
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None

    def _pause(self) -> None:
        self._paused = True
        self._wire.pause()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._wire.resume()
