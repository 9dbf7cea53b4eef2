"""The downstream end of HTTP exchanges: what a client sends on its connection, one request after the other.

Bodies pass as they come, in both directions at the speed of the slower side; heads pass as their bytes, without the
fields that concern one hop only. How a request is answered is in `exchange`.
"""

import time
from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.exchange import local_replies
from sidelab.sidecar.proxy.exchange.exchange import BODY, HEAD, NOTHING, RESPONSE, Exchange
from sidelab.sidecar.proxy.http.detect import HTTP2_PREFACE
from sidelab.sidecar.proxy.http.message import RequestHead, parse_request
from sidelab.sidecar.proxy.http.message_body import BadMessageError, ChunkedBody, body_of, forwarded
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.routing.routes import Route

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.exchange.gateway import PassOn
    from sidelab.sidecar.proxy.upstreams.cluster import Cluster


_EMPTY_LINES = b"\r\n"
_NO_ROOM = BadMessageError(431, "this client's connections keep too much already", "http1.headers_too_large")
_NO_ROUTE: "Route[Cluster]" = Route("", None)


class Downstream(Exchange):
    """The receiver of one client's connection."""

    __slots__ = ()

    # What the client does.

    @property
    def idle(self) -> bool:
        """Whether no request is being served; one that has only begun is none yet."""
        return self._state is HEAD

    @property
    def divisible(self) -> bool:
        """Whether chunks are read."""
        return isinstance(self._body, ChunkedBody) and self._state is BODY

    def received(self, data: bytes) -> None:
        """Take bytes of a request."""
        state = self._state
        if state is HEAD:
            if self._buffer:
                self._begin_late(data)
            else:
                self._begin(data)
        elif state is BODY:
            self._forward_body(data)
        elif state is RESPONSE:
            # The next request came early. It waits here, and what follows it in the kernel.
            self._wait(self._buffer + data)

    def ended(self) -> None:
        """Take the client's FIN: a complete request is still answered."""
        if self._state is RESPONSE:
            self._half_closed = True
        elif self._state is HEAD:
            self._leave()
            self._wire.close()
        else:
            self._cut(local_replies.CLIENT_GONE)
            self._wire.close()

    def drained(self) -> None:
        """Go on: the client has read what was sent."""
        self._choked = False
        if self._upstream is not None:
            self._upstream.wire.resume()
        elif self._state is HEAD and self._paused:
            self._next()

    def lost(self, _error: OSError) -> None:
        """Take the failure of the client's connection."""
        if self._state is HEAD:
            self._leave()
        else:
            self._cut(local_replies.CLIENT_GONE)

    def late(self) -> None:
        """Give up a client that takes too long to send a head."""
        self._gateway.counters.downstream_rq_header_timeout += 1
        self._gateway.counters.downstream_rq_total += 1
        self._blame_nobody()
        self._answer(local_replies.HEADER_TIMEOUT)

    def drain(self) -> None:
        """Close if no request is being served."""
        if self._state is HEAD and not self._buffer:
            self._leave()
            self._wire.close()

    def sweep(self, age: int) -> bool:
        """Close, if no request has come for `age` sweeps; returns whether it has."""
        began_s, sweeps = self._swept
        sweeps = sweeps + 1 if began_s == self._started_s and self._state is HEAD else 0
        self._swept = self._started_s, sweeps
        if sweeps < age or not self._wire.idle:
            return False
        self._leave()
        self._wire.close()
        return True

    def forget_route(self) -> None:
        """Look at the next head anew: the routes have changed."""
        self._last = None

    # One request from beginning to end.

    def _begin_late(self, data: bytes) -> None:
        """Go on with a head that came in pieces; without the end of a line there is nothing new to find in it."""
        whole = self._buffer + data
        if b"\n" in data or len(whole) >= self._gateway.limits.head_bytes:
            self._begin(whole)
        else:
            self._keep(whole)

    def _begin(self, data: bytes) -> None:
        gateway = self._gateway
        if data[:1] in _EMPTY_LINES:
            data = data.lstrip(_EMPTY_LINES)
            if not data:
                return
        head = self._last
        if head is None or not data.startswith(head.raw):
            # Else it is the last one again: a client repeats itself on a connection.
            head = self._read(data)
            if head is None:
                return
        if self._buffer:
            gateway.deadlines.met(self)
        size = head.size
        # What is large is kept twice, as it came and as it goes on.
        if (size > SMALL_BYTES or self._held) and not self._hold(2 * size if size > SMALL_BYTES else 0):
            self._refuse(_NO_ROOM)
            return
        self._head = head
        self._started_s = time.perf_counter()
        gateway.counters.downstream_rq_total += 1
        if head.length:
            self._begin_body(head, data[size:])
            return
        self._await_response(data[size:])
        self._whole = head.forward
        self._send(head, head.forward)

    def _read(self, data: bytes) -> RequestHead | None:
        """Return the head that `data` begins with, and find its route; None if it is incomplete or was refused."""
        gateway = self._gateway
        head = gateway.last
        if head is None or not data.startswith(head.raw):
            try:
                head = parse_request(data, gateway.limits)
            except BadMessageError as error:
                self._begun_badly(error, data)
                return None
            if head is None:
                if not self._buffer:
                    gateway.deadlines.begin(self)
                self._keep(data)
                return None
        self._last = None
        if head.size <= SMALL_BYTES:
            self._last = gateway.last = head
        self._route = gateway.routes.route(self._destination, head.host) if head.routable else _NO_ROUTE
        return head

    def _begin_body(self, head: RequestHead, rest: bytes) -> None:
        """Begin a request with a body, of which `rest` is there."""
        self._buffer = b""
        self._state = BODY
        if self._route is not None and self._route.cluster is None:
            # It is answered before its body is read, and so the connection ends with it.
            self._send(head, b"")
            return
        body = self._body = body_of(head.length, 400)
        try:
            taken = self._received = body.feed(rest)
        except BadMessageError as error:
            self._refuse(error)
            return
        forward = head.forward + forwarded(body, rest, taken)
        if body.done:
            self._await_response(rest[taken:])
            # What is large is sent again only if there is room to keep it.
            if len(forward) <= SMALL_BYTES or self._hold(self._held + len(forward)):
                self._whole = forward
        self._send(head, forward)

    def _begun_badly(self, error: BadMessageError, data: bytes) -> None:
        """Refuse what is no request, unless it is another protocol that goes elsewhere."""
        gateway = self._gateway
        if gateway.pass_on is not None and not self._started_s and data.startswith(HTTP2_PREFACE):
            self._hand_over(gateway.pass_on, data)
        else:
            self._refuse(error)

    def _hand_over(self, pass_on: "PassOn", data: bytes) -> None:
        """Give away a connection whose first bytes are HTTP/2's."""
        self._leave()
        receiver = pass_on(self._wire, self._destination, self._client)
        if receiver is not None:
            self._wire.redirect(receiver)
            receiver.received(data)

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
                self._cut(local_replies.refused(error))
                self._wire.close()
            else:
                self._refuse(error)
            return
        self._received += taken
        if body.done:
            self._await_response(data[taken:])
        goes_on = forwarded(body, data, taken)
        if goes_on and not upstream.wire.write(goes_on) and not body.done:
            self._pause()

    def _await_response(self, next_request: bytes) -> None:
        self._state = RESPONSE
        self._buffer = b""
        if next_request:
            self._wait(next_request)

    def _wait(self, next_request: bytes) -> None:
        """Keep the beginning of the next request; empty lines before it, as some clients send, are no part of it."""
        self._buffer = next_request.lstrip(_EMPTY_LINES)
        if self._buffer:
            self._pause()
            if len(self._buffer) > SMALL_BYTES:
                self._hold(self._held + len(self._buffer))

    def _keep(self, begun: bytes) -> None:
        """Keep a head that is not complete, if its client's share has room for it."""
        if len(begun) <= SMALL_BYTES or self._hold(len(begun)):
            self._buffer = begun
        else:
            self._refuse(_NO_ROOM)

    def _finish(self) -> None:
        """End an exchange whose response is complete."""
        if self._gateway.observer is not None:
            self._account()
        self._responding = False
        if self._state is BODY or self._close or (self._half_closed and not self._buffer):
            self._leave()
            self._wire.linger()
            return
        self._state = HEAD
        self._head = None
        self._whole = b""
        if self._held:
            self._hold(len(self._buffer))
        if self._tried or self._verdict is not None or self._received:
            self._tried = ()
            self._verdict = None
            self._received = 0
        if self._choked:
            self._pause()
        elif self._paused:
            self._next()

    def _next(self) -> None:
        """Read on, beginning with what is there already.

        Requests that are answered at once are taken one after the other here, not each within the one before.
        """
        if self._looping:
            return
        self._looping = True
        while True:
            self._resume()
            if not self._buffer:
                break
            data, self._buffer = self._buffer, b""
            self._begin(data)
            if self._state is not HEAD or not self._paused or self._choked:
                break
        self._looping = False

    def _refuse(self, error: BadMessageError) -> None:
        counters = self._gateway.counters
        counters.downstream_cx_protocol_error += 1
        if self._state is HEAD:
            counters.downstream_rq_total += 1
            self._blame_nobody()
        self._close = True
        self._answer(local_replies.refused(error))

    def _blame_nobody(self) -> None:
        """Forget what was asked for before: it has no part in what is wrong now."""
        self._head = self._host = self._route = self._last = None
        self._started_s = 0.0
        self._close = True

    def _leave(self) -> None:
        if self._held:
            self._hold(0)
        self._gateway.deadlines.met(self)
        self._state = NOTHING
        self._gateway.connections.discard(self)
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
