"""Ways out of the proxy: clusters of upstream hosts in Envoy's sense, from which a request or connection gets one.

`OriginalDestinations` goes where the traffic was going, `Balanced` to one of a Service's endpoints. They know no
listener and no protocol.
"""

import random
from collections.abc import Collection, Iterable

from sidelab.sidecar.config.intent import IntentEndpoint
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.dial import dial
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.stream import TcpStream
from sidelab.sidecar.proxy.stats.proxy_counters import ClusterCounters
from sidelab.sidecar.proxy.upstreams.balance import least_request
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings
from sidelab.sidecar.proxy.upstreams.host import UpstreamHost

KEPT_HOSTS = 256
"""How many original destinations are remembered without a connection to them: most are dialled again."""


class UpstreamCluster:
    """What all clusters do; `service` is the full name of the Service behind it, "" for none."""

    retries = False
    """Whether a request may go to another host when one cannot be reached, as Istio's default retry policy says."""

    def __init__(
        self,
        loop: ProxyLoop,
        name: str,
        counters: ClusterCounters,
        settings: ClusterSettings,
        *,
        direction: str,
        service: str = "",
    ) -> None:
        self.name = name
        self.counters = counters
        self.settings = settings
        self.direction = direction
        self.service = service
        self.closed = False
        self._loop = loop

    @property
    def hosts(self) -> Iterable[UpstreamHost]:
        """The hosts that are known now."""
        raise NotImplementedError

    def find(self, destination: Destination, client: str, tried: Collection[UpstreamHost]) -> UpstreamHost | None:
        """Return the host for a request that was going to `destination`, not one of `tried` if it can be helped.

        `client` is the address that it comes from. None: there is no host.
        """
        raise NotImplementedError

    def dial(self, host: UpstreamHost) -> TcpStream:
        """Return a stream to `host` that is still to be started; raises `OSError`, already counted."""
        counters = self.counters
        counters.upstream_cx_total += 1
        try:
            connection, connected = dial(host.address, host.source, transparent=host.transparent)
        except OSError as error:
            host.unreachable(error)
            raise
        counters.upstream_cx_active += 1
        stream = TcpStream(self._loop, connection, host.disconnected)
        if not connected:
            stream.connect_within(self.settings.connect_timeout_s)
        return stream

    def deserted(self, host: UpstreamHost) -> None:
        """Take note that `host` has no connection any more."""

    def close(self) -> None:
        """Close the idle connections, and from now on each that becomes idle."""
        self.closed = True
        for host in tuple(self.hosts):
            host.close_idle()

    def sweep(self, age: int) -> None:
        """Close connections that have been idle through `age` sweeps."""
        for host in tuple(self.hosts):
            self.counters.upstream_cx_idle_timeout += host.sweep(age)


class OriginalDestinations(UpstreamCluster):
    """Dials where the traffic was going (an ORIGINAL_DST cluster), as hosts that come and go.

    `sources` are the addresses to come from, IPv4 then IPv6, None for the pod's; `transparent`: the client's instead.
    """

    sources: tuple[str, str] | None = None
    transparent = False
    workload = ""

    def __init__(
        self,
        loop: ProxyLoop,
        name: str,
        counters: ClusterCounters,
        settings: ClusterSettings,
        *,
        direction: str,
        service: str = "",
    ) -> None:
        super().__init__(loop, name, counters, settings, direction=direction, service=service)
        self._hosts: dict[tuple[Destination, str | None], UpstreamHost] = {}

    @property
    def hosts(self) -> Iterable[UpstreamHost]:
        """The hosts that were dialled, all that have connections among them."""
        return self._hosts.values()

    def find(self, destination: Destination, client: str, tried: Collection[UpstreamHost]) -> UpstreamHost | None:  # noqa: ARG002 - there is one
        """Return the host at `destination`."""
        if self.transparent:
            source: str | None = client
        else:
            source = self.sources[":" in destination[0]] if self.sources is not None else None
        key = destination, source
        host = self._hosts.get(key)
        if host is None:
            host = self._hosts[key] = UpstreamHost(
                self, destination, source=source, transparent=self.transparent, workload=self.workload
            )
        return host

    def deserted(self, host: UpstreamHost) -> None:
        """Forget `host` if there are many: there is no end to the destinations that a pod may have."""
        if len(self._hosts) > KEPT_HOSTS:
            self._hosts.pop((host.address, host.source), None)


class Balanced(UpstreamCluster):
    """Spreads over a Service's ready endpoints, see `balance`.

    A headless Service is dialled by its endpoints' addresses, and then goes to the one that was meant.
    """

    retries = True

    def __init__(
        self,
        loop: ProxyLoop,
        name: str,
        counters: ClusterCounters,
        settings: ClusterSettings,
        *,
        direction: str,
        service: str = "",
    ) -> None:
        super().__init__(loop, name, counters, settings, direction=direction, service=service)
        self._hosts: dict[Destination, UpstreamHost] = {}
        self._list: list[UpstreamHost] = []
        self._headless = False
        # Which endpoint serves which request is nobody's secret, and no two proxies shall agree about it.
        self._random = random.Random()

    @property
    def hosts(self) -> Iterable[UpstreamHost]:
        """The endpoints."""
        return self._list

    def find(self, destination: Destination, client: str, tried: Collection[UpstreamHost]) -> UpstreamHost | None:  # noqa: ARG002 - all are served alike
        """Return the endpoint that was dialled, else one of the less busy ones."""
        if self._headless and not tried:
            meant = self._hosts.get(destination)
            if meant is not None:
                return meant
        found = least_request(self._list, tried, self._random)
        if found is None:
            self.counters.upstream_cx_none_healthy += 1
        return found

    def update(self, endpoints: Iterable[IntentEndpoint], *, headless: bool) -> None:
        """Have these endpoints from now on: those that stay keep their connections, the others' idle ones close."""
        before = self._hosts
        self._headless = headless
        self._hosts = {}
        for endpoint in endpoints:
            address = (endpoint.address, endpoint.port)
            self._hosts[address] = before.pop(address) if address in before else UpstreamHost(self, address)
            self._hosts[address].workload = endpoint.pod
        self._list = list(self._hosts.values())
        for host in before.values():
            host.retire()
