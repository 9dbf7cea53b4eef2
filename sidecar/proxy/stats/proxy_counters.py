"""The proxy's counters, under the names that Envoy uses in an Istio sidecar.

Plain integers in slots: counting costs one attribute update, and `/stats` can read them at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields


@dataclass(slots=True)
class ListenerCounters:
    """`listener.<address>_<port>.*`: connections accepted, open, and refused because there were too many."""

    downstream_cx_total: int = 0
    downstream_cx_active: int = 0
    downstream_cx_overload_reject: int = 0


@dataclass(slots=True)
class ClusterCounters:
    """`cluster.<name>.*`: connections and requests to the hosts of a cluster."""

    upstream_cx_total: int = 0
    upstream_cx_active: int = 0
    upstream_cx_connect_fail: int = 0
    upstream_cx_connect_timeout: int = 0
    upstream_cx_idle_timeout: int = 0
    upstream_cx_none_healthy: int = 0
    upstream_cx_protocol_error: int = 0
    upstream_rq_total: int = 0
    upstream_rq_2xx: int = 0
    upstream_rq_3xx: int = 0
    upstream_rq_4xx: int = 0
    upstream_rq_5xx: int = 0
    upstream_rq_retry: int = 0
    upstream_rq_retry_limit_exceeded: int = 0

    def answered(self, status: int) -> None:
        """Count a response of the upstream by the class of its `status`, except 2xx, which callers count."""
        if status >= 500:
            self.upstream_rq_5xx += 1
        elif status >= 400:
            self.upstream_rq_4xx += 1
        elif status >= 300:
            self.upstream_rq_3xx += 1


@dataclass(slots=True)
class HttpCounters:
    """`http.<prefix>.*`: requests, their answers by class, and malformed messages."""

    downstream_rq_total: int = 0
    downstream_rq_1xx: int = 0
    downstream_rq_2xx: int = 0
    downstream_rq_3xx: int = 0
    downstream_rq_4xx: int = 0
    downstream_rq_5xx: int = 0
    downstream_rq_header_timeout: int = 0
    downstream_cx_protocol_error: int = 0
    downstream_cx_idle_timeout: int = 0

    def answered(self, status: int) -> None:
        """Count a response by the class of its `status` (100 to 599)."""
        if 200 <= status < 300:
            self.downstream_rq_2xx += 1
        elif status >= 500:
            self.downstream_rq_5xx += 1
        elif status >= 400:
            self.downstream_rq_4xx += 1
        elif status >= 300:
            self.downstream_rq_3xx += 1
        else:
            self.downstream_rq_1xx += 1


@dataclass(slots=True)
class TcpCounters:
    """`tcp.<prefix>.*`: connections forwarded as bytes, or closed at once (`BlackHoleCluster`)."""

    downstream_cx_total: int = 0


Counters = ListenerCounters | ClusterCounters | HttpCounters | TcpCounters


class CounterRegistry:
    """All groups of counters of a proxy, by the prefix of their names."""

    def __init__(self) -> None:
        self._groups: dict[str, Counters] = {}

    def listener(self, name: str) -> ListenerCounters:
        """Return new counters for the listener `name`, such as `0.0.0.0_15006`."""
        counters = ListenerCounters()
        self._groups[f"listener.{name}"] = counters
        return counters

    def cluster(self, name: str) -> ClusterCounters:
        """Return new counters for connections to the cluster `name`."""
        counters = ClusterCounters()
        self._groups[f"cluster.{name}"] = counters
        return counters

    def http(self, prefix: str) -> HttpCounters:
        """Return new counters for HTTP exchanges."""
        counters = HttpCounters()
        self._groups[f"http.{prefix}"] = counters
        return counters

    def tcp(self, prefix: str) -> TcpCounters:
        """Return the counters for byte streams to the cluster `prefix`."""
        counters = self._groups.setdefault(f"tcp.{prefix}", TcpCounters())
        assert isinstance(counters, TcpCounters)  # noqa: S101 - the prefix says so
        return counters

    def forget_cluster(self, name: str) -> None:
        """Drop the counters of a cluster that no longer exists."""
        self._groups.pop(f"cluster.{name}", None)
        self._groups.pop(f"tcp.{name}", None)

    def reset(self) -> None:
        """Set every counter to zero; gauges of what is open (`…_active`) stay."""
        for group in self._groups.values():
            for counter in fields(group):
                if not counter.name.endswith("_active"):
                    setattr(group, counter.name, 0)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Yield every counter's full name and value, sorted by name."""
        yield from sorted(
            (f"{prefix}.{counter.name}", getattr(group, counter.name))
            for prefix, group in self._groups.items()
            for counter in fields(group)
        )
