"""The node's rules for Services, as kube-proxy's nftables mode has them: one transaction that replaces all. Pure.

A table for each family; a map from address, protocol and port to the chain of a Service's port, which chooses among the
chains of its endpoints, which translate. A pod that reaches itself through its Service is masqueraded, or it would see
its own address and answer it directly. What is still for a Service's address afterwards has no endpoint that is ready,
or no such port: it is refused. Names are kube-proxy's (pkg/proxy/nftables), so that its documentation explains them.

What kube-proxy has for traffic from outside and from the node itself is not here: a lab has neither.
"""

import hashlib
import socket
import struct
from base64 import b32encode
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from sidelab.lab.cluster.catalog import translated
from sidelab.lab.cluster.state import Endpoint, Service, State
from sidelab.lab.netlink.nftables import named_batch as nft
from sidelab.lab.netlink.nftables.named_batch import QUARTERS, Part
from sidelab.lab.netlink.nftables.objects import IPV4, IPV6, Base, Chain, Code, Hook, MetaKey, Table

_MASQUERADE_MARK = 0x4000
_PROTOCOLS = {"TCP": socket.IPPROTO_TCP, "UDP": socket.IPPROTO_UDP}
_NAME_BYTES = 240
_TRANSLATE, _REFUSE, _MASQUERADE = -100, -90, 100  # dstnat, right after it, srcnat (netfilter_ipv4.h)

# Sequence numbers of the parts: the same for what is the same, so that equal states have equal bytes.
_EMPTYING, _FRAME, _ADDRESSES, _MAP = 2, 3, 4, 5
_numbers = count(10)


class _Family(NamedTuple):
    """What differs between the families; `offset`s are those of addresses in the IP header."""

    number: int
    socket: int
    source: int
    destination: int
    length: int
    kind: int
    port_unreachable: int

    @property
    def table(self) -> Table:
        return Table("kube-proxy", self.number)


_FAMILIES = (
    _Family(IPV4, socket.AF_INET, 12, 16, 4, nft.IPV4_ADDRESS, 3),
    _Family(IPV6, socket.AF_INET6, 8, 24, 16, nft.IPV6_ADDRESS, 4),
)


class _Port(NamedTuple):
    """A port of a Service, seen by one family: where it is, and the endpoints that are ready, as address and port."""

    name: str
    address: str
    protocol: int
    port: int
    endpoints: tuple[tuple[str, int], ...]

    @property
    def chain(self) -> str:
        return f"service-{_hashed(self.name)}"

    def endpoint_chain(self, endpoint: tuple[str, int]) -> str:
        address = endpoint[0].replace(":", ".")  # the tool nft reads no colon in a chain's name
        return "endpoint-" + _hashed(f"{self.name}__{address}/{endpoint[1]}")


def batch(state: State) -> bytes:
    """Return the transaction that makes the node's rules those of `state`; without Services it removes them."""
    parts = [part for family in _FAMILIES for part in _table(family, state)]
    return nft.batch(_FAMILIES[0].table, parts)


def _table(family: _Family, state: State) -> Iterator[bytes]:
    services = [each for each in translated(state) if _address(family, each)]
    yield _emptied(family)
    if not services:
        return
    yield _frame(family)
    addresses = Part(family.table, _ADDRESSES)
    addresses.addresses("cluster-ips", family.kind, (_packed(family, _address(family, each)) for each in services))
    yield addresses.packed()
    served = [port for service in services for port in _ports(family, service) if port.endpoints]
    for port in served:
        yield _translation(family, port)
    yield _map(family, served)


def _address(family: _Family, thing: Service | Endpoint) -> str:
    return thing.ipv4 if family.number == IPV4 else thing.ipv6


def _ports(family: _Family, service: Service) -> Iterator[_Port]:
    for index, port in enumerate(service.ports):
        ready = [each for each in service.endpoints if each.ready and each.targets[index]]
        yield _Port(
            f"{service.namespace}/{service.name}/{port.protocol.lower()}/{port.name}",
            _address(family, service),
            _PROTOCOLS[port.protocol],
            port.port,
            tuple((_address(family, each), each.targets[index]) for each in ready),
        )


@lru_cache(maxsize=4)
def _emptied(family: _Family) -> bytes:
    """Return what leaves an empty table, whether there was one or not."""
    part = Part(family.table, _EMPTYING)
    part.table()
    part.delete_table()
    part.table()
    return part.packed()


