"""A running proxy: its listeners on a loop, what they lead to, and everything that can be done with the whole of it."""

import resource
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.admin.admin_connection import HEAD_S, AdminConnection
from sidelab.sidecar.proxy.admin.admin_pages import Pages
from sidelab.sidecar.proxy.admin.commands import Command
from sidelab.sidecar.proxy.admin.pace import Pace
from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, ListenerStatus
from sidelab.sidecar.proxy.admin.proxy_view import cluster_status
from sidelab.sidecar.proxy.direction import Direction
from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.destination import Destination, FindDestination
from sidelab.sidecar.proxy.io.listener import Bounds, Listener, admission
from sidelab.sidecar.proxy.io.logwriter import LogWriter
from sidelab.sidecar.proxy.io.proxy_loop import Loop
from sidelab.sidecar.proxy.io.share import Shares
from sidelab.sidecar.proxy.io.sockets import Sockets
from sidelab.sidecar.proxy.io.stream import Stream
from sidelab.sidecar.proxy.routing.routes import Inbound, Outbound, check
from sidelab.sidecar.proxy.stats.accesslog import access_log
from sidelab.sidecar.proxy.stats.outcome import BLACK_HOLE, Observer
from sidelab.sidecar.proxy.stats.prometheus import Family
from sidelab.sidecar.proxy.stats.proxy_counters import ListenerCounters, Registry, TcpCounters
from sidelab.sidecar.proxy.stats.stats import Stat
from sidelab.sidecar.proxy.stats.telemetry import Telemetry
from sidelab.sidecar.proxy.tcp import ByteService
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
from sidelab.sidecar.proxy.upstreams.clusters import SWEEPS, Clusters

_FIXED = ("ports", "ipv6", "mode", "concurrency")
"""What cannot change while a proxy runs: it is in its listening sockets."""

_MOST_OF_ONE = 1024
"""How many captured connections a source may have, of which those that are idle go first."""

_DESCRIPTORS_EACH = 3
_OWN_OF_ONE, _OWN = 64, 256
"""How many connections a source, and all together, may have to each of the proxy's own ports."""


