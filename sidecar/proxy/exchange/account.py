"""What is told about a request: to which host it went, how it ended, how long it took, how many bytes passed.

A few integers for metrics, the whole as an `Outcome` only where an access log wants it.
"""

import re
import time
from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.http.message import RequestHead
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.stats.outcome import BLACK_HOLE, OK, Outcome, RequestKey

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.exchange.gateway import Gateway
    from sidelab.sidecar.proxy.exchange.local_replies import Verdict
    from sidelab.sidecar.proxy.routing.routes import Route
    from sidelab.sidecar.proxy.upstreams.cluster import Cluster
    from sidelab.sidecar.proxy.upstreams.host import Host

_LOGGED = re.compile(rb"\n(user-agent|x-request-id|x-forwarded-for):[\t ]*+([^\r]*+)", re.IGNORECASE)


def address_text(address: Destination) -> str:
    """Return `address` as Envoy writes it; "" for none."""
    host, port = address[:2]
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Accounted:
    """What is known of the request that a connection serves, or served last."""

    __slots__ = (
        "_client", "_destination", "_gateway", "_head", "_host", "_local", "_received", "_responded_s", "_responding",
        "_route", "_sent", "_started_s", "_status", "_verdict",
    )  # fmt: skip

    def __init__(self, gateway: "Gateway", destination: Destination, client: Destination) -> None:
        self._gateway = gateway
        self._destination = destination
        self._client = client
        self._head: RequestHead | None = None
        self._route: Route[Cluster] | None = None
        self._host: Host | None = None
        self._verdict: Verdict | None = None
        self._local = ""
        self._started_s = self._responded_s = 0.0
        self._received = self._sent = self._status = 0
        self._responding = False

    def _account(self) -> None:
        """Tell the observer that the request has ended."""
        gateway = self._gateway
        observer = gateway.observer
        if observer is None:
            return
        duration_us = int((time.perf_counter() - self._started_s) * 1e6) if self._started_s else 0
        if gateway.counts:
            observer.requested(self._key(), duration_us, self._received, self._sent)
        if observer.wants_outcomes:
            observer.observed(self._outcome(duration_us))

    def _key(self) -> RequestKey:
        verdict, host = self._verdict, self._host
        flags = OK if verdict is None else verdict.flags
        if host is not None:
            return host.key(self._status, flags)
        cluster = None if self._route is None else self._route.cluster
        service = cluster.service if cluster is not None else BLACK_HOLE if self._route is not None else ""
        return (self._gateway.direction, service, "", self._status, flags)

    def _outcome(self, duration_us: int) -> Outcome:
        _, service, workload, status, _ = self._key()
        route, host = self._route, self._host
        cluster = None if route is None else route.cluster
        outcome = Outcome(
            self._gateway.direction,
            time.time() - duration_us / 1e6,
            duration_us,
            int((self._responded_s - self._started_s) * 1e6) if self._verdict is None or self._responding else -1,
            status=status,
            bytes_received=self._received,
            bytes_sent=self._sent,
            upstream_host="" if host is None else address_text(host.address),
            upstream_local=self._local,
            cluster="" if cluster is None else cluster.name,
            downstream_local=address_text(self._destination),
            downstream_remote=address_text(self._client),
            route="" if route is None else route.name,
            service=service,
            workload=workload,
        )
        if self._head is not None:
            _describe(outcome, self._head)
        if self._verdict is None:
            outcome.details = "via_upstream"
        else:
            outcome.flags, outcome.details = self._verdict.flags, self._verdict.details
            outcome.transport_failure = self._verdict.transport_failure
        return outcome


def _describe(outcome: Outcome, head: RequestHead) -> None:
    """Fill in what the request's head says."""
    _, path, version = head.forward.split(b"\r\n", 1)[0].split(b" ", 2)
    outcome.method = head.method
    outcome.path = path
    outcome.protocol = version.decode()
    outcome.authority = head.host
    fields = {name.lower(): value.rstrip(b" \t") for name, value in _LOGGED.findall(head.forward)}
    outcome.user_agent = fields.get(b"user-agent", b"")
    outcome.request_id = fields.get(b"x-request-id", b"")
    outcome.forwarded_for = fields.get(b"x-forwarded-for", b"")
