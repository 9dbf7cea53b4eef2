"""A host in Envoy's sense: one address of a cluster, its counters, and its idle connections.

Requests of all clients share the idle connections; the last used is taken first, so that the others time out.
"""

from typing import Protocol

from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.stream_interface import Wire
from sidelab.sidecar.proxy.stats.outcome import OK, RequestKey
from sidelab.sidecar.proxy.stats.proxy_counters import ClusterCounters
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings
from sidelab.sidecar.proxy.upstreams.upstream import Upstream

_KEPT_KEYS = 64


class HostCluster(Protocol):
    """The part of a cluster that its hosts need."""

    direction: str
    service: str
    counters: ClusterCounters
    settings: ClusterSettings
    retries: bool
    closed: bool

    def dial(self, host: "UpstreamHost") -> Wire:
        """Return a stream to `host`, not yet started; raises `OSError`, already counted."""

    def deserted(self, host: "UpstreamHost") -> None:
        """Note that `host` has lost its last connection."""


class UpstreamHost:
    """An upstream host; `source` is the source address to use, `workload` the name of its pod.

    `active` counts the requests and byte streams in progress, `connections` the open connections, `total` the requests
    it got, `errors` those that it answered with 5xx or not at all.
    """

    __slots__ = (
        "_keys", "active", "address", "cluster", "connect_fail", "connections", "connections_total", "counters",
        "errors", "idle", "retired", "settings", "source", "total", "transparent", "workload",
    )  # fmt: skip

    def __init__(
        self,
        cluster: HostCluster,
        address: Destination,
        *,
        source: str | None = None,
        transparent: bool = False,
        workload: str = "",
    ) -> None:
        self.cluster = cluster
        self.counters = cluster.counters
        self.settings = cluster.settings
        self.address = address
        self.source = source
        self.transparent = transparent
        self.workload = workload
        self.active = self.total = self.errors = 0
        self.connections = self.connections_total = self.connect_fail = 0
        self.idle: list[Upstream] = []
        self.retired = False
        self._keys: dict[int, RequestKey] = {}

    def key(self, status: int, flags: str = OK) -> RequestKey:
        """Return the key under which metrics count a request or connection to this host."""
        if flags is not OK:
            return (self.cluster.direction, self.cluster.service, self.workload, status, flags)
        key = self._keys.get(status)
        if key is None:
            if len(self._keys) >= _KEPT_KEYS:  # a server may send any number
                self._keys.clear()
            key = self._keys[status] = (self.cluster.direction, self.cluster.service, self.workload, status, flags)
        return key

    def open(self) -> Wire:
        """Return a new connection, not yet started; raises `OSError`."""
        self.connections += 1
        self.connections_total += 1
        try:
            return self.cluster.dial(self)
        except OSError:
            self._one_less()
            raise

    def take(self) -> Upstream:
        """Return an idle connection, or a new one; raises `OSError`."""
        return self.idle.pop() if self.idle else self.dial()

    def dial(self) -> Upstream:
        """Return a new connection; raises `OSError`."""
        wire = self.open()
        upstream = Upstream(self, wire)
        wire.start(upstream)
        return upstream

    def put(self, upstream: Upstream) -> None:
        """Keep a connection that is ready for another request."""
        if self.retired or self.cluster.closed:
            upstream.wire.close()
            return
        upstream.sweeps = 0
        self.idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """Remove an idle connection that has ended or sent something unasked."""
        self.idle.remove(upstream)

    def close_idle(self) -> None:
        """Close the idle connections."""
        idle, self.idle = self.idle, []
        for upstream in idle:
            upstream.wire.close()

    def retire(self) -> None:
        """Finish the requests in progress, and keep no idle connections from now on."""
        self.retired = True
        self.close_idle()

    def sweep(self, age: int) -> int:
        """Close connections that have been idle through `age` sweeps, and return how many."""
        for upstream in self.idle:
            upstream.sweeps += 1
        # The last used is the last in the list.
        old = sum(upstream.sweeps >= age for upstream in self.idle)
        aged, self.idle = self.idle[:old], self.idle[old:]
        for upstream in aged:
            upstream.wire.close()
        return old

    def unreachable(self, error: OSError) -> None:
        """Count a failed connection attempt, whether dialling failed at once or while the stream was connecting."""
        if isinstance(error, TimeoutError):
            self.counters.upstream_cx_connect_timeout += 1
        self.counters.upstream_cx_connect_fail += 1
        self.connect_fail += 1

    def disconnected(self, _stream: object) -> None:
        """Note that a connection has ended."""
        self.counters.upstream_cx_active -= 1
        self._one_less()

    def _one_less(self) -> None:
        self.connections -= 1
        if not self.connections:
            self.cluster.deserted(self)
