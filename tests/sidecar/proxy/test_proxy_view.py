"""Running clusters as `/clusters` shows them."""

from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus
from sidelab.sidecar.proxy.admin.proxy_view import cluster_status
from sidelab.sidecar.proxy.http.message import Limits
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.stats.proxy_counters import ClusterCounters
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings
from sidelab.sidecar.proxy.upstreams.host import UpstreamHost


class _Cluster(UpstreamCluster):
    hosts: tuple[UpstreamHost, ...] = ()


def _status(*hosts: tuple[str, int, int, int]) -> ClusterStatus:
    """Return the status of a cluster whose hosts have this source, total, errors and active requests each."""
    loop = ProxyLoop()
    settings = ClusterSettings(Limits(head_bytes=1024, headers=10))
    cluster = _Cluster(loop, "inbound|80||", ClusterCounters(), settings, direction="inbound")
    found = []
    for source, total, errors, active in hosts:
        host = UpstreamHost(cluster, ("10.0.0.1", 80), source=source, workload="nginx")
        host.total, host.errors, host.active = total, errors, active
        found.append(host)
    cluster.hosts = tuple(found)
    loop.close()
    return cluster_status(cluster)


def test_success_is_what_is_neither_error_nor_under_way() -> None:
    """A host's requests are successful, failed, or under way."""
    (host,) = _status(("127.0.0.6", 9, 2, 1)).hosts
    assert (9, 2, 1, 6) == tuple(host.stats[name] for name in ("rq_total", "rq_error", "rq_active", "rq_success"))


def test_an_address_is_one_host() -> None:
    """With TPROXY, where each client has a host of its own, an address is shown once, with all that it served."""
    (host,) = _status(("10.0.0.7", 3, 0, 0), ("10.0.0.8", 4, 1, 0)).hosts
    assert ("10.0.0.1", 80, "nginx", 7, 1) == (
        host.address,
        host.port,
        host.hostname,
        host.stats["rq_total"],
        host.stats["rq_error"],
    )


def test_cluster_without_hosts() -> None:
    """A cluster that nothing was sent to yet is there, without hosts."""
    assert ClusterStatus("inbound|80||") == _status()
