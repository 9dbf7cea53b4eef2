"""Envoy's HTTP connection manager and its routes, configured as in Istio. Pure.

There are two differences. Filters that only Istio's build has (istio.stats, metadata exchange) are missing, so a
vanilla Envoy has no `istio_requests_total`; its own counters have the same by listener and cluster. And request ids are
passed on but not generated, so that this proxy and the bundled one do the same work.
"""

from collections.abc import Sequence

from sidelab.sidecar.config.intent import Intent, IntentService
from sidelab.sidecar.envoy.configuration.access import access_log
from sidelab.sidecar.envoy.configuration.typed_parts import (
    BLACK_HOLE,
    PASSTHROUGH,
    Config,
    extension,
    outbound_cluster,
    seconds,
)

_INBOUND_RETRIES: Config = {"retry_on": "reset-before-request", "num_retries": 2}
_OUTBOUND_RETRIES: Config = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "num_retries": 2,
    "retry_host_predicate": [
        extension("envoy.retry_host_predicates.previous_hosts", "retry.host.previous_hosts.v3.PreviousHostsPredicate")
    ],
    "host_selection_retry_max_attempts": "5",
}


def manager(intent: Intent, stat_prefix: str, routes: Config, *, inbound: bool) -> Config:
    """Return the HTTP filter; `routes` is one of the tables below."""
    return extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        codec_type="AUTO",
        use_remote_address=False,
        generate_request_id=False,
        proxy_100_continue=True,
        normalize_path=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        stream_idle_timeout="0s",
        request_headers_timeout=seconds(intent.header_timeout_s),
        max_request_headers_kb=min(8192, -(-intent.max_header_bytes // 1024)),
        common_http_protocol_options={"max_headers_count": intent.max_headers},
        upgrade_configs=[{"upgrade_type": "websocket"}],
        **_server(intent, inbound=inbound),
        **access_log(intent),
        route_config=routes,
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )


def _server(intent: Intent, *, inbound: bool) -> Config:
    if not inbound:
        return {"server_header_transformation": "PASS_THROUGH"}
    return {"server_header_transformation": "OVERWRITE", "server_name": intent.server_name}


def inbound_routes(name: str, cluster: str) -> Config:
    """Return routes that send every request to `cluster`, one of the application's."""
    route: Config = {"cluster": cluster, "timeout": "0s", "retry_policy": _INBOUND_RETRIES}
    return _table(name, [_host("inbound|http", ["*"], {"name": "default", "route": route})])


def routes_of_port(intent: Intent, port: int, services: Sequence[IntentService]) -> Config:
    """Return routes by Host for outbound traffic to `port`; unknown hosts pass or get a 502, depending on the intent.

    A name that two Services claim goes to the first: Envoy refuses a table with a name twice.
    """
    taken: set[str] = set()
    hosts = []
    for service in services:
        names = (*service.names(intent.workload.namespace), *map(_authority, service.addresses))
        domains = [name for name in dict.fromkeys(each.lower() for each in names) if name not in taken]
        taken.update(domains)
        if domains:
            hosts.append(_service(service, port, domains))
    return _table(str(port), [*hosts, unknown_host(intent)])


def routes_of_service(service: IntentService, port: int) -> Config:
    """Return routes for connections to an address of `service`: Host is ignored."""
    return _table(f"{service.host}:{port}", [_service(service, port, ["*"])])


def unknown_host(intent: Intent) -> Config:
    """Return the virtual host for requests that belong to no Service."""
    if intent.outbound_policy == "REGISTRY_ONLY":
        return _host("block_all", ["*"], {"name": "block_all", "direct_response": {"status": 502}})
    return _host("allow_any", ["*"], {"name": "allow_any", "route": {"cluster": PASSTHROUGH, "timeout": "0s"}})


def unknown_destinations(intent: Intent, name: str) -> Config:
    """Return routes that treat every host as unknown."""
    return _table(name, [unknown_host(intent)])


def policy_cluster(intent: Intent) -> str:
    """Return the cluster for connections that belong to no Service."""
    return BLACK_HOLE if intent.outbound_policy == "REGISTRY_ONLY" else PASSTHROUGH


def _service(service: IntentService, port: int, domains: list[str]) -> Config:
    cluster = outbound_cluster(port, service.host)
    route: Config = {"cluster": cluster, "timeout": "0s", "retry_policy": _OUTBOUND_RETRIES}
    return _host(f"{service.host}:{port}", domains, {"name": "default", "route": route}) | {
        "include_request_attempt_count": True
    }


def _authority(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _host(name: str, domains: list[str], route: Config) -> Config:
    return {"name": name, "domains": domains, "routes": [{"match": {"prefix": "/"}, **route}]}


def _table(name: str, hosts: list[Config]) -> Config:
    return {
        "name": name,
        "virtual_hosts": hosts,
        # Clusters come from another file, and either file may be read first.
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        # In Istio a filter that this Envoy lacks (istio.peer_metadata) removes these fields, which identify the client.
        "request_headers_to_remove": ["x-envoy-peer-metadata", "x-envoy-peer-metadata-id"],
    }
