"""The node's rules for Services, as in kube-proxy's nftables mode: one transaction that replaces all. Pure.

A table for each family; a map from address, protocol and port to the chain of a Service's port, which chooses among the
chains of its endpoints, which translate. A pod that reaches itself through its Service is masqueraded, or it would see
its own address and answer it directly. Packets that are still for a Service's address after that are refused: it has no
ready endpoint, or no such port. Names are kube-proxy's (pkg/proxy/nftables), so its documentation explains them.

kube-proxy's rules for traffic from outside and from the node itself are left out: a lab has neither.
"""

import hashlib
import socket
import struct
from base64 import b32encode
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from typing import Literal, NamedTuple

from sidelab.lab.cluster.catalog import translated
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedService, State
from sidelab.lab.netlink import nftables
from sidelab.lab.netlink.nftables import objects as kernel
from sidelab.lab.netlink.nftables.objects import (
    IPV4,
    IPV6,
    Base,
    Bitwise,
    Code,
    Compare,
    Elements,
    Expression,
    Immediate,
    Meta,
    MetaKey,
    NamedSet,
    NftChain,
    NftHook,
    NftRule,
    NftTable,
    Operation,
    Payload,
    Verdict,
    quarter,
)

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
    def table(self) -> NftTable:
        return NftTable("kube-proxy", self.number)


