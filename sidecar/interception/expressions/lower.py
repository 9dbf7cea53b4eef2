"""Turns the ruleset into an nftables transaction: the expressions that `nft` makes of our `--form nft` text. Pure.

Order and names come from `nft`. Like in `nft`, a check of the IP version precedes an address and a check of the
protocol precedes a port, each once per rule. Prefixes of whole bytes load only those bytes.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_interface

from sidelab.lab.errors import InputError
from sidelab.lab.netlink import nftables
from sidelab.lab.netlink.nftables import objects as kernel
from sidelab.lab.netlink.nftables.objects import Expression, Operation, Transaction
from sidelab.sidecar.interception.model.model import (
    BUILT_IN,
    Backend,
    Chain,
    Family,
    Key,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    Table,
    Target,
)
from sidelab.sidecar.interception.text import nft

PROTOCOLS = {"tcp": 6, "udp": 17}
CT_STATES = {"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8}
IP_VERSIONS = {4: kernel.IPV4, 6: kernel.IPV6}
# Offset of the source and destination address, and their length (RFC 791, RFC 8200).
ADDRESSES = {4: {Key.SOURCE: 12, Key.DESTINATION: 16}, 6: {Key.SOURCE: 8, Key.DESTINATION: 24}}
ADDRESS_KEYS = ADDRESSES[4].keys()
PORTS = {Key.SPORT: 0, Key.DPORT: 2}
META_NUMBERS = {Key.UID: kernel.MetaKey.SKUID, Key.GID: kernel.MetaKey.SKGID, Key.MARK: kernel.MetaKey.MARK}
INTERFACES = {Key.IN_INTERFACE: kernel.MetaKey.IIFNAME, Key.OUT_INTERFACE: kernel.MetaKey.OIFNAME}
VERDICTS = {
    RuleAction.RETURN: kernel.Code.RETURN,
    RuleAction.ACCEPT: kernel.Code.ACCEPT,
    RuleAction.DROP: kernel.Code.DROP,
}
NAME_BYTES = 16  # IFNAMSIZ


def lower(ruleset: Ruleset) -> Transaction:
    """Return the transaction that makes the kernel hold `ruleset`: tables are added and flushed, as in Istio.

    A chain that is only jumped to is created as well. Raises `InputError` for a group name that was not resolved.
    """
    operations: list[Operation] = []
    for table in ruleset.tables(Backend.NFT):
        operations += _table(table)
    return tuple(operations)


def _table(table: Table) -> list[Operation]:
    made = nftables.NftTable(nft.table_name(table.name))
    names = dict.fromkeys(chain.name for chain in table.chains)
    jumped_to = dict.fromkeys(rule.target.chain for chain in table.chains for rule in chain.rules if rule.target.chain)
    result = [Operation("add", made), Operation("flush", made)]
    result += [_chain_added(made, table.name, name) for name in names | jumped_to]
    for chain in table.chains:
        result += _rules_added(made, chain)
    return result


@lru_cache(maxsize=256)
def _chain_added(table: nftables.NftTable, model_table: str, name: str) -> Operation:
    if name not in BUILT_IN:
        return Operation("add", nftables.NftChain(table, nft.chain_name(name)))
    kind, hook, priority = nft.HOOKS[model_table, name]
    return Operation(
        "add", nftables.NftChain(table, nft.chain_name(name), kind, kernel.NftHook[hook.upper()], priority)
    )


# Most chains of a pod, and most rules of its other chains, are the same as in earlier pods.
@lru_cache(maxsize=1024)
def _rules_added(table: nftables.NftTable, chain: Chain) -> tuple[Operation, ...]:
    return tuple(_rule_added(table, rule) for rule in chain.rules)


@lru_cache(maxsize=4096)
def _rule_added(table: nftables.NftTable, rule: Rule) -> Operation:
    return Operation("add", nftables.NftRule(table, nft.chain_name(rule.chain), expressions(rule)))


def expressions(rule: Rule) -> tuple[Expression, ...]:
    """Return the expressions that the kernel runs for `rule`."""
    result: list[Expression] = []
    known: set[Key | str] = set()  # what the expressions so far have checked
    if nft.says_family(rule):
        result += _version(rule.family or 4)
    for match in nft.ordered(rule):
        if match.key in ADDRESS_KEYS and "version" not in known:
            known.add("version")
            result += _version(6 if ":" in str(match.value) else 4)
        if match.key in PORTS and Key.PROTOCOL not in known:
            known.add(Key.PROTOCOL)
            result += _match(Match(Key.PROTOCOL, (str(rule.protocol),)))
        known.add(match.key)
        result += _match(match)
    if rule.target.verb is RuleAction.TPROXY:
        return (*result, *_tproxy(rule))
    return (*result, kernel.Counter(), *_target(rule.target))


def _version(family: Family) -> list[Expression]:
    return [kernel.Meta(kernel.MetaKey.NFPROTO), kernel.Compare(bytes([IP_VERSIONS[family]]))]


def number(value: int) -> bytes:
    """Return a number as in a packet's meta data: 32 bits in the machine's byte order."""
    return struct.pack("=I", value)


@lru_cache(maxsize=1024)
def _match(match: Match) -> Sequence[Expression]:
    key, negated = match.key, match.negated
    if key is Key.PROTOCOL:
        protocol = PROTOCOLS[str(match.value)]
        return [kernel.Meta(kernel.MetaKey.L4PROTO), kernel.Compare(bytes([protocol]), negated)]
    if key in INTERFACES:
        name = str(match.value).encode().ljust(NAME_BYTES, b"\0")
        return [kernel.Meta(INTERFACES[key]), kernel.Compare(name, negated)]
    if key in ADDRESS_KEYS:
        return _address(match)
    if key in PORTS:
        ports = tuple(sorted({int(port).to_bytes(2, "big") for port in match.values}))
        test = kernel.Compare(ports[0], negated) if len(ports) == 1 else kernel.Lookup(ports, negated)
        return [kernel.Payload(kernel.Base.TRANSPORT, PORTS[key], 2), test]
    if key is Key.CT_STATE:
        bits = sum(CT_STATES[str(state)] for state in match.values)
        return [
            kernel.Ct(kernel.CtKey.STATE),
            kernel.Bitwise(number(bits)),
            kernel.Compare(number(0), negated=not negated),
        ]
    if isinstance(match.value, str):
        raise InputError(f"group {match.value!r}: the kernel knows only numbers: give the group's id")
    load = kernel.Ct(kernel.CtKey.MARK) if key is Key.CONNMARK else kernel.Meta(META_NUMBERS[key])
    return [load, kernel.Compare(number(match.value), negated)]


def _address(match: Match) -> list[Expression]:
    network = ip_interface(match.value).network
    offset = ADDRESSES[network.version][match.key]
    packed, mask, bits = network.network_address.packed, network.netmask.packed, network.prefixlen
    if bits and bits % 8 == 0:
        packed = packed[: bits // 8]
    load = [kernel.Payload(kernel.Base.NETWORK, offset, len(packed))]
    if bits == 0 or bits % 8:
        return [*load, kernel.Bitwise(mask), kernel.Compare(packed, match.negated)]
    return [*load, kernel.Compare(packed, match.negated)]


def _tproxy(rule: Rule) -> list[Expression]:
    target = rule.target
    version = IP_VERSIONS[6 if rule.family == 6 else 4]
    return [
        kernel.Immediate(target.port.to_bytes(2, "big")),
        kernel.Tproxy(version),
        kernel.Immediate(number(target.number)),
        kernel.Meta(kernel.MetaKey.MARK, store=True),
        kernel.Counter(),
        kernel.Verdict(kernel.Code.ACCEPT),
    ]


@lru_cache(maxsize=256)
def _target(target: Target) -> Sequence[Expression]:  # noqa: PLR0911 - a row for each target
    packet, connection = kernel.MetaKey.MARK, kernel.CtKey.MARK
    match target.verb:
        case RuleAction.JUMP:
            return [kernel.Verdict(kernel.Code.JUMP, nft.chain_name(target.chain))]
        case RuleAction.REDIRECT:
            return [kernel.Immediate(target.port.to_bytes(2, "big")), kernel.Redirect()]
        case RuleAction.MARK:
            return [kernel.Immediate(number(target.number)), kernel.Meta(packet, store=True)]
        case RuleAction.SAVE_MARK:
            return [kernel.Meta(packet), kernel.Ct(connection, store=True)]
        case RuleAction.RESTORE_MARK:
            return [kernel.Ct(connection), kernel.Meta(packet, store=True)]
        case RuleAction.ZONE:
            zone = struct.pack("=H", target.number)
            return [kernel.Immediate(zone), kernel.Ct(kernel.CtKey.ZONE, store=True)]
        case verb:
            return [kernel.Verdict(VERDICTS[verb])]
