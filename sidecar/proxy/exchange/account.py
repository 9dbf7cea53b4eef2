"""The last step of a request: report where it went, how it ended, how long it took and how many bytes passed.

Metrics get a few integers; a whole `TrafficOutcome` is built only if an access log wants it.
"""

import re
import time

from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import RequestHead
from sidelab.sidecar.proxy.io.destination import address_text
from sidelab.sidecar.proxy.stats.outcome import BLACK_HOLE, OK, RequestKey, TrafficOutcome

_LOGGED = re.compile(rb"\n(user-agent|x-request-id|x-forwarded-for):[\t ]*+([^\r]*+)", re.IGNORECASE)


def account(gateway: Gateway, request: ServedRequest, *, responded: bool) -> None:
    """Tell the observer that the request has ended; `responded`: the upstream's response has at least begun."""
    observer = gateway.observer
    if observer is None:
        return
    duration_us = int((time.perf_counter() - request.started_s) * 1e6) if request.started_s else 0
    if gateway.counts:
        observer.requested(_key(gateway, request), duration_us, request.received, request.sent)
    if observer.wants_outcomes:
        observer.observed(_outcome(gateway, request, duration_us, responded=responded))


def _key(gateway: Gateway, request: ServedRequest) -> RequestKey:
    reply, host = request.reply, request.host
    flags = OK if reply is None else reply.flags
    if host is not None:
        return host.key(request.status, flags)
    cluster = None if request.route is None else request.route.cluster
    service = cluster.service if cluster is not None else BLACK_HOLE if request.route is not None else ""
    return (gateway.direction, service, "", request.status, flags)


def _outcome(gateway: Gateway, request: ServedRequest, duration_us: int, *, responded: bool) -> TrafficOutcome:
    _, service, workload, status, _ = _key(gateway, request)
    route, host, reply = request.route, request.host, request.reply
    cluster = None if route is None else route.cluster
    outcome = TrafficOutcome(
        gateway.direction,
        time.time() - duration_us / 1e6,
        duration_us,
        int((request.responded_s - request.started_s) * 1e6) if reply is None or responded else -1,
        status=status,
        bytes_received=request.received,
        bytes_sent=request.sent,
        upstream_host="" if host is None else address_text(host.address),
        upstream_local=request.local,
        cluster="" if cluster is None else cluster.name,
        downstream_local=address_text(request.destination),
        downstream_remote=address_text(request.client),
        route="" if route is None else route.name,
        service=service,
        workload=workload,
    )
    if request.head is not None:
        _describe(outcome, request.head)
    if reply is None:
        outcome.details = "via_upstream"
    else:
        outcome.flags, outcome.details = reply.flags, reply.details
        outcome.transport_failure = reply.transport_failure
    return outcome


def _describe(outcome: TrafficOutcome, head: RequestHead) -> None:
    """Fill in the fields that come from the request's head."""
    _, path, version = head.forward.split(b"\r\n", 1)[0].split(b" ", 2)
    outcome.method = head.method
    outcome.path = path
    outcome.protocol = version.decode()
    outcome.authority = head.host
    fields = {name.lower(): value.rstrip(b" \t") for name, value in _LOGGED.findall(head.forward)}
    outcome.user_agent = fields.get(b"user-agent", b"")
    outcome.request_id = fields.get(b"x-request-id", b"")
    outcome.forwarded_for = fields.get(b"x-forwarded-for", b"")
