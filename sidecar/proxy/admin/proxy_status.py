"""The state of a proxy for its admin pages: its listeners, and its clusters with their hosts. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ListenerStatus:
    """An open listening socket; `name` as in Istio, such as virtualInbound."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class HostStatus:
    """An endpoint of a cluster.

    `stats` are the host statistics that the proxy counts, under Envoy's names (`cx_total`, `rq_error` …); `hostname`
    is the pod behind it.
    """

    address: str
    port: int
    hostname: str = ""
    stats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A cluster and its hosts."""

    name: str
    hosts: tuple[HostStatus, ...] = ()


def socket_address(address: str, port: int) -> str:
    """Return an address and a port as one text."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
