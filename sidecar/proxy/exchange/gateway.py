"""What the HTTP connections of one direction share: routes, counters and timeouts.

It only drains and sweeps connections; how they serve a request is not known here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.stream_interface import Receiver, Wire
from sidelab.sidecar.proxy.routing.routes import Route
from sidelab.sidecar.proxy.stats.outcome import Observer
from sidelab.sidecar.proxy.stats.proxy_counters import HttpCounters
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.http.message import RequestHead

PassOn = Callable[[Wire, Destination, Destination], Receiver | None]
"""Called with a connection, its destination and its source; returns its next receiver, or None if it is closed."""


class Routes(Protocol):
    """The part of the tables in `routes` that a gateway needs."""

    def route(self, destination: Destination, host: bytes) -> Route[UpstreamCluster]:
        """Return the route for a request to `host` on a connection that was going to `destination`."""


class GatewayConnection(Protocol):
    """A client's connection, as its gateway sees it."""

    @property
    def started_s(self) -> float:
        """When the last request began, by time.perf_counter(); 0 before the first."""

    @property
    def idle(self) -> bool:
        """Whether no request is being served."""

    def drain(self) -> None:
        """Close if no request is being served."""

    def expire(self) -> bool:
        """Close if nothing would be lost; returns whether it closed."""

    def forget_route(self) -> None:
        """Look up the route again for the next head: the routes have changed."""


class Gateway:
    """The HTTP side of a direction.

    `server_name` is put into responses as `server`; None leaves the application's. `pass_on` takes a connection that
    turns out to speak HTTP/2; without it such a connection is refused. `drain` closes the gateway.
    """

    def __init__(
        self,
        direction: str,
        routes: Routes,
        settings: ClusterSettings,
        counters: HttpCounters,
        deadlines: Deadlines,
        *,
        server_name: str | None = None,
    ) -> None:
        self.direction = direction
        self.counters = counters
        self.deadlines = deadlines
        self.draining = False
        # The last head on any connection: clients that open a connection per request repeat their heads, too.
        self.last: RequestHead | None = None
        # By connection: the `started_s` seen at the last sweep, and for how many sweeps it has been idle with it.
        self.connections: dict[GatewayConnection, tuple[float, int]] = {}
        self.pass_on: PassOn | None = None
        self.tell(None)
        self.change(routes, settings, server_name=server_name)

    def tell(self, observer: Observer | None, *, counts: bool = True) -> None:
        """Report requests to `observer` (None: to none) from now on; without `counts`, only whole outcomes."""
        self.observer = observer
        self.counts = counts

    def change(self, routes: Routes, settings: ClusterSettings, *, server_name: str | None) -> None:
        """Use these routes and settings from the next request of every connection on."""
        self.routes = routes
        self.limits = settings.limits
        self.last = None
        self.own_fields = f"server: {server_name}\r\nx-envoy-upstream-service-time: ".encode() if server_name else b""
        self.local_fields = f"server: {server_name}\r\n".encode() if server_name else b""
        for connection in self.connections:
            connection.forget_route()

    def sweep(self, age: int) -> None:
        """Close connections that have had no request for `age` sweeps."""
        for connection, (began_s, sweeps) in tuple(self.connections.items()):
            started_s = connection.started_s
            now = sweeps + 1 if began_s == started_s and connection.idle else 0
            self.connections[connection] = started_s, now
            if now >= age and connection.expire():
                self.counters.downstream_cx_idle_timeout += 1

    def drain(self) -> None:
        """Close idle connections now and every other one after its response."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