@lru_cache(maxsize=4)
def _frame(family: _Family) -> bytes:
    """Return the chains that are there whatever the Services, but for the map that leads to theirs."""
    table = family.table
    part = Part(table, _FRAME)
    part.base_chain(Chain(table, "nat-prerouting", "nat", Hook.PREROUTING, _TRANSLATE))
    part.base_chain(Chain(table, "filter-prerouting", "filter", Hook.PREROUTING, _REFUSE))
    part.base_chain(Chain(table, "nat-postrouting", "nat", Hook.POSTROUTING, _MASQUERADE))
    for chain in ("services", "cluster-ips-check", "reject-chain", "mark-for-masquerade", "masquerading"):
        part.chain(chain)
    jump = {name: nft.verdict(Code.JUMP, name) for name in ("services", "cluster-ips-check", "masquerading")}
    part.rule("nat-prerouting", jump["services"])
    part.rule("filter-prerouting", jump["cluster-ips-check"])
    part.rule("nat-postrouting", jump["masquerading"])
    mark = nft.meta(MetaKey.MARK, 1)
    everything = 0xFFFFFFFF
    part.rule(
        "mark-for-masquerade",
        mark,
        nft.bits(everything & ~_MASQUERADE_MARK, _MASQUERADE_MARK, 1),
        nft.set_mark(1),
    )
    part.rule(
        "masquerading",
        mark,
        nft.bits(_MASQUERADE_MARK, 0, 1),
        nft.equals(struct.pack("=I", 0), 1),
        nft.verdict(Code.RETURN),
    )
    part.rule("masquerading", mark, nft.bits(everything, _MASQUERADE_MARK, 1), nft.set_mark(1), nft.masquerade())
    tcp = (nft.meta(MetaKey.L4PROTO, 1), nft.equals(bytes((socket.IPPROTO_TCP,)), 1))
    part.rule("reject-chain", *tcp, nft.reset())  # not rate-limited, as ICMP is: a second attempt is told at once, too
    part.rule("reject-chain", nft.unreachable(family.port_unreachable))
    length = family.length + 8
    kind = (family.kind << 6 | nft.PROTOCOL) << 6 | nft.SERVICE
    part.verdict_map("service-ips", kind, length)
    destination = nft.payload(Base.NETWORK, family.destination, family.length, QUARTERS)
    after = QUARTERS + family.length // 4
    part.rule(
        "services",
        destination,
        nft.meta(MetaKey.L4PROTO, after),
        nft.payload(Base.TRANSPORT, 2, 2, after + 1),
        nft.decide_by("service-ips", QUARTERS),
    )
    return part.packed()


@lru_cache(maxsize=8192)
def _translation(family: _Family, port: _Port) -> bytes:
    """Return the chains of a Service's port and of its endpoints."""
    number = next(_numbers)
    part = Part(family.table, number)
    chains = [port.endpoint_chain(each) for each in port.endpoints]
    for endpoint, chain in zip(port.endpoints, chains, strict=True):
        part.chain(chain)
        address = _packed(family, endpoint[0])
        part.rule(
            chain,
            nft.payload(Base.NETWORK, family.source, family.length, 1),
            nft.equals(address, 1),
            nft.verdict(Code.JUMP, "mark-for-masquerade"),
        )
        # The kernel wants to see the protocol compared before it takes a port.
        part.rule(
            chain,
            nft.meta(MetaKey.L4PROTO, 1),
            nft.equals(bytes((port.protocol,)), 1),
            nft.immediate(address, 1),
            nft.immediate(struct.pack("!H", endpoint[1]), 2),
            nft.translate_destination(family.number, 1, 2),
        )
    part.chain(port.chain)
    if len(chains) == 1:  # nothing to choose
        part.rule(port.chain, nft.verdict(Code.GOTO, chains[0]))
    else:
        choice = part.choice(number, chains)
        part.rule(port.chain, nft.random_below(len(chains), 1), nft.decide_by(choice, 1, number))
    return part.packed()


def _map(family: _Family, served: list[_Port]) -> bytes:
    """Return the elements that lead to the Services' chains, and the refusal of what is for their addresses still."""
    part = Part(family.table, _MAP)
    part.gotos("service-ips", ((_key(family, port), port.chain) for port in served))
    part.rule(
        "cluster-ips-check",
        nft.payload(Base.NETWORK, family.destination, family.length, 1),
        nft.in_set("cluster-ips", 1),
        nft.verdict(Code.GOTO, "reject-chain"),
    )
    return part.packed()


def _key(family: _Family, port: _Port) -> bytes:
    """Return address, protocol and port, each padded to the four bytes of a register's quarter."""
    return _packed(family, port.address) + struct.pack("!B3xH2x", port.protocol, port.port)


def _packed(family: _Family, address: str) -> bytes:
    return socket.inet_pton(family.socket, address)


@lru_cache(maxsize=8192)
def _hashed(name: str) -> str:
    """Return `name` behind eight characters that stay unique when it has to be cut."""
    digest = b32encode(hashlib.sha256(name.encode()).digest())[:8].decode()
    whole = f"{digest}-{name}"
    return whole if len(whole) <= _NAME_BYTES else f"{whole[:_NAME_BYTES]}..."
