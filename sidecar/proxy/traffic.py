"""Both directions of a proxy: they serve captured connections, with the clusters behind them and idle timeouts."""

from collections.abc import Iterable

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.direction import TrafficDirection
from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.observation import ProxyObservation
from sidelab.sidecar.proxy.routing.routes import Inbound, Outbound
from sidelab.sidecar.proxy.tcp import ByteService
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
from sidelab.sidecar.proxy.upstreams.clusters import SWEEPS, Clusters


class ProxyTraffic:
    """The directions `inbound` and `outbound`, which follow an intent."""

    def __init__(self, loop: ProxyLoop, intent: Intent, observation: ProxyObservation) -> None:
        self.clusters = Clusters(loop, observation.registry)
        self.headers = Deadlines(loop, intent.header_timeout_s)
        self.detections = Deadlines(loop, intent.detection_timeout_s)
        self._loop = loop
        self.observation = observation
        self._idle_timeout_s = intent.idle_timeout_s
        self.clusters.update(intent)
        inbound, outbound = self._tables(intent)
        self.inbound = self._direction("inbound", inbound, intent)
        self.outbound = self._direction("outbound", outbound, intent)
        self._tell(intent)
        self._sweep_later()

    def update(self, intent: Intent) -> None:
        """Follow `intent` from now on, dropping no connection."""
        self._idle_timeout_s = intent.idle_timeout_s
        self.clusters.update(intent)
        self.headers.timeout_s = intent.header_timeout_s
        self.detections.timeout_s = intent.detection_timeout_s
        inbound, outbound = self._tables(intent)
        self.inbound.plans, self.outbound.plans = inbound, outbound
        self.inbound.gateway.change(inbound, self.clusters.inbound, server_name=intent.server_name)
        self.outbound.gateway.change(outbound, self.clusters.outbound, server_name=None)
        self._tell(intent)

    def drain(self, *, inbound_only: bool = False) -> None:
        """Close clients' idle connections now, and the others after their responses."""
        for direction in (self.inbound,) if inbound_only else (self.inbound, self.outbound):
            direction.gateway.drain()

    def _tables(self, intent: Intent) -> tuple[Inbound[UpstreamCluster], Outbound[UpstreamCluster]]:
        return Inbound(intent, self.clusters.__getitem__), Outbound(intent, self.clusters.__getitem__)

    def _direction(
        self, name: str, tables: Inbound[UpstreamCluster] | Outbound[UpstreamCluster], intent: Intent
    ) -> TrafficDirection:
        inbound = name == "inbound"
        registry = self.observation.registry
        port = intent.ports.inbound if inbound else intent.ports.outbound
        gateway = Gateway(
            name,
            tables,
            self.clusters.inbound if inbound else self.clusters.outbound,
            registry.http(f"{name}_0.0.0.0_{port}"),
            self.headers,
            server_name=intent.server_name if inbound else None,
        )
        return TrafficDirection(tables, gateway, ByteService(name, registry.tcp), self.detections)

    def _tell(self, intent: Intent) -> None:
        for direction in self._directions():
            direction.gateway.tell(self.observation.observer, counts=intent.metrics)
            direction.byte_service.tell(self.observation.observer, counts=intent.metrics)

    def _sweep_later(self) -> None:
        self._loop.call_later(self._idle_timeout_s / SWEEPS, self._sweep)

    def _sweep(self) -> None:
        self.clusters.sweep()
        for direction in self._directions():
            direction.gateway.sweep(SWEEPS + 1)
            direction.byte_service.sweep(SWEEPS + 1)
        self._sweep_later()

    def _directions(self) -> Iterable[TrafficDirection]:
        return self.inbound, self.outbound
