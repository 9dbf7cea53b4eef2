"""How one request is answered: sent to a host, tried again where it is safe, and responded to; `account` tells of it.

It is the half of a downstream connection that looks upstream; `downstream` has the other, which looks at the client.
"""

import enum
import time
from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.exchange import local_replies
from sidelab.sidecar.proxy.exchange.account import Accounted, address_text
from sidelab.sidecar.proxy.exchange.local_replies import Verdict
from sidelab.sidecar.proxy.exchange.pump import Pump
from sidelab.sidecar.proxy.http.message import RequestHead, ResponseHead
from sidelab.sidecar.proxy.http.message_body import BadMessageError, Body
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.stream_interface import Wire

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.exchange.gateway import Gateway
    from sidelab.sidecar.proxy.upstreams.host import Host
    from sidelab.sidecar.proxy.upstreams.upstream import Upstream

_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Idempotent methods (RFC 9110 §9.2.2): sent again if a reused connection turns out to be closed."""

_AT_ONCE = b"0\r\n"
"""An answer's time in milliseconds, as most often it is: to write numbers is slow."""

RETRIES = 2
"""How often, as Istio's default policy says."""


class State(enum.Enum):
    """What a connection waits for."""

    HEAD = enum.auto()
    BODY = enum.auto()
    RESPONSE = enum.auto()
    NOTHING = enum.auto()


# An enumeration's members are slow to look up in its class, and these are looked up for every piece of data.
HEAD, BODY, RESPONSE, NOTHING = State


