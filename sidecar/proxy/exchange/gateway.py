"""What the HTTP connections of one direction share: where requests go, what is counted, how patient it is."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sidelab.sidecar.proxy.exchange.downstream import Downstream
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.stream_interface import Receiver, Wire
from sidelab.sidecar.proxy.routing.routes import Route
from sidelab.sidecar.proxy.stats.outcome import Observer
from sidelab.sidecar.proxy.stats.proxy_counters import HttpCounters
from sidelab.sidecar.proxy.upstreams.cluster import Cluster, Settings

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.http.message import RequestHead

PassOn = Callable[[Wire, Destination, Destination], Receiver | None]
"""Called with a connection, where it was going, where it comes from; returns its next receiver, None: it is closed."""


class Routes(Protocol):
    """Where requests go: what a gateway needs of the tables in `routes`."""

    def route(self, destination: Destination, host: bytes) -> Route[Cluster]:
        """Return the way for a request to `host` on a connection that was going to `destination`."""


class Gateway:
    """The HTTP side of a direction.

    `server_name` is put into responses as `server`; None leaves the application's. `pass_on` takes a connection that
    turns out to speak HTTP/2; without it such a connection is refused. Closing is by `drain`.
    """

    def __init__(
        self,
        direction: str,
        routes: Routes,
        settings: Settings,
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
        self.connections: set[Downstream] = set()
        self.pass_on: PassOn | None = None
        self.tell(None)
        self.change(routes, settings, server_name=server_name)

    def tell(self, observer: Observer | None, *, counts: bool = True) -> None:
        """Tell `observer` of requests from now on, None: nobody; without `counts` only whole outcomes."""
        self.observer = observer
        self.counts = counts

    def change(self, routes: Routes, settings: Settings, *, server_name: str | None) -> None:
        """Do otherwise from the next request of every connection on."""
        self.routes = routes
        self.limits = settings.limits
        self.last = None
        self.own_fields = f"server: {server_name}\r\nx-envoy-upstream-service-time: ".encode() if server_name else b""
        self.local_fields = f"server: {server_name}\r\n".encode() if server_name else b""
        for connection in self.connections:
            connection.forget_route()

    def connect(self, wire: Wire, destination: Destination, client: Destination) -> Downstream:
        """Return the receiver for a captured connection from `client`."""
        connection = Downstream(self, wire, destination, client)
        self.connections.add(connection)
        return connection

    def sweep(self, age: int) -> None:
        """Close connections on which no request has come for `age` sweeps."""
        closed = [connection.sweep(age) for connection in tuple(self.connections)]
        self.counters.downstream_cx_idle_timeout += sum(closed)

    def drain(self) -> None:
        """Close what is idle now and everything else after its response."""
        self.draining = True
        for connection in tuple(self.connections):
            connection.drain()
