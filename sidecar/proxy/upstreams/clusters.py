"""All clusters of a proxy by name, made from an intent and kept if the next intent still has them."""

from collections.abc import Iterator

from sidelab.sidecar.config.intent import Intent, IntentService, IntentServicePort
from sidelab.sidecar.proxy.http.message import Limits
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.routing.routes import INBOUND_PASSTHROUGH, PASSTHROUGH, inbound_name, outbound_name
from sidelab.sidecar.proxy.stats.outcome import BLACK_HOLE
from sidelab.sidecar.proxy.stats.proxy_counters import CounterRegistry
from sidelab.sidecar.proxy.upstreams.cluster import Balanced, OriginalDestinations, UpstreamCluster
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings

SWEEPS = 4
"""How many sweeps there are per idle timeout: an idle connection is closed at most a quarter of it late."""


class Clusters:
    """The live clusters; one that is no longer in the intent closes its idle connections and finishes its requests."""

    def __init__(self, loop: ProxyLoop, registry: CounterRegistry) -> None:
        self.inbound = ClusterSettings(Limits(0, 0))
        self.outbound = ClusterSettings(Limits(0, 0))
        self._loop = loop
        self._registry = registry
        self._clusters: dict[str, UpstreamCluster] = {}
        # It exists only for its statistics: nothing is ever sent there.
        registry.tcp(BLACK_HOLE)

    def __getitem__(self, name: str) -> UpstreamCluster:
        return self._clusters[name]

    def __iter__(self) -> Iterator[UpstreamCluster]:
        return iter(self._clusters.values())

    def update(self, intent: Intent) -> None:
        """Create or keep the clusters that `intent` names, and close all others."""
        for settings in (self.inbound, self.outbound):
            settings.limits = Limits(intent.max_header_bytes, intent.max_headers)
            settings.connect_timeout_s = intent.connect_timeout_s
        self.inbound.own_server = True
        before, self._clusters = self._clusters, {}
        self._original(before, PASSTHROUGH, self.outbound, "outbound")
        self._inbound(before, intent, INBOUND_PASSTHROUGH, "")
        for port in intent.inbound:
            self._inbound(before, intent, inbound_name(port.port), port.service)
        for service in intent.services:
            for service_port in service.ports:
                self._service(before, service, service_port)
        for name, cluster in before.items():
            cluster.close()
            self._registry.forget_cluster(name)

    def close(self) -> None:
        """Close idle connections, and from now on every connection that becomes idle."""
        for cluster in self:
            cluster.close()

    def sweep(self) -> None:
        """Close connections that have been idle for too long; to be called `SWEEPS` times per idle timeout."""
        for cluster in self:
            cluster.sweep(SWEEPS + 1)

    def _original(
        self,
        before: dict[str, UpstreamCluster],
        name: str,
        settings: ClusterSettings,
        direction: str,
        service: str = "",
    ) -> OriginalDestinations:
        cluster = before.pop(name, None)
        if not isinstance(cluster, OriginalDestinations):
            counters = self._registry.cluster(name)
            cluster = OriginalDestinations(self._loop, name, counters, settings, direction=direction)
        cluster.service = service
        self._clusters[name] = cluster
        return cluster

    def _inbound(self, before: dict[str, UpstreamCluster], intent: Intent, name: str, service: str) -> None:
        cluster = self._original(before, name, self.inbound, "inbound", service)
        cluster.sources = (intent.inbound_bind_ipv4, intent.inbound_bind_ipv6)
        cluster.transparent = intent.mode == "tproxy"
        cluster.workload = intent.workload.pod

    def _service(self, before: dict[str, UpstreamCluster], service: IntentService, port: IntentServicePort) -> None:
        name = outbound_name(port.port, service.host)
        cluster = before.pop(name, None)
        if not isinstance(cluster, Balanced):
            counters = self._registry.cluster(name)
            cluster = Balanced(self._loop, name, counters, self.outbound, direction="outbound", service=service.host)
        cluster.update(port.endpoints, headless=not service.addresses)
        self._clusters[name] = cluster
