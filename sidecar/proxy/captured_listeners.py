"""The ports at which captured connections arrive, and whether any of these connections is open."""

import resource
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.admin.proxy_status import ListenerStatus
from sidelab.sidecar.proxy.admin.proxy_view import listener_status
from sidelab.sidecar.proxy.direction import TrafficDirection
from sidelab.sidecar.proxy.io.destination import FindDestination
from sidelab.sidecar.proxy.io.listener import Bounds, Listener, admission
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.share import Shares
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.stats.outcome import BLACK_HOLE
from sidelab.sidecar.proxy.traffic import ProxyTraffic

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.stats.proxy_counters import ListenerCounters

_MOST_OF_ONE = 1024
"""How many captured connections a source may have; idle ones are dropped first."""

_DESCRIPTORS_EACH = 3


class CapturedListeners:
    """Listeners on a proxy's `sockets` for traffic; `on_closed` is called when one of their connections has ended."""

    def __init__(
        self,
        loop: ProxyLoop,
        sockets: ListeningSockets,
        intent: Intent,
        traffic: ProxyTraffic,
        shares: Shares,
        *,
        find_destination: FindDestination,
        on_closed: Callable[[], None],
    ) -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _DESCRIPTORS_EACH
        self._bounds = Bounds(admission(min(_MOST_OF_ONE, most // 2), most), shares)
        self._loop = loop
        self._registry = traffic.observation.registry
        self._find_destination = find_destination
        self._on_closed = on_closed
        self._counters: list[ListenerCounters] = []
        self._inbound = self._listen("virtualInbound", sockets.inbound, intent.ports.inbound, traffic.inbound)
        self._outbound = self._listen("virtualOutbound", sockets.outbound, intent.ports.outbound, traffic.outbound)

    @property
    def active(self) -> bool:
        """Whether any connection is open."""
        return any(counters.downstream_cx_active for counters in self._counters)

    def statuses(self) -> list[ListenerStatus]:
        """Return the listeners that are open."""
        return [status for status, listener in (*self._outbound, *self._inbound) if not listener.closed]

    def close(self, *, inbound_only: bool = False) -> None:
        """Stop accepting; open connections stay."""
        for _, listener in (*self._inbound, *(() if inbound_only else self._outbound)):
            listener.close()

    def _listen(
        self, name: str, sockets: tuple[socket.socket, ...], port: int, direction: TrafficDirection
    ) -> list[tuple[ListenerStatus, Listener]]:
        counters = self._registry.listener(f"0.0.0.0_{port}")
        self._counters.append(counters)
        return [
            (
                listener_status(name, listening),
                Listener(
                    self._loop,
                    listening,
                    counters,
                    direction.serve,
                    find_destination=self._find_destination,
                    blackhole=self._registry.tcp(BLACK_HOLE),
                    bounds=self._bounds,
                    on_closed=self._on_closed,
                ),
            )
            for listening in sockets
        ]