class Exchange(Accounted):
    """One request after the other; upstream connections answer to it."""

    __slots__ = (
        "_body", "_buffer", "_choked", "_close", "_half_closed", "_held", "_last", "_looping", "_paused", "_state",
        "_swept", "_tried", "_upstream", "_whole", "_wire",
    )  # fmt: skip

    def __init__(self, gateway: "Gateway", wire: Wire, destination: Destination, client: Destination) -> None:
        super().__init__(gateway, destination, client)
        self._wire = wire
        self._state = HEAD
        self._buffer = b""
        self._held = 0
        # When the last request began as it was seen at the last sweep, and for how many sweeps that has been so.
        self._swept = (0.0, 0)
        self._last: RequestHead | None = None
        self._body: Body | None = None
        self._upstream: Upstream | None = None
        # The whole request while it may be sent again, and to whom it was sent in vain.
        self._whole = b""
        self._tried: tuple[Host, ...] = ()
        self._choked = self._close = self._half_closed = self._looping = self._paused = False

    # What the upstream connection does.

    def request_complete(self) -> bool:
        """Whether all of the request was passed on; after one for a WebSocket the server may wait for more."""
        return self._state is RESPONSE and not (self._head is not None and self._head.websocket)

    def request_drained(self) -> None:
        """Read more of the request."""
        if self._state is BODY:
            self._resume()

    def responded(self, head: ResponseHead, body: bytes, *, complete: bool) -> None:
        """Pass on a response's head and what came with it; of interim ones, the first comes here."""
        gateway = self._gateway
        status = head.status
        if status < 200:
            self._wire.write(head.lines + b"\r\n")
            return
        if 200 <= status < 300:
            gateway.counters.downstream_rq_2xx += 1
            if self._host is not None:
                self._host.cluster.counters.upstream_rq_2xx += 1
        else:
            self._count_answer(status)
        request = self._head
        self._responding = True
        self._status = status
        self._close = gateway.draining or (request is not None and request.close) or (complete and self._state is BODY)
        end = b"connection: close\r\n\r\n" if self._close else b"\r\n"
        if gateway.own_fields:
            self._responded_s = time.perf_counter()
            if self._state is BODY or (request is not None and request.websocket):
                # How long the server took is counted from the end of the request.
                end = gateway.local_fields + end
            else:
                elapsed_ms = int((self._responded_s - self._started_s) * 1000)
                end = gateway.own_fields + (_AT_ONCE if elapsed_ms == 0 else b"%d\r\n" % elapsed_ms) + end
        elif gateway.observer is not None and gateway.observer.wants_outcomes:
            self._responded_s = time.perf_counter()
        self._sent = len(body)
        self._pass_on(head.lines + end + body, complete=complete)

    def continued(self, body: bytes, *, complete: bool) -> None:
        """Pass on more of a response."""
        self._sent += len(body)
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
            self._answer(local_replies.broken_off(BadMessageError(502, "unasked"), responding=False))
            return
        self._gateway.counters.answered(head.status)
        self._status = head.status
        self._account()
        early = self._buffer
        self._leave()
        pump = Pump(self._wire, wire, _nothing)
        self._wire.redirect(pump.from_downstream)
        wire.redirect(pump.from_upstream)
        pump.from_upstream.received(head.lines + self._gateway.local_fields + b"\r\n" + data)
        self._resume()
        if early:
            pump.from_downstream.received(early)
        if self._half_closed:
            pump.from_downstream.ended()

    def broke_off(self, error: Exception, *, connecting: bool, unheard: bool) -> None:
        """Try again where that is safe, else say what happened, or cut the response short."""
        self._upstream = None
        if self._responding:
            self._cut(local_replies.broken_off(error, responding=True))
            self._wire.close()
        elif connecting:
            self._not_reached(error)
        elif unheard and self._head is not None and self._head.method in _REPEATABLE and self._may_repeat():
            self._send(self._head, self._whole)
        else:
            self._answer(local_replies.broken_off(error, responding=False))

    # The way of one request.

    def _send(self, head: RequestHead, data: bytes) -> None:
        """Send what there is of the request; a connection that was used before only the first time."""
        route = self._route
        cluster = None if route is None else route.cluster
        if cluster is None:
            self._host = None
            self._answer(local_replies.BLOCKED if head.routable else local_replies.NO_ROUTE)
            return
        host = self._host = cluster.find(self._destination, self._client[0], self._tried)
        if host is None:
            self._answer(local_replies.NO_HEALTHY_UPSTREAM)
            return
        cluster.counters.upstream_rq_total += 1
        host.total += 1
        try:
            upstream = host.dial() if self._tried else host.take()
        except OSError as error:
            self._not_reached(error)
            return
        self._upstream = upstream
        if upstream.wire.share is not self._wire.share:
            upstream.wire.charge(self._wire.share)
        observer = self._gateway.observer
        if observer is not None and observer.wants_outcomes:
            self._local = address_text(upstream.wire.local())
        if not upstream.request(self, head.method, data) and self._state is BODY:
            self._pause()

    def _not_reached(self, error: Exception) -> None:
        host, head = self._host, self._head
        if host is not None and head is not None and host.cluster.retries and self._may_repeat():
            self._send(head, self._whole)
        else:
            self._local = ""
            self._answer(local_replies.unreachable(error, tried_again=len(self._tried) == RETRIES))

    def _may_repeat(self) -> bool:
        """Note that the host did not do, and decide whether to try another time."""
        host = self._host
        if not self._whole or host is None:
            return False
        counters = host.cluster.counters
        if len(self._tried) == RETRIES:
            counters.upstream_rq_retry_limit_exceeded += 1
            return False
        self._tried = (*self._tried, host)
        counters.upstream_rq_retry += 1
        return True

    def _answer(self, verdict: Verdict) -> None:
        """Answer in the upstream's stead.

        With part of a request still to come, the connection ends with it.
        """
        gateway = self._gateway
        self._verdict = verdict
        self._status = verdict.status
        gateway.counters.answered(verdict.status)
        self._close = self._close or self._state is not RESPONSE or gateway.draining
        self._close = self._close or (self._head is not None and self._head.close)
        with_body = self._head is None or self._head.method != b"HEAD"
        self._sent = len(verdict.text) if with_body else 0
        if not self._wire.write(
            local_replies.reply(verdict, own_fields=gateway.local_fields, close=self._close, with_body=with_body)
        ):
            self._choked = True
        self._finish()

    def _count_answer(self, status: int) -> None:
        self._gateway.counters.answered(status)
        if self._host is not None:
            self._host.cluster.counters.answered(status)
            if status >= 500:
                self._host.errors += 1

    def _cut(self, verdict: Verdict) -> None:
        """End the request without (the rest of) an answer, and leave."""
        if self._state is not NOTHING:
            self._verdict = verdict
            if not self._responding:
                self._status = self._sent = 0
            self._account()
        self._leave()

    def _hold(self, count: int) -> bool:
        """Account for `count` bytes that are kept of what the client sent; returns whether its share has that room."""
        more, share = count - self._held, self._wire.share
        room = more <= 0 or share.has_room(more)
        share.add(more)
        self._held = count
        return room

    # What the client's half does.

    def _finish(self) -> None:
        """End a request whose answer is complete."""
        raise NotImplementedError

    def _leave(self) -> None:
        """Have nothing further to do with the connection."""
        raise NotImplementedError

    def _pause(self) -> None:
        self._paused = True
        self._wire.pause()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._wire.resume()


def _nothing(_pump: Pump, _error: OSError | None) -> None:
    """Take note of nothing."""
