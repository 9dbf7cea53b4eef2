"""What the kernel holds: tables, chains and rules with their counters, read back into the types that are sent.

An expression that those types can't say becomes `Unknown`, never a guess. Source: Linux' nf_tables.h.
"""

import errno as errors
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from lab.errors import PodError
from lab.nftables import wire
from lab.light import light
from lab.nftables.objects import (
    INET,
    IPV4,
    IPV6,
    Base,
    Bitwise,
    Chain,
    Code,
    Compare,
    Counter,
    Ct,
    CtKey,
    Expression,
    Hook,
    Immediate,
    Lookup,
    Meta,
    MetaKey,
    Payload,
    Redirect,
    Rule,
    Table,
    Tproxy,
    Unknown,
    Verdict,
)

_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_ELEMENTS = 1, 4, 7, 13
_DUMP, _INTERRUPTED = 0x300, 0x10
_ERROR, _DONE = 2, 3
_RECEIVE_BYTES = 1 << 17
_REGISTER = "NFT_REG_1"
_TPROXY_FAMILIES = {"NFT_REG_2": IPV4, "NFT_REG32_02": IPV6}  # pyroute2 takes the number for a register's
_TRIES = 5


@dataclass(frozen=True)
class ChainState:
    """A chain as it is in the kernel; `accepts` is a base chain's policy."""

    chain: Chain
    accepts: bool
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class TableState:
    """A table as it is in the kernel, its chains in the order of their creation."""

    table: Table
    chains: tuple[ChainState, ...]


def uncounted(rule: Rule) -> Rule:
    """Return `rule` with its counters at zero: what it says, not what it has seen."""
    return replace(rule, expressions=tuple(Counter() if isinstance(e, Counter) else e for e in rule.expressions))


def dump(sock: socket.socket, family: int = INET) -> tuple[TableState, ...]:
    """Return all tables of `family`. Raises `PodError` if the kernel refuses to tell."""
    nftsocket = light("pyroute2.netlink.nfnetlink.nftsocket")

    names = [m.get_attr("NFTA_TABLE_NAME") for m in _get(sock, _GET_TABLE, nftsocket.nft_table_msg, family)]
    chains = [_chain(m, family) for m in _get(sock, _GET_CHAIN, nftsocket.nft_chain_msg, family)]
    rules = [_rule(sock, m, family) for m in _get(sock, _GET_RULE, nftsocket.nft_rule_msg, family)]
    return tuple(
        TableState(
            Table(name, family),
            tuple(
                replace(state, rules=tuple(r for r in rules if r.table.name == name and r.chain == state.chain.name))
                for state in chains
                if state.chain.table.name == name
            ),
        )
        for name in names
    )


def _get(sock: socket.socket, kind: int, decoder: type, family: int, body: bytes = b"") -> list[Any]:
    """Return the decoded answers to one dump request, asked again if the objects changed meanwhile."""
    for _ in range(_TRIES):
        sock.send(wire.message(kind, _DUMP, 0, wire.GENERIC.pack(family, 0, 0) + body))
        answers = list(_answers(sock))
        if not any(flags & _INTERRUPTED for flags, _ in answers):
            return [_decoded(decoder, raw) for _, raw in answers]
    raise PodError("nftables: the rules change faster than they can be read: try again")


