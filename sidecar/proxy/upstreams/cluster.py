"""Clusters of upstream hosts, in Envoy's sense: each request or connection gets a host from one.

`OriginalDestinations` goes where the traffic was going, `Balanced` to one of a Service's endpoints. They know nothing
of listeners or protocols.
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
"""Up to this many, original destinations are remembered without a connection: most are dialled again."""


class UpstreamCluster:
    """The base of all clusters; `service` is the full name of the Service behind it, "" for none."""

    retries = False
    """Whether a request may go to another host when one cannot be reached, as in Istio's default retry policy."""

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
        """The hosts known at present."""
        raise NotImplementedError

    def find(self, destination: Destination, client: str, tried: Collection[UpstreamHost]) -> UpstreamHost | None:
        """Return the host for a request that was going to `destination`, if possible not one of `tried`.

        `client` is the source address. Return None if there is no host.
        """
        raise NotImplementedError

    def dial(self, host: UpstreamHost) -> TcpStream:
        """Return a stream to `host`, not yet started; raises `OSError`, already counted."""
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
        """Note that `host` has lost its last connection."""

    def close(self) -> None:
        """Close the idle connections, and from now on every connection that becomes idle."""
        self.closed = True
        for host in tuple(self.hosts):
            host.close_idle()

    def sweep(self, age: int) -> None:
        """Close connections that have been idle through `age` sweeps."""
        for host in tuple(self.hosts):
            self.counters.upstream_cx_idle_timeout += host.sweep(age)


class OriginalDestinations(UpstreamCluster):
    """Dials the address that the traffic was going to (an ORIGINAL_DST cluster); its hosts come and go.

    `sources` are the source addresses, IPv4 then IPv6, None for the pod's; `transparent`: use the client's instead.
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
        """The hosts that were dialled, including all that have connections."""
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
        """Forget `host` if there are many: the number of a pod's destinations is unbounded."""
        if len(self._hosts) > KEPT_HOSTS:
            self._hosts.pop((host.address, host.source), None)


class Balanced(UpstreamCluster):
    """Spreads requests over a Service's ready endpoints, see `balance`.

    Clients dial a headless Service by an endpoint's address, and the request goes to that endpoint.
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
        # The choice of endpoint is no secret, so a plain generator will do; proxies must not choose in step.
        self._random = random.Random()

    @property
    def hosts(self) -> Iterable[UpstreamHost]:
        """The endpoints."""
        return self._list

    def find(self, destination: Destination, client: str, tried: Collection[UpstreamHost]) -> UpstreamHost | None:  # noqa: ARG002 - all are served alike
        """Return the endpoint of a headless Service that was dialled, else one of the less busy ones."""
        if self._headless and not tried:
            meant = self._hosts.get(destination)
            if meant is not None:
                return meant
        found = least_request(self._list, tried, self._random)
        if found is None:
            self.counters.upstream_cx_none_healthy += 1
        return found

    def update(self, endpoints: Iterable[IntentEndpoint], *, headless: bool) -> None:
        """Replace the endpoints: those that stay keep their connections, the idle ones of the others are closed."""
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
