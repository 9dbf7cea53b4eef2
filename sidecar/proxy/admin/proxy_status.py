"""What the admin pages show of a proxy: its listeners, and the clusters behind it with their hosts. Values only."""

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

    `stats` are Envoy's names of host statistics (`cx_total`, `rq_error` …) as far as the proxy counts them by host;
    `hostname` is the pod behind it.
    """

    address: str
    port: int
    hostname: str = ""
    stats: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Where connections go."""

    name: str
    hosts: tuple[HostStatus, ...] = ()


def socket_address(address: str, port: int) -> str:
    """Return an address and port as they are written together."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