def _answers(sock: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        for kind, flags, sequence, body in wire.messages(sock.recv(_RECEIVE_BYTES)):
            if kind == _DONE:
                return
            if kind == _ERROR:
                (number,) = struct.unpack_from("=i", body)
                name = errors.errorcode.get(-number, str(-number))
                raise PodError(f"nftables: the kernel does not tell its rules: {os.strerror(-number)} ({name})")
            yield flags, wire.HEADER.pack(len(body) + 16, kind, flags, sequence, 0) + body


def _decoded(decoder: type, raw: bytes) -> Any:
    decoded = decoder(raw)
    decoded.decode()
    return decoded


def _chain(chain: Any, family: int) -> ChainState:
    table = Table(chain.get_attr("NFTA_CHAIN_TABLE"), family)
    hook = chain.get_attr("NFTA_CHAIN_HOOK")
    made = Chain(table, chain.get_attr("NFTA_CHAIN_NAME"))
    if hook is not None:
        made = replace(
            made,
            kind=chain.get_attr("NFTA_CHAIN_TYPE"),
            hook=Hook(hook.get_attr("NFTA_HOOK_HOOKNUM")),
            priority=hook.get_attr("NFTA_HOOK_PRIORITY"),
        )
    return ChainState(made, chain.get_attr("NFTA_CHAIN_POLICY", int(Code.ACCEPT)) == Code.ACCEPT, ())


def _rule(sock: socket.socket, rule: Any, family: int) -> Rule:
    table = rule.get_attr("NFTA_RULE_TABLE")
    expressions = tuple(
        _expression(sock, table, family, each.get_attr("NFTA_EXPR_NAME"), each.get_attr("NFTA_EXPR_DATA"))
        for each in rule.get_attr("NFTA_RULE_EXPRESSIONS", [])
    )
    return Rule(Table(table, family), rule.get_attr("NFTA_RULE_CHAIN"), expressions)


def _elements(sock: socket.socket, table: str, family: int, name: str) -> tuple[bytes, ...]:
    nft_set_elem_list_msg = light("pyroute2.netlink.nfnetlink.nftsocket").nft_set_elem_list_msg

    body = wire.attribute(1, wire.text(table)) + wire.attribute(2, wire.text(name))
    found = [
        element.get_attr("NFTA_SET_ELEM_KEY").get_attr("NFTA_DATA_VALUE")
        for answer in _get(sock, _GET_ELEMENTS, nft_set_elem_list_msg, family, body)
        for element in answer.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS", [])
    ]
    return tuple(sorted(bytes(element) for element in found))


def _expression(sock: socket.socket, table: str, family: int, name: str, data: Any) -> Expression:
    if name == "lookup":
        if data.get_attr("NFTA_LOOKUP_SREG") != _REGISTER or data.get_attr("NFTA_LOOKUP_DREG") is not None:
            return Unknown(name)
        inverted = bool(data.get_attr("NFTA_LOOKUP_FLAGS", ()))
        return Lookup(_elements(sock, table, family, data.get_attr("NFTA_LOOKUP_SET")), negated=inverted)
    reader = _READERS.get(name)
    return (reader(data) if reader else None) or Unknown(name)


def _keyed(prefix: str, keys: type[MetaKey | CtKey], kind: type[Meta | Ct], data: Any) -> Expression | None:
    key = data.get_attr(f"{prefix}_KEY").removeprefix(prefix.replace("NFTA", "NFT") + "_")
    store = data.get_attr(f"{prefix}_SREG") is not None
    register = data.get_attr(f"{prefix}_{'SREG' if store else 'DREG'}")
    if key not in keys.__members__ or register != _REGISTER or data.get_attr("NFTA_CT_DIRECTION") is not None:
        return None
    return kind(keys[key], store)  # type: ignore[arg-type]  # each caller passes the keys of its own kind


def _meta(data: Any) -> Expression | None:
    return _keyed("NFTA_META", MetaKey, Meta, data)


def _ct(data: Any) -> Expression | None:
    return _keyed("NFTA_CT", CtKey, Ct, data)


def _payload(data: Any) -> Expression | None:
    base = data.get_attr("NFTA_PAYLOAD_BASE")
    bases = {"NFT_PAYLOAD_NETWORK_HEADER": Base.NETWORK, "NFT_PAYLOAD_TRANSPORT_HEADER": Base.TRANSPORT}
    if base not in bases or data.get_attr("NFTA_PAYLOAD_DREG") != _REGISTER:
        return None
    return Payload(bases[base], data.get_attr("NFTA_PAYLOAD_OFFSET"), data.get_attr("NFTA_PAYLOAD_LEN"))


def _bitwise(data: Any) -> Expression | None:
    mask = data.get_attr("NFTA_BITWISE_MASK")
    xor = data.get_attr("NFTA_BITWISE_XOR")
    if mask is None or any(_value(xor)) or data.get_attr("NFTA_BITWISE_SREG") != _REGISTER:
        return None
    return Bitwise(_value(mask))


def _compare(data: Any) -> Expression | None:
    op = data.get_attr("NFTA_CMP_OP")
    if op not in {"NFT_CMP_EQ", "NFT_CMP_NEQ"} or data.get_attr("NFTA_CMP_SREG") != _REGISTER:
        return None
    return Compare(_value(data.get_attr("NFTA_CMP_DATA")), negated=op == "NFT_CMP_NEQ")


def _immediate(data: Any) -> Expression | None:
    content = data.get_attr("NFTA_IMMEDIATE_DATA")
    verdict = content.get_attr("NFTA_DATA_VERDICT")
    if verdict is None:
        return Immediate(_value(content)) if data.get_attr("NFTA_IMMEDIATE_DREG") == _REGISTER else None
    code = verdict.get_attr("NFTA_VERDICT_CODE").partition("_")[2]
    if code not in Code.__members__:
        return None
    return Verdict(Code[code], verdict.get_attr("NFTA_VERDICT_CHAIN", ""))


def _counter(data: Any) -> Expression | None:
    return Counter(data.get_attr("NFTA_COUNTER_PACKETS"), data.get_attr("NFTA_COUNTER_BYTES"))


def _redirect(data: Any) -> Expression | None:
    flags = data.get_attr("NFTA_REDIR_FLAGS", frozenset())
    plain = flags == {"NF_NAT_RANGE_PROTO_SPECIFIED"} and data.get_attr("NFTA_REDIR_REG_PROTO_MIN") == _REGISTER
    return Redirect() if plain else None


def _tproxy(data: Any) -> Expression | None:
    family = _TPROXY_FAMILIES.get(data.get_attr("NFTA_TPROXY_FAMILY"))
    address = data.get_attr("NFTA_TPROXY_REG_ADDR")
    if family is None or address is not None or data.get_attr("NFTA_TPROXY_REG_PORT") != _REGISTER:
        return None
    return Tproxy(family)


def _value(data: Any) -> bytes:
    return bytes(data.get_attr("NFTA_DATA_VALUE"))


_READERS = {
    "meta": _meta,
    "ct": _ct,
    "payload": _payload,
    "bitwise": _bitwise,
    "cmp": _compare,
    "immediate": _immediate,
    "counter": _counter,
    "redir": _redirect,
    "tproxy": _tproxy,
}
