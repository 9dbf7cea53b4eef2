"""The step that begins an answer, the upstream's or the proxy's own: count it, and add the proxy's fields."""

import time

from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.local_replies import LocalReply, response
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import ResponseHead

_AT_ONCE = b"0\r\n"
"""The most frequent time of an answer, in milliseconds; kept as bytes because formatting a number is slow."""


def begin_response(
    gateway: Gateway, request: ServedRequest, head: ResponseHead, *, closing: bool, timed: bool
) -> bytes:
    """Note the final response (status 200 to 999) to `request`, and return its head as it is forwarded.

    `closing`: the connection ends with it. `timed`: add how long the upstream took, counted from the request's
    beginning; that means something only if the whole request was sent at once.
    """
    status = request.status = head.status
    if status < 300:
        gateway.counters.downstream_rq_2xx += 1
        if request.host is not None:
            request.host.counters.upstream_rq_2xx += 1
    else:
        _count(gateway, request, status)
    end = b"connection: close\r\n\r\n" if closing else b"\r\n"
    if gateway.own_fields:
        responded_s = request.responded_s = time.perf_counter()
        if not timed:
            return head.lines + gateway.local_fields + end
        elapsed_ms = int((responded_s - request.started_s) * 1000)
        return head.lines + gateway.own_fields + (_AT_ONCE if elapsed_ms == 0 else b"%d\r\n" % elapsed_ms) + end
    if gateway.observer is not None and gateway.observer.wants_outcomes:
        request.responded_s = time.perf_counter()
    return head.lines + end


def begin_reply(gateway: Gateway, request: ServedRequest, reply: LocalReply, *, closing: bool) -> bytes:
    """Note `reply` as the answer to `request`, and return the bytes to write."""
    request.reply = reply
    request.status = reply.status
    gateway.counters.answered(reply.status)
    with_body = request.head is None or request.head.method != b"HEAD"
    request.sent = len(reply.text) if with_body else 0
    return response(reply, own_fields=gateway.local_fields, close=closing, with_body=with_body)


def _count(gateway: Gateway, request: ServedRequest, status: int) -> None:
    gateway.counters.answered(status)
    host = request.host
    if host is not None:
        host.counters.answered(status)
        if status >= 500:
            host.errors += 1
