"""Envoy's bootstrap: its node, its admin port, and where to read everything else. Pure."""

from sidelab.lab.cluster.addresses import DOMAIN
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy.configuration.envoy_clusters import clusters, own_clusters
from sidelab.sidecar.envoy.configuration.envoy_statistics import statistics
from sidelab.sidecar.envoy.configuration.outbound import service_listeners
from sidelab.sidecar.envoy.configuration.typed_parts import (
    ADMIN,
    Config,
    discovery,
    everywhere,
    extension,
    socket_address,
)
from sidelab.sidecar.envoy.configuration.virtual import virtual_inbound, virtual_outbound

_MOST_CONNECTIONS = 2**31 - 1


def bootstrap(intent: Intent, folder: str | None = None, *, ipv6: bool = True) -> Config:
    """Return Envoy's bootstrap; listeners and clusters come from files in `folder`, or are included if it is None.

    Envoy refuses a listener that it cannot bind and a source address that the pod does not have, so `ipv6` must be
    False in a pod without IPv6; with True, `intent.inbound_bind_ipv6` must be an address of the pod's loopback.
    """
    static: Config = {"listeners": _own_listeners(intent, ipv6=ipv6), "clusters": own_clusters(intent)}
    dynamic: Config = {}
    if folder is None:
        static["listeners"] += listeners(intent, ipv6=ipv6)
        static["clusters"] += clusters(intent, ipv6=ipv6)
    else:
        dynamic = {"lds_config": discovery(folder, "lds.json"), "cds_config": discovery(folder, "cds.json")}
    return {
        "node": _node(intent),
        "admin": {"address": socket_address("127.0.0.1", intent.ports.admin)},
        **statistics(intent),
        "overload_manager": _overload(),
        "static_resources": static,
        **({"dynamic_resources": dynamic} if dynamic else {}),
    }


def listeners(intent: Intent, *, ipv6: bool) -> list[Config]:
    """Return every listener for captured traffic."""
    return [
        virtual_outbound(intent, ipv6=ipv6),
        virtual_inbound(intent, ipv6=ipv6),
        *service_listeners(intent, ipv6=ipv6),
    ]


def _node(intent: Intent) -> Config:
    work = intent.workload
    labels = {name: value for name, value in (("app", work.app), ("version", work.version)) if value}
    return {
        "id": f"sidecar~{work.pod}.{work.namespace}~{work.namespace}.svc.{DOMAIN}",
        "cluster": f"{work.app or work.pod}.{work.namespace}",
        "metadata": {
            "NAME": work.pod,
            "NAMESPACE": work.namespace,
            "SERVICE_ACCOUNT": work.service_account,
            "LABELS": labels,
        },
    }


def _overload() -> Config:
    """Return a limit so high that it has no effect, like Istio's; Envoy warns if there is no limit at all."""
    kind = "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    monitor = extension(
        "envoy.resource_monitors.global_downstream_max_connections",
        kind,
        max_active_downstream_connections=_MOST_CONNECTIONS,
    )
    return {"resource_monitors": [monitor]}


def _own_listeners(intent: Intent, *, ipv6: bool) -> list[Config]:
    """Return the listeners for readiness and for Prometheus, which serve one admin page each to everybody.

    In Istio, the readiness port leads to the agent. Here the agent queries this port, so the answer must be Envoy's.
    """
    ports = intent.ports
    return [
        _page("health", ports.health, "/healthz/ready", "/ready", ipv6=ipv6),
        _page("stats", ports.stats, "/stats/prometheus", "/stats/prometheus", ipv6=ipv6),
    ]


def _page(name: str, port: int, path: str, page: str, *, ipv6: bool) -> Config:
    route = {"match": {"path": path}, "route": {"cluster": ADMIN, "prefix_rewrite": page}}
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]},
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    return {
        "name": name,
        **everywhere(port, ipv6=ipv6),
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [manager]}],
    }