class Proxy:
    """Serves `intent` on `sockets` and `loop`, which stops once `drain` has come to an end.

    Whoever makes it has let `routes.check` look at the intent.
    """

    def __init__(self, loop: Loop, intent: Intent, sockets: Sockets, find_destination: FindDestination) -> None:
        self.intent = intent
        self.draining = False
        self._loop = loop
        self._registry = Registry()
        self._telemetry = Telemetry(intent.workload)
        self._log: LogWriter | None = None
        self._clusters = Clusters(loop, self._registry)
        self._headers = Deadlines(loop, intent.header_timeout_s)
        self._detections = Deadlines(loop, intent.detection_timeout_s)
        self._asking = Deadlines(loop, HEAD_S)
        self._shares = Shares()
        self._traffic: list[ListenerCounters] = []
        self._clusters.update(intent)
        self._log_as_told()
        self._inbound = self._direction("inbound", Inbound(intent, self._cluster), intent.ports.inbound)
        self._outbound = self._direction("outbound", Outbound(intent, self._cluster), intent.ports.outbound)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _DESCRIPTORS_EACH
        bounds = Bounds(admission(min(_MOST_OF_ONE, most // 2), most), self._shares)
        blackhole = self._registry.tcp(BLACK_HOLE)
        listen = partial(self._listen, bounds=bounds, find_destination=find_destination, blackhole=blackhole)
        self._inbound_listeners = listen("virtualInbound", sockets.inbound, intent.ports.inbound, self._inbound)
        self._outbound_listeners = listen("virtualOutbound", sockets.outbound, intent.ports.outbound, self._outbound)
        pages = Pages(self)
        # They stay open while the proxy drains, so that it can be watched.
        self._own_listeners = [
            *self._listen_to("admin", sockets.admin, pages.admin()),
            *self._listen_to("prometheus", sockets.stats, pages.metrics(), Pace(loop)),
            *self._listen_to("health", sockets.health, pages.health(), Pace(loop)),
        ]
        self._sweep_later()

    def update(self, intent: Intent) -> None:
        """Do what `intent` says from now on, dropping no connection; raises `InputError` for what cannot change."""
        for name in _FIXED:
            if getattr(intent, name) != getattr(self.intent, name):
                raise InputError(f"intent: {name}: it cannot change while the proxy runs: start the pod anew")
        check(intent)
        self.intent = intent
        self._clusters.update(intent)
        self._headers.timeout_s = intent.header_timeout_s
        self._detections.timeout_s = intent.detection_timeout_s
        self._log_as_told()
        inbound, outbound = Inbound(intent, self._cluster), Outbound(intent, self._cluster)
        self._inbound.plans, self._outbound.plans = inbound, outbound
        self._inbound.gateway.change(inbound, self._clusters.inbound, server_name=intent.server_name)
        self._outbound.gateway.change(outbound, self._clusters.outbound, server_name=None)
        for direction in (self._inbound, self._outbound):
            direction.gateway.tell(self._observer(), counts=intent.metrics)
            direction.byte_service.tell(self._observer(), counts=intent.metrics)

    def drain(self) -> None:
        """Accept nothing further, finish what is in flight within the intent's time, then stop the loop."""
        if self.draining:
            return
        self.draining = True
        self._close_listeners(inbound_only=False)
        self._clusters.close()
        for direction in (self._inbound, self._outbound):
            direction.gateway.drain()
        self._loop.call_later(self.intent.drain_s, self._loop.stop)
        self._loop.call_soon(self._stop_if_idle)

    def close(self) -> None:
        """Close the listening sockets, and write the rest of the access log."""
        self._close_listeners(inbound_only=False)
        for _, listener in self._own_listeners:
            listener.close()
        if self._log is not None:
            self._log.close()

    # What the pages show and do, see `pages.Subject`.

    def listeners(self) -> Iterable[ListenerStatus]:
        """Return the listeners that are open."""
        listeners = (*self._outbound_listeners, *self._inbound_listeners, *self._own_listeners)
        return [status for status, listener in listeners if not listener.closed]

    def clusters(self) -> Iterable[ClusterStatus]:
        """Return where traffic goes."""
        return [*(cluster_status(cluster) for cluster in self._clusters), ClusterStatus(BLACK_HOLE)]

    def stats(self) -> Iterable[Stat]:
        """Return every counter and gauge."""
        log = self._log.stats() if self._log is not None else []
        return [*self._registry, *self._telemetry.stats(), *log]

    def families(self) -> list[Family]:
        """Return Istio's metrics."""
        return self._telemetry.families()

    def reset_counters(self) -> None:
        """Set all counters to zero."""
        self._registry.reset()
        self._telemetry.reset()

    def drain_listeners(self, *, graceful: bool, inbound_only: bool) -> None:
        """Close listeners but stay; if `graceful`, close connections after their responses first."""
        if not graceful:
            self._close_listeners(inbound_only=inbound_only)
            return
        for direction in (self._inbound,) if inbound_only else (self._inbound, self._outbound):
            direction.gateway.drain()
        self._loop.call_later(self.intent.drain_s, lambda: self._close_listeners(inbound_only=inbound_only))

    def quit(self) -> None:
        """Stop at the end of this turn."""
        self._loop.stop()

    # How it is put together.

    def _cluster(self, name: str) -> UpstreamCluster:
        return self._clusters[name]

    def _observer(self) -> Observer | None:
        return self._telemetry if self.intent.metrics or self.intent.access_log else None

    def _log_as_told(self) -> None:
        if self.intent.access_log and self._log is None:
            self._log = LogWriter(self._loop, sys.stdout.fileno())
        write: Callable[[bytes], None] = self._log.write if self._log is not None else _nothing
        self._telemetry.log_to(access_log(self.intent.access_log, write))

    def _direction(
        self, name: str, tables: Inbound[UpstreamCluster] | Outbound[UpstreamCluster], port: int
    ) -> Direction:
        inbound = name == "inbound"
        gateway = Gateway(
            name,
            tables,
            self._clusters.inbound if inbound else self._clusters.outbound,
            self._registry.http(f"{name}_0.0.0.0_{port}"),
            self._headers,
            server_name=self.intent.server_name if inbound else None,
        )
        byte_service = ByteService(name, self._registry.tcp)
        gateway.tell(self._observer(), counts=self.intent.metrics)
        byte_service.tell(self._observer(), counts=self.intent.metrics)
        return Direction(tables, gateway, byte_service, self._detections)

    def _listen(
        self,
        name: str,
        sockets: tuple[socket.socket, ...],
        port: int,
        direction: Direction,
        *,
        bounds: Bounds,
        find_destination: FindDestination,
        blackhole: TcpCounters,
    ) -> list[tuple[ListenerStatus, Listener]]:
        counters = self._registry.listener(f"0.0.0.0_{port}")
        self._traffic.append(counters)
        return [
            (
                _status(name, listening),
                Listener(
                    self._loop,
                    listening,
                    counters,
                    direction.serve,
                    find_destination=find_destination,
                    blackhole=blackhole,
                    bounds=bounds,
                    on_closed=self._stop_if_idle,
                ),
            )
            for listening in sockets
        ]

    def _listen_to(
        self, name: str, sockets: tuple[socket.socket, ...], commands: Mapping[str, Command], pace: Pace | None = None
    ) -> list[tuple[ListenerStatus, Listener]]:
        """Serve pages of our own; no destination is looked for, so that nothing can be a circle."""
        counters = ListenerCounters()
        bounds = Bounds(admission(_OWN_OF_ONE, _OWN), self._shares)

        def serve(stream: Stream, _destination: Destination, _client: Destination) -> None:
            stream.start(AdminConnection(stream, commands, self._asking, pace))

        return [
            (
                _status(name, listening),
                Listener(
                    self._loop,
                    listening,
                    counters,
                    serve,
                    find_destination=lambda _connection: ("", 0),
                    blackhole=TcpCounters(),
                    bounds=bounds,
                    on_closed=lambda: None,
                ),
            )
            for listening in sockets
        ]

    def _close_listeners(self, *, inbound_only: bool) -> None:
        for _, listener in (*self._inbound_listeners, *(() if inbound_only else self._outbound_listeners)):
            listener.close()

    def _sweep_later(self) -> None:
        self._loop.call_later(self.intent.idle_timeout_s / SWEEPS, self._sweep)

    def _sweep(self) -> None:
        self._clusters.sweep()
        for direction in (self._inbound, self._outbound):
            direction.gateway.sweep(SWEEPS + 1)
            direction.byte_service.sweep(SWEEPS + 1)
        self._sweep_later()

    def _stop_if_idle(self) -> None:
        if self.draining and not any(counters.downstream_cx_active for counters in self._traffic):
            self._loop.stop()


def _status(name: str, listening: socket.socket) -> ListenerStatus:
    address = listening.getsockname()
    return ListenerStatus(name, address[0], address[1])


def _nothing(_line: bytes) -> None:
    """Write nowhere."""
