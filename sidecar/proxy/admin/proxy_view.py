"""Turns running parts of the proxy into the values that its pages show."""

import socket
from collections import Counter
from collections.abc import Iterable

from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, HostStatus, ListenerStatus
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.stats.outcome import BLACK_HOLE
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
from sidelab.sidecar.proxy.upstreams.host import UpstreamHost


def listener_status(name: str, listening: socket.socket) -> ListenerStatus:
    """Return the status of the listening socket of the listener `name`."""
    address = listening.getsockname()
    return ListenerStatus(name, address[0], address[1])


def cluster_statuses(clusters: Iterable[UpstreamCluster]) -> list[ClusterStatus]:
    """Return the status of all `clusters`, and of the black hole, to which nothing is ever sent."""
    return [*map(cluster_status, clusters), ClusterStatus(BLACK_HOLE)]


def cluster_status(cluster: UpstreamCluster) -> ClusterStatus:
    """Return the present status of a cluster and its hosts.

    With TPROXY there is a host per address and client: they are shown as one per address, for all clients.
    """
    hosts: dict[Destination, list[UpstreamHost]] = {}
    for host in cluster.hosts:
        hosts.setdefault(host.address, []).append(host)
    return ClusterStatus(cluster.name, tuple(_host_status(*found) for found in hosts.items()))


def _host_status(address: Destination, hosts: Iterable[UpstreamHost]) -> HostStatus:
    stats: Counter[str] = Counter()
    workload = ""
    for host in hosts:
        workload = host.workload
        stats.update(
            cx_active=host.connections,
            cx_connect_fail=host.connect_fail,
            cx_total=host.connections_total,
            rq_active=host.active,
            rq_error=host.errors,
            rq_success=host.total - host.errors - host.active,
            rq_total=host.total,
        )
    return HostStatus(*address, hostname=workload, stats=stats)
