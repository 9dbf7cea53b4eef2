"""A client's HTTP connection: the events on both of its sides, and the steps of a request in order.

    head ─▶ route ─▶ upstream ─▶ body ─▶ answer ─▶ account

Each step has its own file, returns what it found or raises, and calls no later step: they are put in order here, and
the connection's state changes here (see `connection_states`). A further decision about a request belongs between two
steps. Bodies are forwarded as they arrive, at the speed of the slower side.
"""

import time

from sidelab.sidecar.proxy.exchange.account import account
from sidelab.sidecar.proxy.exchange.attempts import NoUpstreamError, may_repeat, reach, reply_to
from sidelab.sidecar.proxy.exchange.client_input import EMPTY_LINES, FREE_BYTES, ClientInput
from sidelab.sidecar.proxy.exchange.connection_states import BODY, EARLY, HEAD, OVER, ConnectionState
from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.local_replies import CLIENT_GONE, HEADER_TIMEOUT, LocalReply, broken_off, refused
from sidelab.sidecar.proxy.exchange.pump import join
from sidelab.sidecar.proxy.exchange.request_body import begin_body, feed
from sidelab.sidecar.proxy.exchange.request_head import find_head, goes_elsewhere, hand_over
from sidelab.sidecar.proxy.exchange.response_start import begin_reply, begin_response
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import RequestHead, ResponseHead
from sidelab.sidecar.proxy.http.message_body import BadMessageError, ChunkedBody
from sidelab.sidecar.proxy.io.stream_interface import Wire


