"""Envoy's clusters, the destinations of connections, named and configured as in Istio. Pure."""

from collections.abc import Iterator

from sidelab.sidecar.config.intent import Intent, IntentEndpoint, IntentService, IntentServicePort
from sidelab.sidecar.envoy.configuration.typed_parts import (
    ADMIN,
    AGENT,
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    PASSTHROUGH,
    Config,
    inbound_cluster,
    outbound_cluster,
    seconds,
    socket_address,
    typed,
)

UNBOUNDED = 2**32 - 1
"""Istio's default for each circuit breaker; Envoy's own defaults (1024, 3 for retries) would limit traffic."""

_PASSTHROUGH_IDLE_S = 300.0
_HTTP2_STREAMS = 2**30
_SOL_IP = 0
_IP_BIND_ADDRESS_NO_PORT = 24


def clusters(intent: Intent, *, ipv6: bool) -> list[Config]:
    """Return the clusters for `intent`."""
    inbound = dict.fromkeys(each.port for each in intent.inbound)
    bound: Config = {"upstream_bind_config": _inbound_leg(intent, ipv6=ipv6)}
    return [
        *(
            _cluster(outbound_cluster(port.port, service.host), intent)
            | (_balanced(service, port, ipv6=ipv6) if service.addresses else _as_dialled())
            for service, port in service_ports(intent)
        ),
        {"name": BLACK_HOLE, "type": "STATIC", "connect_timeout": seconds(intent.connect_timeout_s)},
        _cluster(PASSTHROUGH, intent, idle_s=_PASSTHROUGH_IDLE_S) | _as_dialled(),
        *(_cluster(inbound_cluster(port), intent) | _as_dialled() | bound for port in inbound),
        _cluster(INBOUND_PASSTHROUGH, intent) | _as_dialled() | bound,
    ]


def own_clusters(intent: Intent) -> list[Config]:
    """Return the clusters of the sidecar itself: Envoy's admin pages and the agent."""
    return [
        {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "0.250s",
            "load_assignment": assignment(name, (IntentEndpoint(address="127.0.0.1", port=port),)),
        }
        for name, port in ((ADMIN, intent.ports.admin), (AGENT, intent.ports.agent))
    ]


def service_ports(intent: Intent) -> Iterator[tuple[IntentService, IntentServicePort]]:
    """Yield each port of each Service once, in order, because cluster names must be unique."""
    seen: set[str] = set()
    for service in intent.services:
        for port in service.ports:
            name = outbound_cluster(port.port, service.host)
            if name not in seen:
                seen.add(name)
                yield service, port


def assignment(cluster: str, serving: tuple[IntentEndpoint, ...]) -> Config:
    """Return the endpoints of `cluster`."""
    addresses = [{"endpoint": {"address": socket_address(each.address, each.port)}} for each in serving]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": addresses}] if addresses else []}


def _cluster(name: str, intent: Intent, *, idle_s: float | None = None) -> Config:
    idle_s = min(intent.idle_timeout_s, idle_s or intent.idle_timeout_s)
    http = typed(
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        common_http_protocol_options={"idle_timeout": seconds(idle_s), "max_headers_count": intent.max_headers},
        use_downstream_protocol_config={
            "http_protocol_options": {},
            "http2_protocol_options": {"max_concurrent_streams": _HTTP2_STREAMS},
        },
    )
    limits = dict.fromkeys("max_connections max_pending_requests max_requests max_retries".split(), UNBOUNDED)
    return {
        "name": name,
        "connect_timeout": seconds(intent.connect_timeout_s),
        "circuit_breakers": {"thresholds": [limits | {"track_remaining": True}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http},
    }


def _as_dialled() -> Config:
    return {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}


def _balanced(service: IntentService, port: IntentServicePort, *, ipv6: bool) -> Config:
    """Return a cluster's part with its endpoints inline.

    A file for each, like Istio's subscription for each, would cost one inotify instance per Service in every pod, and a
    user has 128 for all of them (fs.inotify.max_user_instances); Envoy aborts if it gets none.
    """
    reachable = tuple(each for each in port.endpoints if ipv6 or ":" not in each.address)
    name = outbound_cluster(port.port, service.host)
    return {"type": "STATIC", "lb_policy": "LEAST_REQUEST", "load_assignment": assignment(name, reachable)}


def _inbound_leg(intent: Intent, *, ipv6: bool) -> Config:
    """Return the source of connections to the application: an address that the rules let pass."""
    bind: Config = {
        "source_address": {"address": intent.inbound_bind_ipv4, "port_value": 0},
        # The port is chosen at connect, per destination: with a port from bind, all of them share one range.
        "socket_options": [
            {
                "description": "IP_BIND_ADDRESS_NO_PORT",
                "level": _SOL_IP,
                "name": _IP_BIND_ADDRESS_NO_PORT,
                "int_value": 1,
                "state": "STATE_PREBIND",
            }
        ],
    }
    if ipv6:
        bind["extra_source_addresses"] = [{"address": {"address": intent.inbound_bind_ipv6, "port_value": 0}}]
    return bind