_FAMILIES = (
    _Family(IPV4, socket.AF_INET, 12, 16, 4, kernel.IPV4_ADDRESS, 3),
    _Family(IPV6, socket.AF_INET6, 8, 24, 16, kernel.IPV6_ADDRESS, 4),
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
        address = endpoint[0].replace(":", ".")  # the tool nft accepts no colon in a chain's name
        return "endpoint-" + _hashed(f"{self.name}__{address}/{endpoint[1]}")


def batch(state: State) -> bytes:
    """Return the transaction that makes the node's rules those of `state`; without Services it removes them."""
    parts = [part for family in _FAMILIES for part in _table(family, state)]
    return nftables.batch(_FAMILIES[0].table, parts)


def _table(family: _Family, state: State) -> Iterator[bytes]:
    services = [each for each in translated(state) if _address(family, each)]
    yield _emptied(family)
    if not services:
        return
    yield _frame(family)
    addresses = tuple(_packed(family, _address(family, each)) for each in services)
    made = NamedSet(family.table, "cluster-ips", family.kind, family.length)
    yield _part(_ADDRESSES, made, Elements(family.table, made.name, addresses))
    served = [port for service in services for port in _ports(family, service) if port.endpoints]
    for port in served:
        yield _translation(family, port)
    yield _map(family, served)


def _address(family: _Family, thing: PublishedService | PublishedEndpoint) -> str:
    return thing.ipv4 if family.number == IPV4 else thing.ipv6


def _ports(family: _Family, service: PublishedService) -> Iterator[_Port]:
    for index, port in enumerate(service.ports):
        ready = [each for each in service.endpoints if each.ready and each.targets[index]]
        yield _Port(
            f"{service.namespace}/{service.name}/{port.protocol.lower()}/{port.name}",
            _address(family, service),
            _PROTOCOLS[port.protocol],
            port.port,
            tuple((_address(family, each), each.targets[index]) for each in ready),
        )


def _part(number: int, *added: NftTable | NftChain | NftRule | NamedSet | Elements) -> bytes:
    return nftables.part((Operation("add", each) for each in added), number)


@lru_cache(maxsize=4)
def _emptied(family: _Family) -> bytes:
    """Return what leaves an empty table, whether there was one or not."""
    verbs: tuple[Literal["add", "delete"], ...] = ("add", "delete", "add")
    return nftables.part((Operation(verb, family.table) for verb in verbs), _EMPTYING)


@lru_cache(maxsize=4)
def _frame(family: _Family) -> bytes:
    """Return the chains that do not depend on the Services, except through the map that leads to theirs."""
    table = family.table
    names = ("services", "cluster-ips-check", "reject-chain", "mark-for-masquerade", "masquerading")
    kind = (family.kind << 6 | kernel.PROTOCOL) << 6 | kernel.SERVICE
    return _part(
        _FRAME,
        NftChain(table, "nat-prerouting", "nat", NftHook.PREROUTING, _TRANSLATE),
        NftChain(table, "filter-prerouting", "filter", NftHook.PREROUTING, _REFUSE),
        NftChain(table, "nat-postrouting", "nat", NftHook.POSTROUTING, _MASQUERADE),
        *(NftChain(table, name) for name in names),
        NamedSet(table, "service-ips", kind, family.length + 8, verdicts=True),
        *(NftRule(table, chain, expressions) for chain, expressions in _frame_rules(family)),
    )


def _frame_rules(family: _Family) -> Iterator[tuple[str, tuple[Expression, ...]]]:
    yield "nat-prerouting", (Verdict(Code.JUMP, "services"),)
    yield "filter-prerouting", (Verdict(Code.JUMP, "cluster-ips-check"),)
    yield "nat-postrouting", (Verdict(Code.JUMP, "masquerading"),)
    mark, set_mark = Meta(MetaKey.MARK), Meta(MetaKey.MARK, store=True)
    bit, everything = _number(_MASQUERADE_MARK), _number(0xFFFFFFFF)
    others = _number(0xFFFFFFFF & ~_MASQUERADE_MARK)
    yield "mark-for-masquerade", (mark, Bitwise(others, bit), set_mark)
    yield "masquerading", (mark, Bitwise(bit), Compare(_number(0)), Verdict(Code.RETURN))
    yield "masquerading", (mark, Bitwise(everything, bit), set_mark, kernel.Masquerade())
    # Unlike ICMP, a TCP reset is not rate-limited: a second attempt is refused at once, too.
    yield "reject-chain", (Meta(MetaKey.L4PROTO), Compare(bytes((socket.IPPROTO_TCP,))), kernel.Reset())
    yield "reject-chain", (kernel.Unreachable(family.port_unreachable),)
    after = family.length // 4
    yield (
        "services",
        (
            Payload(Base.NETWORK, family.destination, family.length),
            Meta(MetaKey.L4PROTO, register=quarter(after)),
            Payload(Base.TRANSPORT, 2, 2, quarter(after + 1)),
            kernel.MapReference("service-ips"),
        ),
    )


@lru_cache(maxsize=8192)
def _translation(family: _Family, port: _Port) -> bytes:
    """Return the chains of a Service's port and of its endpoints."""
    table = family.table
    chains = [port.endpoint_chain(each) for each in port.endpoints]
    added: list[NftChain | NftRule] = []
    for (address, number), chain in zip(port.endpoints, chains, strict=True):
        packed = _packed(family, address)
        itself = (
            Payload(Base.NETWORK, family.source, family.length),
            Compare(packed),
            Verdict(Code.JUMP, "mark-for-masquerade"),
        )
        # The kernel wants to see the protocol compared before it takes a port.
        translated_to = (
            Meta(MetaKey.L4PROTO),
            Compare(bytes((port.protocol,))),
            Immediate(packed),
            Immediate(struct.pack("!H", number), register=2),
            kernel.TranslateDestination(family.number, address=1, port=2),
        )
        added += [NftChain(table, chain), NftRule(table, chain, itself), NftRule(table, chain, translated_to)]
    added.append(NftChain(table, port.chain))
    if len(chains) == 1:  # nothing to choose
        chosen: tuple[Expression, ...] = (Verdict(Code.GOTO, chains[0]),)
    else:
        chosen = (kernel.RandomNumber(len(chains)), kernel.Choice(tuple(chains)))
    return _part(next(_numbers), *added, NftRule(table, port.chain, chosen))


def _map(family: _Family, served: list[_Port]) -> bytes:
    """Return the elements that lead to the Services' chains, and those that refuse the rest for their addresses."""
    table = family.table
    refused = (
        Payload(Base.NETWORK, family.destination, family.length),
        kernel.SetReference("cluster-ips"),
        Verdict(Code.GOTO, "reject-chain"),
    )
    gotos = tuple((_key(family, port), port.chain) for port in served)
    return _part(_MAP, Elements(table, "service-ips", gotos), NftRule(table, "cluster-ips-check", refused))


def _number(value: int) -> bytes:
    """Return a number as in the packet's metadata: 32 bits in the machine's byte order."""
    return struct.pack("=I", value)


def _key(family: _Family, port: _Port) -> bytes:
    """Return address, protocol and port, each padded to the four bytes of a register's quarter."""
    return _packed(family, port.address) + struct.pack("!B3xH2x", port.protocol, port.port)


def _packed(family: _Family, address: str) -> bytes:
    return socket.inet_pton(family.socket, address)


@lru_cache(maxsize=8192)
def _hashed(name: str) -> str:
    """Return `name` after eight characters that keep it unique if it has to be shortened."""
    digest = b32encode(hashlib.sha256(name.encode()).digest())[:8].decode()
    whole = f"{digest}-{name}"
    return whole if len(whole) <= _NAME_BYTES else f"{whole[:_NAME_BYTES]}..."
