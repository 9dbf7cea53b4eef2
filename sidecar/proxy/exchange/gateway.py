"""What the HTTP connections of one direction share: where requests go, what is counted, how patient it is.

It knows connections as things to drain and to sweep; what they do with a request is their business.
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
"""Called with a connection, where it was going, where it comes from; returns its next receiver, None: it is closed."""


class Routes(Protocol):
    """Where requests go: what a gateway needs of the tables in `routes`."""

    def route(self, destination: Destination, host: bytes) -> Route[UpstreamCluster]:
        """Return the way for a request to `host` on a connection that was going to `destination`."""


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
        """Close, if nothing would be lost with it; returns whether it has."""

    def forget_route(self) -> None:
        """Look at the next head anew: the routes have changed."""


class Gateway:
    """The HTTP side of a direction.

    `server_name` is put into responses as `server`; None leaves the application's. `pass_on` takes a connection that
    turns out to speak HTTP/2; without it such a connection is refused. Closing is by `drain`.
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
        # The head that came last on any connection: clients that connect for every request repeat themselves, too.
        self.last: RequestHead | None = None
        # By connection: when its last request had begun as it was seen at the last sweep, and for how many sweeps.
        self.connections: dict[GatewayConnection, tuple[float, int]] = {}
        self.pass_on: PassOn | None = None
        self.tell(None)
        self.change(routes, settings, server_name=server_name)

    def tell(self, observer: Observer | None, *, counts: bool = True) -> None:
        """Tell `observer` of requests from now on, None: nobody; without `counts` only whole outcomes."""
        self.observer = observer
        self.counts = counts

    def change(self, routes: Routes, settings: ClusterSettings, *, server_name: str | None) -> None:
        """Do otherwise from the next request of every connection on."""
        self.routes = routes
        self.limits = settings.limits
        self.last = None
        self.own_fields = f"server: {server_name}\r\nx-envoy-upstream-service-time: ".encode() if server_name else b""
        self.local_fields = f"server: {server_name}\r\n".encode() if server_name else b""
        for connection in self.connections:
            connection.forget_route()

    def sweep(self, age: int) -> None:
        """Close connections on which no request has come for `age` sweeps."""
        for connection, (began_s, sweeps) in tuple(self.connections.items()):
            started_s = connection.started_s
            now = sweeps + 1 if began_s == started_s and connection.idle else 0
            self.connections[connection] = started_s, now
            if now >= age and connection.expire():
                self.counters.downstream_cx_idle_timeout += 1

    def drain(self) -> None:
        """Close what is idle now and everything else after its response."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
