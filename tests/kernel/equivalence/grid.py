"""The probes: the connections that are tried with every option set, and their addresses and ports.

There are three places: the *pod* whose rules are tested; the *world* behind its `eth0`; a virtual *machine* behind its
`net1`, which reaches the world through the pod. This knows neither options nor rules.
"""

from collections.abc import Iterator
from itertools import product
from typing import Literal, NamedTuple

Family = Literal[4, 6]
Place = Literal["pod", "world", "machine"]
Protocol = Literal["tcp", "udp", "icmp"]

FAMILIES: tuple[Family, ...] = (4, 6)
PLACES: tuple[Place, ...] = ("pod", "world", "machine")
POD = {4: "10.9.0.1", 6: "fd00:9::1"}  # on eth0
POD_NET1 = {4: "10.9.1.1", 6: "fd00:91::1"}
WORLD = {4: "10.60.0.5", 6: "fd00:60::5"}  # beyond the router, which is NEAR
NEAR = {4: "10.9.0.77", 6: "fd00:9::77"}
MACHINE = {4: "10.9.1.77", 6: "fd00:91::77"}
LOCALHOST = {4: "127.0.0.1", 6: "::1"}
PROXY_SOURCE = {4: "127.0.0.6", 6: "::6"}  # the source of the proxy's connections to its application
STUB_RESOLVER = "127.0.0.53"  # IPv6 has only one loopback address

TCP_PORTS = (22, 53, 80, 3306, 15008, 15020)
UDP_PORTS = (53, 80, 3306)
PORTS: dict[Protocol, tuple[int, ...]] = {"tcp": TCP_PORTS, "udp": UDP_PORTS}
UIDS = (0, 1000, 1337, 1500)
GIDS = (0, 202, 1000, 1337)


class Probe(NamedTuple):
    """One connection, or one datagram and its answer: `interface` is where it enters or leaves the pod.

    `source` is empty if the kernel chooses it. A `broken` probe is a single packet that belongs to no connection: TCP
    without any flag, or an ICMP reply without a request (its port means nothing).
    """

    inbound: bool
    origin: Place
    interface: str
    family: Family
    protocol: Protocol
    destination: str
    port: int
    uid: int = 0
    gid: int = 0
    source: str = ""
    broken: bool = False


def _outbound(family: Family) -> Iterator[tuple[str, str, str]]:
    """Yield interface, destination and source."""
    for destination in (WORLD, NEAR):
        yield "eth0", destination[family], ""
    yield "net1", MACHINE[family], ""
    if family == 4:
        yield "lo", STUB_RESOLVER, ""
    for destination in (POD, LOCALHOST):
        yield "lo", destination[family], ""
    yield "lo", POD[family], PROXY_SOURCE[family]
    yield "lo", PROXY_SOURCE[family], LOCALHOST[family]  # as istio-iptables' validation dials


def _inbound(family: Family) -> Iterator[tuple[Place, str, str]]:
    """Yield origin, interface and destination."""
    for destination in (POD, POD_NET1):
        yield "world", "eth0", destination[family]
    for destination in (POD, POD_NET1, WORLD, NEAR):
        yield "machine", "net1", destination[family]


def _aims() -> Iterator[tuple[Protocol, int]]:
    for protocol, ports in PORTS.items():
        for port in ports:
            yield protocol, port


def _all() -> Iterator[Probe]:
    for family, (protocol, port) in product(FAMILIES, _aims()):
        for origin, interface, destination in _inbound(family):
            yield Probe(True, origin, interface, family, protocol, destination, port)
        for (interface, destination, source), uid, gid in product(_outbound(family), UIDS, GIDS):
            yield Probe(False, "pod", interface, family, protocol, destination, port, uid, gid, source)
    for family in FAMILIES:
        yield Probe(True, "world", "eth0", family, "tcp", POD[family], 80, broken=True)
        yield Probe(True, "world", "eth0", family, "icmp", POD[family], 0, broken=True)


GRID = tuple(_all())


def possible(*, ipv6: bool) -> tuple[Probe, ...]:
    """Return the probes that can be sent: without IPv6 in the options, the pod has no address ::6."""
    missing = PROXY_SOURCE[6]
    return tuple(probe for probe in GRID if ipv6 or missing not in (probe.source, probe.destination))
