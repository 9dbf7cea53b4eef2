"""Services and the pods that they select: manifest values in, the published state out. Pure.

Endpoints follow the rules of Kubernetes' endpoints controller: a pod of the Service's namespace whose labels have all
of the selector's; a named target port is looked up in each pod's containers, so pods may disagree about its number.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from sidelab.lab.cluster.addresses import DNS_IPV4, DNS_IPV6, ServiceAddresses
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State
from sidelab.lab.errors import InputError
from sidelab.lab.keys import PodKey, ServiceKey
from sidelab.lab.manifest import Pod, ServicePort, title
from sidelab.lab.manifest import Service as Wanted
from sidelab.lab.manifest.kinds import FAMILIES
from sidelab.lab.plan.topology import PodAddress

CLUSTER_DNS = PublishedService(
    namespace="kube-system",
    name="kube-dns",
    ipv4=DNS_IPV4,
    ipv6=DNS_IPV6,
    ports=(PublishedPort(name="dns", port=53, protocol="UDP"), PublishedPort(name="dns-tcp", port=53, protocol="TCP")),
    families=FAMILIES,
    endpoints=(
        # It has no pod behind it: it serves at its own address.
        PublishedEndpoint(pod=("kube-system", "kube-dns"), ipv4=DNS_IPV4, ipv6=DNS_IPV6, ready=True, targets=(53, 53)),
    ),
)
"""The Service that every cluster has."""


def translated(state: State) -> tuple[PublishedService, ...]:
    """Return the Services with addresses that the node must translate; the cluster's DNS serves at its own."""
    return tuple(each for each in state.services if (each.ipv4 or each.ipv6) and each != CLUSTER_DNS)


class Member(NamedTuple):
    """A pod as Services see it; `ports` are its named ports by name and protocol."""

    key: PodKey
    ipv4: str
    ipv6: str
    labels: Mapping[str, str]
    ports: Mapping[tuple[str, str], int]
    hostname: str
    subdomain: str


def member(pod: Pod, address: PodAddress) -> Member:
    """Return what Services can know of `pod`."""
    ports = {
        (port.name, port.protocol): port.container_port
        for container in pod.spec.containers
        for port in container.ports
        if port.name
    }
    spec = pod.spec
    hostname = spec.hostname if spec.subdomain else ""
    return Member(pod.key, address.ipv4, address.ipv6, pod.metadata.labels, ports, hostname, spec.subdomain)


class Catalog:
    """The Services of a lab with their addresses, and its pods."""

    def __init__(
        self, services: Iterable[Wanted], members: Iterable[Member], addresses: ServiceAddresses | None = None
    ) -> None:
        self.services: dict[ServiceKey, Wanted] = {}
        self._addresses = addresses or ServiceAddresses()
        self._members = {each.key: each for each in members}
        self._selected: dict[ServiceKey, tuple[Member, ...]] = {}
        self._by_label: dict[tuple[str, str, str], list[PodKey]] | None = None
        for service in services:
            self.put(service)

    def copied(self) -> "Catalog":
        """Return an independent copy."""
        return Catalog(self.services.values(), self._members.values(), self._addresses.copied())

    def put(self, service: Wanted) -> None:
        """Add a Service, or change the one with that name, which keeps its addresses.

        Raises `InputError` for the name of the cluster's DNS, and when there are no addresses left.
        """
        if service.key == (CLUSTER_DNS.namespace, CLUSTER_DNS.name):
            raise InputError(f"{title(service)} is the lab's own: remove it, or give it another name")
        self.services[service.key] = service
        self._selected.pop(service.key, None)
        if not service.spec.headless:
            self._addresses.of(service.key)

    def remove(self, key: ServiceKey) -> None:
        """Remove a Service; its addresses are not given to another."""
        del self.services[key]
        self._selected.pop(key, None)
        self._addresses.forget(key)

    def relabel(self, changed: Member) -> None:
        """Take note of a pod's new labels."""
        self._members[changed.key] = changed
        self._selected.clear()
        self._by_label = None

    def state(self, ready: Collection[PodKey], generation: int = 0) -> State:
        """Return the state to publish when the pods in `ready` are ready."""
        services = tuple(self._service(service, ready) for service in self.services.values())
        return State(generation=generation, services=(CLUSTER_DNS, *services))

    def _service(self, service: Wanted, ready: Collection[PodKey]) -> PublishedService:
        spec = service.spec
        ipv4, ipv6 = ("", "") if spec.headless else self._addresses.of(service.key)
        families = spec.families
        return PublishedService(
            namespace=service.namespace,
            name=service.name,
            ipv4=ipv4 if "IPv4" in families else "",
            ipv6=ipv6 if "IPv6" in families else "",
            families=families,
            ports=tuple(
                PublishedPort(name=port.name, port=port.port, protocol=port.protocol, app_protocol=port.app_protocol)
                for port in spec.ports
            ),
            endpoints=tuple(
                PublishedEndpoint(
                    pod=each.key,
                    ipv4=each.ipv4,
                    ipv6=each.ipv6,
                    ready=spec.publish_not_ready_addresses or each.key in ready,
                    targets=tuple(_target(port, each) for port in spec.ports),
                    hostname=each.hostname if each.subdomain == service.name else "",
                )
                for each in self._members_of(service)
            ),
        )

    def _members_of(self, service: Wanted) -> tuple[Member, ...]:
        found = self._selected.get(service.key)
        if found is None:
            found = self._selected[service.key] = tuple(self._select(service))
        return found

    def _select(self, service: Wanted) -> Iterable[Member]:
        """Yield the pods that have all labels of the selector, beginning with those that have its rarest one."""
        wanted = service.spec.selector.items()
        index = self._index()
        candidates = min((index.get((service.namespace, *label), []) for label in wanted), key=len, default=[])
        return (self._members[key] for key in candidates if wanted <= self._members[key].labels.items())

    def _index(self) -> dict[tuple[str, str, str], list[PodKey]]:
        if self._by_label is None:
            self._by_label = {}
            for each in self._members.values():
                for label in each.labels.items():
                    self._by_label.setdefault((each.key[0], *label), []).append(each.key)
        return self._by_label


def _target(port: ServicePort, pod: Member) -> int:
    if isinstance(port.target_port, str):
        return pod.ports.get((port.target_port, port.protocol), 0)
    return port.target_port or port.port
