"""Where a connection or a request goes: tables made from an intent, like Istio's listeners and routes. Pure.

A table knows clusters by name only, and returns whatever it was given for a name: live clusters in the proxy, the
names themselves in tests. https://istio.io/latest/docs/ops/configuration/traffic-management/traffic-routing
"""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Generic, TypeVar

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.intent import Intent, IntentServicePort, Protocol
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.routing.domains import Domains

PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Route(Generic[C]):
    """Where a request goes; without a cluster it is answered with 502. `name` is what access logs show."""

    name: str
    cluster: C | None


@dataclass(frozen=True, slots=True)
class ConnectionPlan(Generic[C]):
    """The protocol assumed for a connection, and its cluster if it is bytes; without one it is closed at once."""

    protocol: Protocol
    cluster: C | None


def inbound_name(port: int) -> str:
    """Return the name of the cluster for one of the application's ports."""
    return f"inbound|{port}||"


def outbound_name(port: int, host: str) -> str:
    """Return the name of the cluster for a Service's port."""
    return f"outbound|{port}||{host}"


class Inbound(Generic[C]):
    """Connections to the pod: routed by port, regardless of Host."""

    def __init__(self, intent: Intent, cluster: Callable[[str], C]) -> None:
        passthrough = cluster(INBOUND_PASSTHROUGH)
        self._default = ConnectionPlan(intent.protocol, passthrough)
        self._default_route = Route("default", passthrough)
        self._plans: dict[int, ConnectionPlan[C]] = {}
        self._routes: dict[int, Route[C]] = {}
        for port in intent.inbound:
            found = cluster(inbound_name(port.port))
            self._plans[port.port] = ConnectionPlan(_wanted(intent, port.protocol), found)
            self._routes[port.port] = Route("default", found)

    def plan(self, destination: Destination) -> ConnectionPlan[C]:
        """Return what becomes of a connection that was going to `destination`."""
        return self._plans.get(destination[1], self._default)

    def http2(self, destination: Destination) -> C | None:
        """Return the cluster for a connection whose client speaks HTTP/2."""
        return self.plan(destination).cluster

    def route(self, destination: Destination, host: bytes) -> Route[C]:  # noqa: ARG002 - see the class
        """Return the route of a request on such a connection."""
        return self._routes.get(destination[1], self._default_route)


class Outbound(Generic[C]):
    """Connections from the pod, routed by the protocol of the Service's port, as in Istio.

    `tcp` and `auto`: a connection to the Service's address goes there, regardless of Host. `http`: on that port number
    Host alone decides, whatever the destination; anything but HTTP goes to its original destination. All other
    traffic goes to its original destination too, or nowhere with REGISTRY_ONLY.
    """

    def __init__(self, intent: Intent, cluster: Callable[[str], C]) -> None:
        blocked = intent.outbound_policy == "REGISTRY_ONLY"
        way_out = None if blocked else cluster(PASSTHROUGH)
        http_only = intent.protocol == "http"
        self._unknown: Route[C] = Route("block_all" if blocked else "allow_any", way_out)
        self._default: ConnectionPlan[C] = ConnectionPlan("http" if http_only else "tcp", way_out)
        self._on_http_port: ConnectionPlan[C] = ConnectionPlan("http" if http_only else "auto", way_out)
        self._plans: dict[Destination, ConnectionPlan[C]] = {}
        self._addresses: dict[Destination, C] = {}
        self._hosts: dict[int, Domains[Route[C]]] = {}
        ports = [(service, port) for service in intent.services for port in service.ports]
        by_host = {port.port for _, port in ports if _wanted(intent, port.protocol) == "http"}
        for service, port in ports:
            found, protocol = cluster(outbound_name(port.port, service.host)), _wanted(intent, port.protocol)
            for address, number in [(each, port.port) for each in service.addresses] or _endpoints(port):
                if protocol == "http":
                    self._addresses.setdefault((_canonical(address), number), found)
                else:
                    self._plans.setdefault((_canonical(address), number), ConnectionPlan(protocol, found))
            if protocol != "tcp" and port.port in by_host:
                domains = self._hosts.setdefault(port.port, Domains())
                for name in (*service.names(intent.workload.namespace), *map(_bracketed, service.addresses)):
                    domains.add(name, Route("default", found))

    def plan(self, destination: Destination) -> ConnectionPlan[C]:
        """Return what becomes of a connection that was going to `destination`."""
        found = self._plans.get(destination)
        if found is not None:
            return found
        return self._on_http_port if destination[1] in self._hosts else self._default

    def http2(self, destination: Destination) -> C | None:
        """Return the cluster for a connection whose client speaks HTTP/2; None if it is to be closed.

        Its requests are not parsed, so the address that was dialled decides, not each request's authority.
        """
        plan = self.plan(destination)
        return plan.cluster if destination in self._plans else self._addresses.get(destination, plan.cluster)

    def route(self, destination: Destination, host: bytes) -> Route[C]:
        """Return the route of a request for `host` on such a connection."""
        plan = self._plans.get(destination)
        if plan is not None:
            return Route("default", plan.cluster)
        domains = self._hosts.get(destination[1])
        if domains is None:
            return self._unknown
        return domains.find(host) or self._unknown


def _wanted(intent: Intent, protocol: Protocol) -> Protocol:
    """Return the protocol to assume for a port: where it says `auto`, the intent's protocol decides."""
    return intent.protocol if protocol == "auto" else protocol


def check(intent: Intent) -> None:
    """Raise `InputError` for an intent with an invalid address."""
    Outbound(intent, str)
    for service in intent.services:
        for port in service.ports:
            for endpoint in port.endpoints:
                _canonical(endpoint.address)


def _canonical(address: str) -> str:
    """Return `address` in the form in which the kernel's are written here; raises `InputError`."""
    try:
        return str(ip_address(address))
    except ValueError as error:
        raise InputError(f"intent: services: {error}: give an IPv4 or IPv6 address") from error


def _endpoints(port: IntentServicePort) -> list[tuple[str, int]]:
    """Return the addresses by which a headless Service is dialled."""
    return [(endpoint.address, endpoint.port) for endpoint in port.endpoints]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
