"""The program of a bundled proxy's container: listeners as the intent says, until told to stop.

The order of a life: bind, say ready, serve, drain, return.
"""

import gc
import json
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from lab.errors import InputError, PodError
from lab.program import Context
from sidecar.intent import ENVIRONMENT, Intent
from sidecar.proxy.admin import AdminConnection, Page, text
from sidecar.proxy.cluster import OriginalDestinations
from sidecar.proxy.counters import ListenerCounters, Registry, TcpCounters
from sidecar.proxy.destination import Destination, FindDestination, original_destination
from sidecar.proxy.downstream import Gateway
from sidecar.proxy.listener import Listener, Serve, listen
from sidecar.proxy.loop import Loop
from sidecar.proxy.message import Limits
from sidecar.proxy.pump import Pump
from sidecar.proxy.stream import Stream
from sidecar.proxy.upstream import Pool


def main(context: Context) -> None:
    """Serve what `context.env` holds as intent until SIGTERM or SIGINT, then drain and return.

    Raises `InputError` for an intent that is none or asks for more workers than one, `PodError` for a port that is
    taken.
    """
    intent = Intent.from_json(context.env.get(ENVIRONMENT, "{}"))
    if intent.concurrency != 1:
        raise InputError(f"intent: concurrency: {intent.concurrency}: the bundled proxy has one worker: give 1")
    sockets = Sockets.open(intent)
    loop = Loop()
    proxy = Proxy(loop, intent, sockets, original_destination)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: loop.call_threadsafe(proxy.drain))
    # What exists now stays: the collector need not look at it again while requests wait.
    gc.collect()
    gc.freeze()
    context.ready()
    loop.run()


@dataclass(frozen=True)
class Sockets:
    """The listening sockets by their purpose; IPv6 is there where the pod has it."""

    outbound: tuple[socket.socket, ...]
    inbound: tuple[socket.socket, ...]
    admin: tuple[socket.socket, ...]
    health: tuple[socket.socket, ...]

    @staticmethod
    def open(intent: Intent) -> "Sockets":
        """Bind what `intent` names; raises `PodError` for a port that cannot be had."""
        ports = intent.ports
        with ExitStack() as opened:
            sockets = Sockets(
                outbound=_listen_everywhere(opened, ports.outbound),
                inbound=_listen_everywhere(opened, ports.inbound),
                admin=(_listen_on(opened, socket.AF_INET, "127.0.0.1", ports.admin),),
                health=_listen_everywhere(opened, ports.health),
            )
            opened.pop_all()
        return sockets


