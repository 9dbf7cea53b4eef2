"""Running parts of the proxy as the values that its pages show."""

from collections import Counter
from collections.abc import Iterable

from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, HostStatus
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
from sidelab.sidecar.proxy.upstreams.host import UpstreamHost


def cluster_status(cluster: UpstreamCluster) -> ClusterStatus:
    """Return what is known of a cluster and its hosts now.

    With TPROXY a host is an address for one client: what is shown is the address, for all of them.
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
