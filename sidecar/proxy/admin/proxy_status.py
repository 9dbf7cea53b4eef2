"""What the admin pages show of a proxy: its listeners, and the clusters behind it with their hosts. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

HEALTHY = "healthy"
"""What `/clusters` says of a host with no flag against it."""

FAILED_ACTIVE_CHECK = "/failed_active_hc"
FAILED_OUTLIER_CHECK = "/failed_outlier_check"
FAILED_EDS_HEALTH = "/failed_eds_health"
"""Envoy's flags: an active check failed, it was ejected as an outlier, its pod is not ready."""

UNLIMITED = 2**32 - 1
"""What Istio configures for every threshold that no DestinationRule names."""


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
    `hostname` is the pod behind it. `flags` are what speaks against it, none if it is healthy.
    """

    address: str
    port: int
    hostname: str = ""
    stats: Mapping[str, int] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Where connections go, and the most that it takes of each at a time."""

    name: str
    hosts: tuple[HostStatus, ...] = ()
    max_connections: int = UNLIMITED
    max_pending_requests: int = UNLIMITED
    max_requests: int = UNLIMITED
    max_retries: int = UNLIMITED

    @property
    def thresholds(self) -> dict[str, int]:
        """The limits by their names."""
        return {
            "max_connections": self.max_connections,
            "max_pending_requests": self.max_pending_requests,
            "max_requests": self.max_requests,
            "max_retries": self.max_retries,
        }


def socket_address(address: str, port: int) -> str:
    """Return an address and port as they are written together."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