class Proxy:
    """A running proxy: its listeners on `loop`, which stops once `drain` has come to an end."""

    def __init__(self, loop: Loop, intent: Intent, sockets: Sockets, find_destination: FindDestination) -> None:
        self._loop = loop
        self._intent = intent
        self._registry = Registry()
        self._draining = False
        self._started_s = time.monotonic()
        self._gateways: list[Gateway] = []
        self._traffic: list[ListenerCounters] = []
        blackhole = self._registry.tcp("BlackHoleCluster")
        sources = (intent.inbound_bind_ipv4, intent.inbound_bind_ipv6)
        inbound = OriginalDestinations(
            loop, "InboundPassthroughCluster", self._registry, intent.connect_timeout_s, sources
        )
        outbound = OriginalDestinations(loop, "PassthroughCluster", self._registry, intent.connect_timeout_s)
        captured = partial(self._listen, find_destination=find_destination, blackhole=blackhole)
        serve_inbound = self._service(inbound, f"inbound_0.0.0.0_{intent.ports.inbound}", intent.server_name)
        serve_outbound = self._service(outbound, f"outbound_0.0.0.0_{intent.ports.outbound}", None)
        self._listeners = [
            *captured(sockets.inbound, intent.ports.inbound, serve_inbound),
            *captured(sockets.outbound, intent.ports.outbound, serve_outbound),
        ]
        # They stay open while the proxy drains, so that it can be watched.
        self._own_listeners = [
            *self._listen_to(sockets.admin, self._admin_pages()),
            *self._listen_to(sockets.health, {"/healthz/ready": self._ready}),
        ]

    def drain(self) -> None:
        """Accept nothing further, finish what is in flight within the intent's time, then stop the loop."""
        if self._draining:
            return
        self._draining = True
        for listener in self._listeners:
            listener.close()
        for gateway in self._gateways:
            gateway.drain()
        self._loop.call_later(self._intent.drain_s, self._loop.stop)
        self._loop.call_soon(self._stop_if_idle)

    def close(self) -> None:
        """Close the listening sockets."""
        for listener in (*self._listeners, *self._own_listeners):
            listener.close()

    def _service(self, cluster: OriginalDestinations, http_prefix: str, server_name: str | None) -> Serve:
        if self._intent.protocol == "tcp":
            return partial(_serve_bytes, cluster, self._registry.tcp(cluster.name))
        limits = Limits(self._intent.max_header_bytes, self._intent.max_headers)
        pool = Pool(cluster, limits, own_server=server_name is not None)
        gateway = Gateway(pool, self._registry.http(http_prefix), server_name)
        self._gateways.append(gateway)
        return gateway.serve

    def _listen(
        self,
        sockets: tuple[socket.socket, ...],
        port: int,
        serve: Serve,
        *,
        find_destination: FindDestination,
        blackhole: TcpCounters,
    ) -> list[Listener]:
        counters = self._registry.listener(f"0.0.0.0_{port}")
        self._traffic.append(counters)
        return [
            Listener(
                self._loop,
                listening,
                counters,
                serve,
                find_destination=find_destination,
                blackhole=blackhole,
                on_closed=self._stop_if_idle,
            )
            for listening in sockets
        ]

    def _listen_to(self, sockets: tuple[socket.socket, ...], pages: Mapping[str, Page]) -> list[Listener]:
        """Serve pages of our own; no destination is looked for, so that nothing can be a circle."""
        counters = ListenerCounters()
        return [
            Listener(
                self._loop,
                listening,
                counters,
                lambda stream, _destination: stream.start(AdminConnection(stream, pages)),
                find_destination=lambda _connection: ("", 0),
                blackhole=TcpCounters(),
                on_closed=_nothing,
            )
            for listening in sockets
        ]

    def _admin_pages(self) -> dict[str, Page]:
        return {"/stats": self._stats, "/ready": self._ready, "/server_info": self._server_info}

    def _stats(self) -> tuple[int, str, str]:
        return text("".join(f"{name}: {value}\n" for name, value in self._registry))

    def _ready(self) -> tuple[int, str, str]:
        return text("DRAINING\n", 503) if self._draining else text("LIVE\n")

    def _server_info(self) -> tuple[int, str, str]:
        info = {
            "state": "DRAINING" if self._draining else "LIVE",
            "version": "sidelab-proxy",
            "uptime_current_epoch": f"{int(time.monotonic() - self._started_s)}s",
            "intent": json.loads(self._intent.to_json()),
        }
        return 200, "application/json", json.dumps(info, indent=1) + "\n"

    def _stop_if_idle(self) -> None:
        if self._draining and not any(counters.downstream_cx_active for counters in self._traffic):
            self._loop.stop()


def _serve_bytes(
    cluster: OriginalDestinations, counters: TcpCounters, downstream: Stream, destination: Destination
) -> None:
    """Join an accepted stream with a new one to its destination; a destination that fails at once resets it."""
    counters.downstream_cx_total += 1
    try:
        upstream = cluster.dial(destination)
    except OSError:
        downstream.abort()
        return
    pump = Pump(downstream, upstream, cluster.unreachable)
    downstream.start(pump.from_downstream)
    upstream.start(pump.from_upstream)


def _listen_everywhere(opened: ExitStack, port: int) -> tuple[socket.socket, ...]:
    ipv4 = _listen_on(opened, socket.AF_INET, "0.0.0.0", port)
    try:
        return ipv4, opened.enter_context(listen(socket.AF_INET6, "::", port))
    except OSError:
        # No IPv6 in this pod, or in this kernel: nothing can arrive by it either.
        return (ipv4,)


def _listen_on(opened: ExitStack, family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    try:
        return opened.enter_context(listen(family, host, port))
    except OSError as error:
        raise PodError(f"proxy: {host}:{port}: {error.strerror}: let nothing else in the pod use this port") from error


def _nothing() -> None:
    """Take note of nothing."""
