"""The cluster's names and their records, for a published state. Pure; knows nothing of messages and sockets.

The names are those of Kubernetes' DNS-Based Service Discovery 1.1.0, answered as CoreDNS' kubernetes plugin does with
its usual `pods insecure`: a pod's name for its address is made from the address itself, whether or not a pod has it.
"""

import socket
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sidelab.lab.cluster.addresses import DNS_IPV4, DNS_IPV6, DOMAIN
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedService, State

Name = tuple[bytes, ...]
"""Labels in lower case, without the root's."""

NOERROR, NXDOMAIN, REFUSED = 0, 3, 5  # RFC 1035, 4.1.1

_CLUSTER: Name = tuple(DOMAIN.encode().split(b"."))
_SERVICES: Name = (b"svc", *_CLUSTER)
_PODS: Name = (b"pod", *_CLUSTER)
NAME_SERVER: Name = (b"ns", b"dns", *_CLUSTER)
HOST_MASTER: Name = (b"hostmaster", *_CLUSTER)


def _reversed(count: int, address: str) -> Name:
    """Return the name for looking up `address`, less its first `count` labels."""
    if ":" in address:
        digits = socket.inet_pton(socket.AF_INET6, address).hex()
        labels = [*(digit.encode() for digit in reversed(digits)), b"ip6", b"arpa"]
    else:
        labels = [*(part.encode() for part in reversed(address.split("."))), b"in-addr", b"arpa"]
    return tuple(labels[count:])


ORIGINS = (
    _CLUSTER,
    _reversed(2, DNS_IPV4),
    _reversed(4, DNS_IPV6),
    _reversed(2, "10.244.0.0"),
    _reversed(16, "fd00:10:244::"),
)
"""The zones that are ours: the cluster's domain, and the addresses of Services and pods."""


class Record(NamedTuple):
    """A record of a name: `kind` is A, AAAA, SRV, PTR, NS, SOA or TXT.

    `data` is an address; priority, weight, port and target; a name; serial; a text.
    """

    kind: str
    data: tuple[object, ...]


class ZoneAnswer(NamedTuple):
    """The answer to a question: `origin` is the zone that it is from, None if that zone is not ours."""

    status: int
    origin: Name | None
    records: tuple[Record, ...] = ()
    additional: tuple[tuple[Name, Record], ...] = ()


class Zone:
    """All names of one state."""

    def __init__(self, state: State) -> None:
        self.serial = state.generation
        self._names: dict[Name, list[Record]] = {origin: [Record("SOA", ())] for origin in ORIGINS}
        self._add(_CLUSTER, Record("NS", (NAME_SERVER,)))
        self._add(NAME_SERVER, *_addresses(DNS_IPV4, DNS_IPV6))
        self._add((b"dns-version", *_CLUSTER), Record("TXT", (b"1.1.0",)))
        self._add(_SERVICES)
        self._add(_PODS)
        for service in state.services:
            self._add_service(service)

    def find(self, name: Name, kind: str) -> ZoneAnswer:
        """Answer a question; `kind` ANY means all records."""
        origin = next((each for each in ORIGINS if name[-len(each) :] == each), None)
        if origin is None:
            return ZoneAnswer(REFUSED, None)
        said = self._names.get(name)
        if said is None and len(name) == len(_PODS) + 2 and name[-len(_PODS) :] == _PODS:
            said = list(_pod(name[0])) or None
        if said is None:
            return ZoneAnswer(NXDOMAIN, origin)
        records = tuple(dict.fromkeys(each for each in said if kind in (each.kind, "ANY")))
        return ZoneAnswer(NOERROR, origin, records, tuple(self._additional(records)))

    def _additional(self, records: Iterable[Record]) -> Iterator[tuple[Name, Record]]:
        targets = {each.data[-1]: None for each in records if each.kind == "SRV"}
        for target in targets:
            if isinstance(target, tuple):
                yield from ((target, each) for each in self._names.get(target, ()) if each.kind in ("A", "AAAA"))

    def _add(self, name: Name, *records: Record) -> None:
        self._names.setdefault(name, []).extend(records)
        for start in range(1, len(name)):  # what is above a name exists, too (RFC 8020)
            if name[start:] in self._names:
                break
            self._names[name[start:]] = []

    def _add_service(self, service: PublishedService) -> None:
        name = (service.name.encode(), service.namespace.encode(), *_SERVICES)
        headless = not (service.ipv4 or service.ipv6)
        own = _addresses(service.ipv4, service.ipv6)
        self._add(name, *own)
        for address in own:
            self._add(_reversed(0, str(address.data[0])), Record("PTR", (name,)))
        targets: list[tuple[PublishedEndpoint, Name]] = []
        for endpoint in service.endpoints:
            addresses = _endpoint_addresses(service, endpoint)
            if headless:
                self._add(name, *addresses)
            for address in addresses:
                below = (endpoint.hostname.encode() or _dashed(str(address.data[0])), *name)
                self._add(below, address)
                self._add(_reversed(0, str(address.data[0])), Record("PTR", (below,)))
                targets.append((endpoint, below))
        targets = list({below: (endpoint, below) for endpoint, below in targets}.values())
        for index, port in enumerate(service.ports):
            served = [(port.port, name)]
            if headless:
                served = [(each.targets[index], below) for each, below in targets if each.targets[index]]
            # All weights add up to a hundred, as in CoreDNS.
            records = [Record("SRV", (0, max(1, 100 // len(served)), number, target)) for number, target in served]
            self._add(name, *records)
            if port.name:
                self._add((b"_" + port.name.encode(), b"_" + port.protocol.lower().encode(), *name), *records)


def _addresses(ipv4: str, ipv6: str) -> tuple[Record, ...]:
    return tuple(Record(kind, (value,)) for kind, value in (("A", ipv4), ("AAAA", ipv6)) if value)


def _endpoint_addresses(service: PublishedService, endpoint: PublishedEndpoint) -> tuple[Record, ...]:
    """Return the addresses by which an endpoint has names: those of its Service's families, while it is ready."""
    if not endpoint.ready or endpoint.ipv4 == service.ipv4:  # the cluster's DNS is its own endpoint
        return ()
    return _addresses(
        endpoint.ipv4 if "IPv4" in service.families else "", endpoint.ipv6 if "IPv6" in service.families else ""
    )


def _dashed(address: str) -> bytes:
    return address.replace(".", "-").replace(":", "-").encode()


def _pod(label: bytes) -> Iterator[Record]:
    """Yield the address that a label like 10-244-0-2 or fd00-10-244--2 means; nothing for another one."""
    text = label.decode("ascii", "replace")
    for kind, family, separator in (("A", socket.AF_INET, "."), ("AAAA", socket.AF_INET6, ":")):
        try:
            packed = socket.inet_pton(family, text.replace("-", separator))
        except (OSError, ValueError):
            continue
        yield Record(kind, (socket.inet_ntop(family, packed),))
