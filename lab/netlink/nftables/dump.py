"""What the kernel holds: tables, chains and rules with their counters, read back into the types that are sent.

An expression that those types can't say becomes `Unknown`, never a guess. Source: Linux' nf_tables.h.
"""

import errno as errors
import socket
from typing import NamedTuple

from sidelab.lab.errors import NotPermittedError, PodError
from sidelab.lab.netlink import receive
from sidelab.lab.netlink.attributes import contents, pack, read
from sidelab.lab.netlink.nftables import messages
from sidelab.lab.netlink.nftables.messages import GENERIC
from sidelab.lab.netlink.nftables.objects import (
    INET,
    Code,
    Counter,
    Expression,
    Lookup,
    NftChain,
    NftRule,
    NftTable,
    RuleHandle,
    SetReference,
    Unknown,
)


class ChainState(NamedTuple):
    """A chain as it is in the kernel; `accepts` is a base chain's policy."""

    chain: NftChain
    accepts: bool
    rules: tuple[NftRule, ...]


class TableState(NamedTuple):
    """A table as it is in the kernel, its chains in the order of their creation."""

    table: NftTable
    chains: tuple[ChainState, ...]


def uncounted(rule: NftRule) -> NftRule:
    """Return `rule` with its counters at zero: what it says, not what it has seen."""
    return rule._replace(expressions=tuple(Counter() if isinstance(e, Counter) else e for e in rule.expressions))


def dump(sock: socket.socket, family: int = INET) -> tuple[TableState, ...]:
    """Return all tables of `family`. Raises `PodError` if the kernel refuses to tell."""
    tables = [NftTable(read(messages.TABLE, body)["name"], family) for body in _get(sock, messages.GET_TABLE, family)]
    chains = [_chain(body, family) for body in _get(sock, messages.GET_CHAIN, family)]
    rules: dict[tuple[NftTable, str], list[NftRule]] = {}
    for body in _get(sock, messages.GET_RULE, family):
        rule = _rule(sock, body, family)
        rules.setdefault((rule.table, rule.chain), []).append(rule)
    return tuple(
        TableState(
            table,
            tuple(
                ChainState(chain, accepts, tuple(rules.get((table, chain.name), ())))
                for chain, accepts in chains
                if chain.table == table
            ),
        )
        for table in tables
    )


def handles(sock: socket.socket, family: int = INET) -> dict[tuple[NftTable, str], tuple[RuleHandle, ...]]:
    """Return the handles of all rules of `family` by table and chain, in the order in which `dump` has the rules."""
    found: dict[tuple[NftTable, str], list[RuleHandle]] = {}
    for body in _get(sock, messages.GET_RULE, family):
        place = read(messages.PLACE_OF_RULE, body)
        table, chain = NftTable(place["table.name"], family), place["chain"]
        number = read(messages.HANDLE_OF_RULE, body)["handle"]
        found.setdefault((table, chain), []).append(RuleHandle(table, chain, number))
    return {where: tuple(rules) for where, rules in found.items()}


def _get(sock: socket.socket, kind: int, family: int, wanted: bytes = b"") -> list[bytes]:
    """Return the attributes of each answer to one dump request."""
    try:
        answers = receive.dump(sock, messages.SUBSYSTEM << 8 | kind, GENERIC.pack(family, 0, 0) + wanted)
    except OSError as error:
        if error.errno == errors.EPERM:
            raise NotPermittedError(
                f"nftables: {error.strerror}: the capability NET_ADMIN in this network namespace is needed to read "
                "its rules"
            ) from error
        raise PodError(f"nftables: the kernel does not tell its rules: {error.strerror}") from error
    return [body[GENERIC.size :] for body in answers]


def _chain(body: bytes, family: int) -> tuple[NftChain, bool]:
    if messages.CHAIN_HOOK not in contents(body):
        found = read(messages.CHAIN, body)
        return NftChain(NftTable(found["table.name"], family), found["name"]), True
    found = read(messages.BASE_CHAIN, body)
    table = NftTable(found.pop("table.name"), family)
    return NftChain(table, **found), read(messages.POLICY, body)["policy"] == Code.ACCEPT


def _rule(sock: socket.socket, body: bytes, family: int) -> NftRule:
    place = read(messages.PLACE_OF_RULE, body)
    table = NftTable(place["table.name"], family)
    said = read(messages.CONTENT_OF_RULE, body)["expressions"]
    return NftRule(table, place["chain"], tuple(_whole(sock, table, each) for each in said))


def _whole(sock: socket.socket, table: NftTable, expression: Expression) -> Expression:
    """Return `expression`, or the lookup that a reference to a set stands for."""
    if not isinstance(expression, SetReference):
        return expression
    called = pack(messages.SET_CALLED, messages.SetPart(table.name, expression.set))
    answers = _get(sock, messages.GET_ELEMENTS, table.family, called)
    try:
        elements = [element for body in answers for element in read(messages.SET_ELEMENTS, body).get("elements", ())]
    except ValueError:  # intervals, counters, maps
        return Unknown(expression.name)
    return Lookup(tuple(sorted(elements)), negated=expression.negated, register=expression.register)
