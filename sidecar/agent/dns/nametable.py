"""The names that the agent resolves itself if the pod captures DNS: those of the cluster's Services. Pure.

Unlike the cluster's zone it has only addresses, but also the short names that a pod may use without a search domain.
Source: istio/istio pkg/dns/client (`LookupTable`); istio.io/latest/docs/ops/configuration/traffic-management/dns-proxy.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sidelab.lab.cluster.state import PublishedService, State
from sidelab.sidecar.config.compute import host_of


class NameAddresses(NamedTuple):
    """The addresses of a name; it may have none of one family, and the answer is then empty."""

    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]


def table(state: State, namespace: str) -> dict[str, NameAddresses]:
    """Return the addresses by the names that a pod in `namespace` may use, in lower case and without a final dot."""
    found: dict[str, NameAddresses] = {}
    for service in state.services:
        addresses = _addresses(service)
        for name in _names(host_of(service), service.namespace == namespace):
            found.setdefault(name, addresses)
        if not (service.ipv4 or service.ipv6):
            for each in service.endpoints:
                if each.ready and each.hostname:
                    one = NameAddresses(_some(service, "IPv4", each.ipv4), _some(service, "IPv6", each.ipv6))
                    found[f"{each.hostname}.{host_of(service)}"] = one
    return found


def _names(host: str, own: bool) -> Iterator[str]:
    """Yield `a.b.svc.cluster.local`, `a.b.svc`, `a.b`, and in the pod's own namespace `a`, like Istio."""
    name, namespace, kind, _ = host.split(".", 3)
    yield from (host, f"{name}.{namespace}.{kind}", f"{name}.{namespace}")
    if own:
        yield name


def _addresses(service: PublishedService) -> NameAddresses:
    if service.ipv4 or service.ipv6:
        return NameAddresses(_some(service, "IPv4", service.ipv4), _some(service, "IPv6", service.ipv6))
    ready = [each for each in service.endpoints if each.ready]
    return NameAddresses(
        tuple(address for each in ready for address in _some(service, "IPv4", each.ipv4)),
        tuple(address for each in ready for address in _some(service, "IPv6", each.ipv6)),
    )


def _some(service: PublishedService, family: str, address: str) -> tuple[str, ...]:
    return (address,) if address and family in service.families else ()
