"""Connections that are forwarded as bytes: the upstream one is opened at once, and both are counted."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.exchange.local_replies import connect_error
from sidelab.sidecar.proxy.exchange.pump import Pump
from sidelab.sidecar.proxy.io.destination import Destination, address_text
from sidelab.sidecar.proxy.io.stream_interface import Receiver, Wire
from sidelab.sidecar.proxy.stats.outcome import (
    ATTEMPTS_EXHAUSTED,
    BLACK_HOLE,
    CONNECTION_ENDED,
    DOWNSTREAM_ENDED,
    NO_HEALTHY_UPSTREAM,
    OK,
    Observer,
    TrafficOutcome,
)
from sidelab.sidecar.proxy.stats.proxy_counters import TcpCounters
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.upstreams.host import UpstreamHost


class ByteService:
    """The TCP side of a direction; `counters` returns a cluster's counters by its name."""

    def __init__(self, direction: str, counters: Callable[[str], TcpCounters]) -> None:
        self.direction = direction
        self._counters = counters
        # By pump: how many bytes it had passed at the last sweep, and for how many sweeps that has not changed.
        self._pumps: dict[Pump, tuple[int, int]] = {}
        self.tell(None)

    def tell(self, observer: Observer | None, *, counts: bool = True) -> None:
        """Report connections to `observer` (None: to none) from now on; without `counts`, only whole outcomes."""
        self.observer = observer
        self.counts = counts

    def connect(
        self, wire: Wire, destination: Destination, client: Destination, cluster: UpstreamCluster | None
    ) -> Receiver | None:
        """Return the receiver for `wire`, joined to a host of `cluster`; None if `wire` was closed instead."""
        link = _Link(self, destination, client, cluster)
        self._counters(BLACK_HOLE if cluster is None else cluster.name).downstream_cx_total += 1
        host = link.host = None if cluster is None else cluster.find(destination, client[0], ())
        link.began()
        if host is None:
            wire.close()
            link.ended(None, NO_HEALTHY_UPSTREAM)
            return None
        try:
            upstream = host.open()
        except OSError as error:
            wire.abort()
            link.ended(None, ATTEMPTS_EXHAUSTED, connect_error(error))
            return None
        host.active += 1
        host.total += 1
        host.counters.upstream_rq_total += 1
        upstream.charge(wire.share)
        link.connected(upstream)
        pump = Pump(wire, upstream, link.over)
        self._pumps[pump] = 0, 0
        upstream.start(pump.from_upstream)
        return pump.from_downstream

    def sweep(self, age: int) -> None:
        """Drop connections that have passed no bytes for `age` sweeps, like Envoy's TCP proxy."""
        for pump, (passed, sweeps) in tuple(self._pumps.items()):
            now = pump.from_downstream.passed + pump.from_upstream.passed
            self._pumps[pump] = now, sweeps + 1 if now == passed else 0
            if self._pumps[pump][1] >= age:
                pump.downstream.drop()

    def forget(self, pump: Pump) -> None:
        """Note that a connection has ended."""
        self._pumps.pop(pump, None)


class _Link:
    """One connection and its upstream connection, for the observer."""

    __slots__ = ("_client", "_cluster", "_destination", "_local", "_service", "_started_s", "host")

    def __init__(
        self, service: ByteService, destination: Destination, client: Destination, cluster: UpstreamCluster | None
    ) -> None:
        self._service = service
        self._destination = destination
        self._client = client
        self._cluster = cluster
        self._local = ""
        self._started_s = time.perf_counter()
        self.host: UpstreamHost | None = None

    def began(self) -> None:
        """Report that it began."""
        service = self._service
        if service.observer is not None and service.counts:
            service.observer.connected(self._key(OK))

    def connected(self, upstream: Wire) -> None:
        """Note the local address of the upstream connection."""
        observer = self._service.observer
        if observer is not None and observer.wants_outcomes:
            self._local = address_text(upstream.local())

    def over(self, pump: Pump, error: OSError | None) -> None:
        """Handle the end of the pump."""
        self._service.forget(pump)
        host = self.host
        if host is not None:
            host.active -= 1
        flags, failure = OK, ""
        if error is not None and pump.upstream.connecting:
            if host is not None:
                host.unreachable(error)
            flags, failure, self._local = ATTEMPTS_EXHAUSTED, connect_error(error), ""
        elif error is not None:
            flags = CONNECTION_ENDED if pump.upstream_failed else DOWNSTREAM_ENDED
        self.ended(pump, flags, failure)

    def ended(self, pump: Pump | None, flags: str, failure: str = "") -> None:
        """Report that it ended."""
        service = self._service
        observer = service.observer
        if observer is None:
            return
        received = sent = 0
        if pump is not None:
            received, sent = pump.from_downstream.passed, pump.from_upstream.passed
        if service.counts:
            observer.disconnected(self._key(flags), received, sent)
        if observer.wants_outcomes:
            observer.observed(self._outcome(flags, failure, received, sent))

    def _key(self, flags: str) -> tuple[str, str, str, int, str]:
        if self.host is not None:
            return self.host.key(0, flags)
        service = BLACK_HOLE if self._cluster is None else self._cluster.service
        return (self._service.direction, service, "", 0, flags)

    def _outcome(self, flags: str, failure: str, received: int, sent: int) -> TrafficOutcome:
        _, service, workload, _, _ = self._key(flags)
        duration_us = int((time.perf_counter() - self._started_s) * 1e6)
        reason = f"delayed connect error: {failure}".replace(" ", "_") if failure else ""
        return TrafficOutcome(
            self._service.direction,
            time.time() - duration_us / 1e6,
            duration_us,
            flags=flags,
            transport_failure=reason,
            bytes_received=received,
            bytes_sent=sent,
            upstream_host="" if self.host is None else address_text(self.host.address),
            upstream_local=self._local,
            cluster=BLACK_HOLE if self._cluster is None else self._cluster.name,
            downstream_local=address_text(self._destination),
            downstream_remote=address_text(self._client),
            service=service,
            workload=workload,
        )