class HttpConnection:
    """The receiver of a client's connection, and of responses from upstream connections (see `Requester`).

    `request` has the destination and the client's address. Besides the state there are three flags: `_closing`, the
    connection ends with the answer to this request; `_client_ended`, the client has sent FIN; `_choked`, the client
    does not read.
    """

    __slots__ = ("_choked", "_client_ended", "_closing", "_gateway", "_input", "_request", "_state", "_wire")

    def __init__(self, gateway: Gateway, wire: Wire, request: ServedRequest) -> None:
        self._gateway = gateway
        self._wire = wire
        self._request = request
        self._input = ClientInput(wire)
        self._state: ConnectionState = HEAD
        self._choked = self._client_ended = self._closing = False
        gateway.connections[self] = 0.0, 0

    # Events of the client's connection, see `Receiver`.

    @property
    def started_s(self) -> float:
        """When the last request began, by time.perf_counter(); 0 before the first."""
        return self._request.started_s

    @property
    def idle(self) -> bool:
        """Whether no request is being served; one whose head is incomplete does not count."""
        return self._state is HEAD

    @property
    def divisible(self) -> bool:
        """Whether a chunked body is being read."""
        return isinstance(self._request.body, ChunkedBody) and (self._state is BODY or self._state is EARLY)

    def received(self, data: bytes) -> None:
        """Handle bytes of a request."""
        state, given = self._state, self._input
        if state is HEAD:
            if given.begun:
                self._begin_late(given.begun + data, more=data)
            else:
                self._begin(data)
            if given.paused:
                self._read_on()
        elif state.complete_request:
            # The next request came early. It waits here, and what follows it waits in the kernel.
            given.wait(given.begun + data)
        elif state is not OVER:
            self._forward_body(data)

    def ended(self) -> None:
        """Handle the client's FIN: a complete request is still answered."""
        if self._state.complete_request:
            self._client_ended = True
        elif self._state is HEAD:
            self._close()
        else:
            self._cut(CLIENT_GONE)

    def drained(self) -> None:
        """Go on: the client has read what was sent."""
        self._choked = False
        upstream = self._request.upstream
        if upstream is not None:
            upstream.wire.resume()
        else:
            self._read_on()

    def lost(self, _error: OSError) -> None:
        """Handle the failure of the client's connection."""
        if self._state is HEAD:
            self._leave()
        else:
            self._cut(CLIENT_GONE)

    # Called by the gateway.

    def late(self) -> None:
        """Refuse a client that takes too long to send a head."""
        self._gateway.counters.downstream_rq_header_timeout += 1
        self._refuse_head(HEADER_TIMEOUT)

    def drain(self) -> None:
        """Close if no request is being served."""
        if self._state is HEAD and not self._input.begun:
            self._close()

    def expire(self) -> bool:
        """Close if nothing would be lost; returns whether it closed."""
        if self._state is not HEAD or not self._wire.idle:
            return False
        self._close()
        return True

    def forget_route(self) -> None:
        """Look up the route again for the next head: the routes have changed."""
        self._request.last = None

    # Head and route.

    def _read_on(self) -> None:
        """Go on reading if nothing prevents it, beginning with the requests that have already arrived."""
        given = self._input
        while given.paused and self._state is HEAD and not self._choked:
            given.resume()
            if given.begun:
                data, given.begun = given.begun, b""
                self._begin(data)

    def _begin_late(self, whole: bytes, *, more: bytes) -> None:
        """Go on with a head that came in pieces; it is parsed again only when a line has ended."""
        if b"\n" in more or len(whole) >= self._gateway.limits.head_bytes:
            self._begin(whole)
            return
        try:
            self._input.keep(whole)
        except BadMessageError as error:
            self._refuse(error)

    def _begin(self, data: bytes) -> None:
        """Serve the request that `data` begins with, once its head is complete."""
        gateway, request, given = self._gateway, self._request, self._input
        head = request.last
        if head is None or not data.startswith(head.raw):
            # Otherwise it is the same head as last time: clients repeat heads on a connection.
            data = data.lstrip(EMPTY_LINES)
            head = self._read(data) if data else None
            if head is None:
                return
        if given.begun:
            gateway.deadlines.met(self)
        size = head.size
        if given.held or size > FREE_BYTES:
            try:
                given.reserve_head(size)
            except BadMessageError as error:
                self._refuse(error)
                return
        request.head = head
        request.started_s = time.perf_counter()
        gateway.counters.downstream_rq_total += 1
        if head.length:
            self._begin_body(head, data[size:])
            return
        self._complete(data[size:])
        request.whole = head.forward
        self._send(head, head.forward)

    def _read(self, data: bytes) -> RequestHead | None:
        """Return the head that `data` begins with and look up its route; None if it is incomplete or was refused."""
        gateway, request = self._gateway, self._request
        try:
            head = find_head(gateway, request, data)
            if head is None:
                if not self._input.begun:
                    gateway.deadlines.begin(self)
                self._input.keep(data)
        except BadMessageError as error:
            if goes_elsewhere(gateway, request, data):
                self._leave()
                hand_over(gateway, self._wire, request, data)
            else:
                self._refuse(error)
            return None
        return head

    # Upstream.

    def _send(self, head: RequestHead, data: bytes) -> None:
        """Send the part of the request that has arrived to a host that can be reached."""
        try:
            upstream = reach(self._gateway, self._request, head, self._wire.share)
        except NoUpstreamError as error:
            self._answer(error.reply)
            return
        if not upstream.request(self, head.method, data) and not self._state.complete_request:
            self._input.pause()

    # Body.

    def _begin_body(self, head: RequestHead, rest: bytes) -> None:
        """Begin a request with a body, of which `rest` has arrived."""
        request, given = self._request, self._input
        given.begun = b""
        self._state = self._state.begun
        if request.route is not None and request.route.cluster is None:
            # It is answered before its body is read, so the connection ends with the answer.
            self._send(head, b"")
            return
        try:
            goes_on, next_request = begin_body(request, head, rest)
        except BadMessageError as error:
            self._refuse(error)
            return
        if next_request is not None:
            self._complete(next_request)
            # A large request can be retried only if there is room to keep it.
            if given.may_keep(goes_on):
                request.whole = goes_on
        self._send(head, goes_on)

    def _forward_body(self, data: bytes) -> None:
        request = self._request
        body, upstream = request.body, request.upstream
        if body is None or upstream is None:
            return
        try:
            goes_on, next_request = feed(request, body, data)
        except BadMessageError as error:
            if self._state.answering:
                self._cut(refused(error))
            else:
                self._refuse(error)
            return
        if next_request is not None:
            self._complete(next_request)
        if goes_on and not upstream.wire.write(goes_on) and next_request is None:
            self._input.pause()

    def _complete(self, next_request: bytes) -> None:
        """Wait for the answer: the request is complete."""
        self._state = self._state.complete
        if next_request:
            self._input.wait(next_request)
        else:
            self._input.begun = b""

    def request_complete(self) -> bool:
        """Whether the whole request was forwarded; after a WebSocket request the server may wait for more."""
        head = self._request.head
        return self._state.complete_request and not (head is not None and head.websocket)

    def request_drained(self) -> None:
        """Go on reading the request: more of it can be sent."""
        if not self._state.complete_request:
            self._input.resume()

    # Answer.

    def responded(self, head: ResponseHead, body: bytes, *, complete: bool) -> None:
        """Forward a response's head and what came with it; of the interim responses only the first arrives here."""
        if head.status < 200:
            self._wire.write(head.lines + b"\r\n")
            return
        gateway, request, state = self._gateway, self._request, self._state
        asked, sent = request.head, state.complete_request
        self._closing = gateway.draining or (asked is not None and asked.close) or (complete and not sent)
        timed = sent and not (asked is not None and asked.websocket)
        goes_on = begin_response(gateway, request, head, closing=self._closing, timed=timed)
        self._state = state.answered
        request.sent = len(body)
        self._pass_on(goes_on + body, complete=complete)

    def continued(self, body: bytes, *, complete: bool) -> None:
        """Forward more of a response's body."""
        self._request.sent += len(body)
        self._pass_on(body, complete=complete)

    def _pass_on(self, data: bytes, *, complete: bool) -> None:
        request = self._request
        if data and not self._wire.write(data):
            self._choked = True
            if not complete and request.upstream is not None:
                request.upstream.wire.pause()
        if complete:
            request.upstream = None
            self._finish()
            if self._input.paused:
                self._read_on()

    def switched(self, head: ResponseHead, wire: Wire, data: bytes) -> None:
        """Handle a switch of protocols: become a byte pump if the client requested a WebSocket."""
        gateway, request = self._gateway, self._request
        request.upstream = None
        if request.head is None or not request.head.websocket:
            wire.abort()
            self._answer(broken_off(BadMessageError(502, "unasked"), responding=False))
            self._read_on()
            return
        gateway.counters.answered(head.status)
        request.status = head.status
        account(gateway, request, responded=self._state.answering)
        self._leave()
        self._input.resume()
        first = head.lines + gateway.local_fields + b"\r\n" + data
        pump = join(self._wire, wire, from_upstream=first, from_downstream=self._input.begun)
        if self._client_ended:
            pump.from_downstream.ended()

    def broke_off(self, error: Exception, *, connecting: bool, unheard: bool) -> None:
        """Handle the upstream's failure: retry if that is safe, else send an error or cut the response short."""
        request, head = self._request, self._request.head
        request.upstream = None
        if self._state.answering:
            self._cut(broken_off(error, responding=True))
        elif head is not None and may_repeat(request, head, connecting=connecting, unheard=unheard):
            self._send(head, request.whole)
        else:
            self._answer(reply_to(request, error, connecting=connecting))
        self._read_on()

    def _refuse(self, error: BadMessageError) -> None:
        """Answer a malformed or too large request; since it is incomplete, the connection ends with the answer."""
        self._gateway.counters.downstream_cx_protocol_error += 1
        if self._state is HEAD:
            self._refuse_head(refused(error))
        else:
            self._answer(refused(error))

    def _refuse_head(self, reply: LocalReply) -> None:
        """Answer bytes that are not a request; nothing of the previous request is attributed to them."""
        self._gateway.counters.downstream_rq_total += 1
        self._request.disown()
        self._answer(reply)

    def _answer(self, reply: LocalReply) -> None:
        """Send the proxy's own reply; if part of the request is still to come, the connection ends with it."""
        gateway, request = self._gateway, self._request
        last = not self._state.complete_request or gateway.draining or (request.head is not None and request.head.close)
        self._closing = self._closing or last
        if not self._wire.write(begin_reply(gateway, request, reply, closing=self._closing)):
            self._choked = True
        self._finish()

    # Accounting, and what follows it.

    def _finish(self) -> None:
        """End a request whose answer has been written: keep the connection for another, or leave it."""
        request, given, state = self._request, self._input, self._state
        if self._gateway.observer is not None:
            account(self._gateway, request, responded=state.answering)
        if self._closing or not state.complete_request or (self._client_ended and not given.begun):
            self._leave()
            self._wire.linger()
            return
        self._state = state.kept
        request.head = None
        request.whole = b""
        if request.received or request.reply is not None or request.tried:
            request.forget_attempts()
        if given.held:
            given.charge(len(given.begun))
        if self._choked:
            given.pause()

    def _cut(self, reply: LocalReply) -> None:
        """End the request without (the rest of) an answer, and close the connection."""
        request, state = self._request, self._state
        if state is not OVER:
            request.reply = reply
            if not state.answering:
                request.status = request.sent = 0
            account(self._gateway, request, responded=state.answering)
        self._close()

    def _close(self) -> None:
        self._leave()
        self._wire.close()

    def _leave(self) -> None:
        """Detach from the connection and give up the upstream's, if any."""
        request, given = self._request, self._input
        if given.held:
            given.charge(0)
        self._gateway.deadlines.met(self)
        self._state = self._state.left
        self._gateway.connections.pop(self, None)
        if request.upstream is not None:
            request.upstream.abandon()
            request.upstream = None
