"""The listeners of Services, which bind no port: virtualOutbound passes them connections by destination. Pure.

They depend on a Service port's protocol, as in Istio: `http` shares `0.0.0.0_PORT` with all others of that port, and
the Host field decides; `tcp` and `auto` have their own listener at the Service's addresses, or, if it is headless, at
those of its endpoints.
"""

from collections.abc import Iterator

from sidelab.sidecar.config.intent import Intent, IntentService, IntentServicePort
from sidelab.sidecar.envoy.configuration.access import unrouted_log
from sidelab.sidecar.envoy.configuration.chains import by_protocol, chain, detection, inspectors, tcp, wanted
from sidelab.sidecar.envoy.configuration.envoy_clusters import service_ports
from sidelab.sidecar.envoy.configuration.http_manager import manager, policy_cluster, routes_of_port, routes_of_service
from sidelab.sidecar.envoy.configuration.typed_parts import Config, at, everywhere, outbound_cluster


def service_listeners(intent: Intent, *, ipv6: bool) -> list[Config]:
    """Return the listeners of all Services."""
    tables = [routes_of_port(intent, port, services) for port, services in _http_ports(intent).items()]
    shared = [_shared(intent, table, ipv6=ipv6) for table in tables]
    return [*shared, *(_own(intent, *each) for each in _dialled(intent, ipv6=ipv6))]


def _http_ports(intent: Intent) -> dict[int, list[IntentService]]:
    """Return the port numbers on which some Service speaks HTTP, each with all Services that may speak it there."""
    ports: dict[int, list[IntentService]] = {}
    speaking = set()
    for service, port in service_ports(intent):
        protocol = wanted(intent, port.protocol)
        if protocol != "tcp" and port.port not in _taken(intent):
            ports.setdefault(port.port, []).append(service)
            if protocol == "http":
                speaking.add(port.port)
    return {number: services for number, services in ports.items() if number in speaking}


def _taken(intent: Intent) -> set[int]:
    """Return the sidecar's own ports: Envoy refuses a second listener on an address."""
    ports = intent.ports
    return {ports.outbound, ports.inbound, ports.health, ports.stats}


def _dialled(intent: Intent, *, ipv6: bool) -> Iterator[tuple[IntentService, IntentServicePort, tuple[str, ...]]]:
    """Yield each Service's port that has its own listener, with the addresses of each such listener."""
    seen: set[tuple[str, int]] = set()
    for service, port in service_ports(intent):
        if wanted(intent, port.protocol) == "http":
            continue
        groups = [service.addresses] if service.addresses else [(each.address,) for each in port.endpoints]
        for group in groups:
            free = [
                each for each in dict.fromkeys(group) if (each, port.port) not in seen and (ipv6 or ":" not in each)
            ]
            seen.update((each, port.port) for each in free)
            if free:
                yield service, port, tuple(free)


def _shared(intent: Intent, table: Config, *, ipv6: bool) -> Config:
    port = int(table["name"])
    http = manager(intent, f"outbound_0.0.0.0_{port}", table, inbound=False)
    listener = {"name": f"0.0.0.0_{port}", **everywhere(port, ipv6=ipv6), **_unbound(intent)}
    if intent.protocol == "http":
        return {**listener, "filter_chains": [chain(f"0.0.0.0_{port}", http)]}
    # Others may listen on this port too: anything but HTTP goes to its original destination.
    return {
        **listener,
        "listener_filters": inspectors(),
        **detection(intent),
        "filter_chains": [chain(f"0.0.0.0_{port}", http, sniffed=True)],
        "default_filter_chain": chain("PassthroughFilterChain", tcp(intent, policy_cluster(intent))),
    }


def _own(intent: Intent, service: IntentService, port: IntentServicePort, addresses: tuple[str, ...]) -> Config:
    name = f"{addresses[0]}_{port.port}"
    protocol = wanted(intent, port.protocol)
    table = routes_of_service(service, port.port)
    http = manager(intent, f"outbound_{name}", table, inbound=False)
    bytes_ = tcp(intent, outbound_cluster(port.port, service.host))
    sniffing = {"listener_filters": inspectors(), **detection(intent)} if protocol == "auto" else {}
    return {
        "name": name,
        **at(addresses, port.port),
        **_unbound(intent),
        **sniffing,
        "filter_chains": by_protocol(protocol, name, http, bytes_),
    }


def _unbound(intent: Intent) -> Config:
    return {"traffic_direction": "OUTBOUND", "bind_to_port": False, **unrouted_log(intent)}
