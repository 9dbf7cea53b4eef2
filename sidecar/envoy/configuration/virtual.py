"""The two listeners that the rules send captured connections to: virtualOutbound and virtualInbound. Pure.

Istio's inbound chains for mutual TLS are left out: every connection is treated as clear text, or forwarded as it is.
"""

from sidelab.sidecar.config.intent import Intent, Protocol
from sidelab.sidecar.envoy.configuration.access import unrouted_log
from sidelab.sidecar.envoy.configuration.chains import by_protocol, chain, detection, inspectors, tcp, wanted
from sidelab.sidecar.envoy.configuration.http_manager import (
    inbound_routes,
    manager,
    policy_cluster,
    unknown_destinations,
)
from sidelab.sidecar.envoy.configuration.typed_parts import (
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    Config,
    everywhere,
    extension,
    inbound_cluster,
)

TPROXY_MARK = 1337
"""The mark of packets sent from a client's address; the routing rules of TPROXY mode bring the answers back here."""


def virtual_outbound(intent: Intent, *, ipv6: bool) -> Config:
    """Return the listener for what the application sends.

    It passes a connection to the listener of its original destination, if there is one (see `outbound`); the rest
    belongs to no Service. As in Istio, `auto` treats the rest as bytes, without waiting to detect a protocol.
    """
    name, port = "virtualOutbound", intent.ports.outbound
    if intent.protocol == "http":
        prefix = f"outbound_0.0.0.0_{port}"
        routes = unknown_destinations(intent, prefix)
        unknown = chain(f"{name}-catchall-http", manager(intent, prefix, routes, inbound=False))
    else:
        unknown = chain(f"{name}-catchall-tcp", tcp(intent, policy_cluster(intent)))
    return {
        "name": name,
        **everywhere(port, ipv6=ipv6),
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
        **_transparent(intent),
        **unrouted_log(intent),
        "filter_chains": [_against_circles(intent, name, port), unknown],
    }


def virtual_inbound(intent: Intent, *, ipv6: bool) -> Config:
    """Return the listener for what the application receives: chains for its declared ports, and for all others."""
    name, port = "virtualInbound", intent.ports.inbound
    ports: dict[int, Protocol] = {}
    for each in intent.inbound:
        # A second chain for a port would have the same match, which Envoy refuses.
        if each.port != port:
            ports.setdefault(each.port, wanted(intent, each.protocol))
    chains = [_against_circles(intent, name, port)]
    for number, protocol in ports.items():
        chains += _application(intent, f"0.0.0.0_{number}", protocol, inbound_cluster(number), number)
    unnamed = _application(intent, name, intent.protocol, INBOUND_PASSTHROUGH)
    if len(unnamed) > 1:
        unnamed[0]["name"] = f"{name}-catchall-http"
    return {
        "name": name,
        **everywhere(port, ipv6=ipv6),
        "traffic_direction": "INBOUND",
        **_transparent(intent),
        "max_connections_to_accept_per_socket_event": 1,
        "listener_filters": [
            extension("envoy.filters.listener.original_dst", "filters.listener.original_dst.v3.OriginalDst"),
            *_original_source(intent),
            *_inspected(intent, ports),
        ],
        **detection(intent),
        **unrouted_log(intent),
        "filter_chains": [*chains, *unnamed],
    }


def _against_circles(intent: Intent, name: str, port: int) -> Config:
    """Return the chain for connections to the listener itself: if forwarded, they would come back endlessly."""
    return chain(f"{name}-blackhole", tcp(intent, BLACK_HOLE), port=port)


def _application(intent: Intent, name: str, protocol: Protocol, cluster: str, port: int = 0) -> list[Config]:
    prefix = f"inbound_0.0.0.0_{port or intent.ports.inbound}"
    http = manager(intent, prefix, inbound_routes(cluster, cluster), inbound=True)
    return by_protocol(protocol, name, http, tcp(intent, cluster), port=port)


def _inspected(intent: Intent, ports: dict[int, Protocol]) -> list[Config]:
    """Return the inspectors if any port is `auto`; connections to other ports do not wait for them."""
    if intent.protocol == "auto":
        settled = [port for port, protocol in ports.items() if protocol != "auto"]
        return inspectors((intent.ports.inbound, *settled))
    return []


def _transparent(intent: Intent) -> Config:
    return {"transparent": True} if intent.mode == "tproxy" else {}


def _original_source(intent: Intent) -> list[Config]:
    if intent.mode != "tproxy":
        return []
    kind = "filters.listener.original_src.v3.OriginalSrc"
    return [extension("envoy.filters.listener.original_src", kind, mark=TPROXY_MARK)]
