"""The step to an upstream: which host gets the request, over which connection, and whether another is tried."""

from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.local_replies import (
    BLOCKED,
    NO_HEALTHY_UPSTREAM,
    NO_ROUTE,
    LocalReply,
    broken_off,
    unreachable,
)
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import RequestHead
from sidelab.sidecar.proxy.io.destination import address_text
from sidelab.sidecar.proxy.io.share import Share
from sidelab.sidecar.proxy.upstreams.upstream import Upstream

RETRIES = 2
"""Istio's default retry policy."""

_REPEATABLE = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Idempotent methods (RFC 9110 §9.2.2): sent again if a reused connection turns out to be closed."""


class NoUpstreamError(Exception):
    """No upstream connection is available; `reply` is sent to the client instead."""

    def __init__(self, reply: LocalReply) -> None:
        super().__init__(reply.details)
        self.reply = reply


def reach(gateway: Gateway, request: ServedRequest, head: RequestHead, share: Share) -> Upstream:
    """Return a connection for `request`, charged to `share`; only the first attempt takes an idle one.

    Raises `NoUpstreamError`.
    """
    cluster = None if request.route is None else request.route.cluster
    if cluster is None:
        request.host = None
        raise NoUpstreamError(BLOCKED if head.routable else NO_ROUTE)
    while True:
        host = request.host = cluster.find(request.destination, request.client[0], request.tried)
        if host is None:
            raise NoUpstreamError(NO_HEALTHY_UPSTREAM)
        cluster.counters.upstream_rq_total += 1
        host.total += 1
        try:
            upstream = request.upstream = host.dial() if request.tried else host.take()
            break
        except OSError as error:
            if not may_repeat(request, head, connecting=True, unheard=False):
                raise NoUpstreamError(reply_to(request, error, connecting=True)) from error
    if upstream.wire.share is not share:
        upstream.wire.charge(share)
    if gateway.observer is not None and gateway.observer.wants_outcomes:
        request.local = address_text(upstream.wire.local())
    return upstream


def may_repeat(request: ServedRequest, head: RequestHead, *, connecting: bool, unheard: bool) -> bool:
    """Decide whether to try again after a host failed, and note that host as tried if so.

    `connecting`: it was not reached, and nothing was sent. `unheard`: it may not have read the request, so only
    idempotent requests are sent again.
    """
    host = request.host
    if host is None or not request.whole:
        return False
    if not (host.cluster.retries if connecting else unheard and head.method in _REPEATABLE):
        return False
    counters = host.counters
    if len(request.tried) == RETRIES:
        counters.upstream_rq_retry_limit_exceeded += 1
        return False
    request.tried = (*request.tried, host)
    counters.upstream_rq_retry += 1
    return True


def reply_to(request: ServedRequest, error: Exception, *, connecting: bool) -> LocalReply:
    """Return the reply to send when a host failed with `error` before any of its response arrived."""
    if not connecting:
        return broken_off(error, responding=False)
    request.local = ""
    return unreachable(error, tried_again=len(request.tried) == RETRIES)
