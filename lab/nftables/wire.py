"""Transactions become bytes: one batch between NFNL_MSG_BATCH_BEGIN and _END. Opens no socket.

pyroute2's message classes encode whatever has nested attributes. A whole rule takes them 0.4 ms, so each different
expression is encoded once and rules are put together from the results. Sources: netlink(7), Linux' nfnetlink.h,
nf_tables.h.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from lab.light import light
from lab.nftables.objects import (
    Bitwise,
    Chain,
    Compare,
    Counter,
    Ct,
    Expression,
    Immediate,
    Lookup,
    Meta,
    Operation,
    Payload,
    Redirect,
    Rule,
    Table,
    Tproxy,
    Transaction,
    Unknown,
    Verdict,
)

HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
GENERIC = struct.Struct("!BBH")  # nfgenmsg: family, version, resource
ATTRIBUTE = struct.Struct("=HH")  # length, type
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 0x10, 0x11
REQUEST, ACK, CREATE, APPEND = 0x1, 0x4, 0x400, 0x800
NEW_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE, DELETE_RULE, NEW_SET, NEW_ELEMENTS = 0, 2, 3, 6, 8, 9, 12
RULE_TABLE, RULE_CHAIN, RULE_EXPRESSIONS = 1, 2, 4
_LIST_ELEMENT = 1  # NFTA_LIST_ELEM
_NESTED = 0x8000
_REGISTER = 1  # NFT_REG_1, 16 bytes wide
_SET_NAME = "__set%d"  # the kernel puts the first free number in

_Message = tuple[int, int, bytes]  # type, flags, body after the netlink header


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one netlink message of the nftables subsystem."""
    return HEADER.pack(len(body) + 16, SUBSYSTEM << 8 | kind, REQUEST | flags, sequence, 0) + body


def attribute(kind: int, data: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    return ATTRIBUTE.pack(len(data) + 4, kind) + data + bytes(-len(data) % 4)


def text(value: str) -> bytes:
    """Return a name as the kernel reads it."""
    return value.encode() + b"\0"


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, flags, sequence number and body of each netlink message in `data`."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
        yield kind, flags, sequence, data[offset + 16 : offset + length]
        offset += length + -length % 4


def attributes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, type and content of each attribute in `data`."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield offset, kind & ~_NESTED, data[offset + 4 : offset + length]
        offset += length + -length % 4


def encode(transaction: Transaction) -> bytes:
    """Return the batch of all operations; those of operation n (from 1) carry its number as their sequence.

    Only the last message asks for an acknowledgement: errors come without being asked for. Raises `ValueError` for an
    empty transaction or an expression that can only be read.
    """
    if not transaction:
        raise ValueError("a transaction without operations")
    groups: list[tuple[_Message, ...]] = []
    sets = 0
    for operation in transaction:
        thing = operation.thing
        lookups = [e for e in thing.expressions if isinstance(e, Lookup)] if isinstance(thing, Rule) else []
        groups.append(_operation(operation, sets))
        sets += len(lookups)
    edge = GENERIC.pack(0, 0, SUBSYSTEM)
    parts = [HEADER.pack(20, BATCH_BEGIN, REQUEST, 0, 0) + edge]
    for number, group in enumerate(groups, 1):
        last = number == len(groups)
        for index, (kind, flags, body) in enumerate(group, 1):
            parts.append(message(kind, flags | (ACK if last and index == len(group) else 0), number, body))
    parts.append(HEADER.pack(20, BATCH_END, REQUEST, 0, 0) + edge)
    return b"".join(parts)


def _operation(operation: Operation, sets: int) -> tuple[_Message, ...]:
    """Return the messages of one operation; anonymous sets are numbered from `sets` + 1."""
    thing = operation.thing
    if isinstance(thing, Table):
        if operation.verb == "flush":
            body = GENERIC.pack(thing.family, 0, 0) + attribute(RULE_TABLE, text(thing.name))
            return ((DELETE_RULE, 0, body),)
        kind, flags = (NEW_TABLE, CREATE) if operation.verb == "add" else (DELETE_TABLE, 0)
        return ((kind, flags, _table(thing)),)
    if operation.verb != "add":
        raise ValueError(f"{operation}: only tables are flushed or deleted")
    if isinstance(thing, Chain):
        return ((NEW_CHAIN, CREATE, _chain(thing)),)
    return _rule(thing, sets)


def _rule(rule: Rule, sets: int) -> tuple[_Message, ...]:
    result: list[_Message] = []
    expressions = b""
    for expression in rule.expressions:
        if isinstance(expression, Lookup):
            sets += 1
            result += _set(rule.table, expression, sets)
            expressions += _expression(expression, sets)
        else:
            expressions += _expression(expression)
    body = (
        GENERIC.pack(rule.table.family, 0, 0)
        + attribute(RULE_TABLE, text(rule.table.name))
        + attribute(RULE_CHAIN, text(rule.chain))
        + attribute(RULE_EXPRESSIONS | _NESTED, expressions)
    )
    return (*result, (NEW_RULE, CREATE | APPEND, body))


def _packed(body: Any, family: int, attrs: Sequence[tuple[str, Any]]) -> bytes:
    """Return a pyroute2 message without its netlink header."""
    body["nfgen_family"] = family
    body["attrs"] = list(attrs)
    body.encode()
    return bytes(body.data[16:])


@lru_cache(maxsize=64)
def _table(table: Table) -> bytes:
    nft_table_msg = light("pyroute2.netlink.nfnetlink.nftsocket").nft_table_msg

    return _packed(nft_table_msg(), table.family, [("NFTA_TABLE_NAME", table.name)])


@lru_cache(maxsize=256)
def _chain(chain: Chain) -> bytes:
    nft_chain_msg = light("pyroute2.netlink.nfnetlink.nftsocket").nft_chain_msg

    attrs: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", chain.table.name), ("NFTA_CHAIN_NAME", chain.name)]
    if chain.hook is not None:
        hook = [("NFTA_HOOK_HOOKNUM", int(chain.hook)), ("NFTA_HOOK_PRIORITY", chain.priority)]
        attrs += [("NFTA_CHAIN_HOOK", {"attrs": hook}), ("NFTA_CHAIN_TYPE", chain.kind)]
    return _packed(nft_chain_msg(), chain.table.family, attrs)


def _set(table: Table, lookup: Lookup, number: int) -> list[_Message]:
    nftsocket = light("pyroute2.netlink.nfnetlink.nftsocket")

    made = [
        ("NFTA_SET_TABLE", table.name),
        ("NFTA_SET_NAME", _SET_NAME),
        ("NFTA_SET_FLAGS", {"NFT_SET_ANONYMOUS", "NFT_SET_CONSTANT"}),
        ("NFTA_SET_KEY_TYPE", lookup.kind),
        ("NFTA_SET_KEY_LEN", len(lookup.elements[0])),
        ("NFTA_SET_ID", number),
        ("NFTA_SET_DESC", {"attrs": [("NFTA_SET_DESC_SIZE", len(lookup.elements))]}),
    ]
    elements = [
        {"attrs": [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", element)]})]} for element in lookup.elements
    ]
    filled = [
        ("NFTA_SET_ELEM_LIST_TABLE", table.name),
        ("NFTA_SET_ELEM_LIST_SET", _SET_NAME),
        ("NFTA_SET_ELEM_LIST_SET_ID", number),
        ("NFTA_SET_ELEM_LIST_ELEMENTS", elements),
    ]
    return [
        (NEW_SET, CREATE, _packed(nftsocket.nft_set_msg(), table.family, made)),
        (NEW_ELEMENTS, CREATE, _packed(nftsocket.nft_set_elem_list_msg(), table.family, filled)),
    ]


@lru_cache(maxsize=4096)
def _expression(expression: Expression, number: int = 0) -> bytes:
    """Return one element of a rule's list of expressions; `number` is that of the set which a lookup means."""
    nft_rule_msg = light("pyroute2.netlink.nfnetlink.nftsocket").nft_rule_msg

    name, attrs = _described(expression, number)
    packed = nft_rule_msg.nft_expr()
    packed["attrs"] = [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attrs})]
    packed.encode()
    return attribute(_LIST_ELEMENT | _NESTED, bytes(packed.data[ATTRIBUTE.size :]))


def _data(data: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def _described(expression: Expression, number: int) -> tuple[str, list[tuple[str, Any]]]:  # noqa: C901, PLR0911 - a row each
    """Return the kernel's name of an expression and its attributes in pyroute2's words."""
    match expression:
        case Meta(key, store):
            return "meta", [("NFTA_META_KEY", int(key)), (f"NFTA_META_{_side(store)}", _REGISTER)]
        case Ct(key, store):
            return "ct", [("NFTA_CT_KEY", int(key)), (f"NFTA_CT_{_side(store)}", _REGISTER)]
        case Payload(base, offset, length):
            return "payload", [
                ("NFTA_PAYLOAD_DREG", _REGISTER),
                ("NFTA_PAYLOAD_BASE", int(base)),
                ("NFTA_PAYLOAD_OFFSET", offset),
                ("NFTA_PAYLOAD_LEN", length),
            ]
        case Bitwise(mask):
            return "bitwise", [
                ("NFTA_BITWISE_SREG", _REGISTER),
                ("NFTA_BITWISE_DREG", _REGISTER),
                ("NFTA_BITWISE_LEN", len(mask)),
                ("NFTA_BITWISE_MASK", _data(mask)),
                ("NFTA_BITWISE_XOR", _data(bytes(len(mask)))),
            ]
        case Compare(data, negated):
            op = ("NFTA_CMP_OP", int(negated))
            return "cmp", [("NFTA_CMP_SREG", _REGISTER), op, ("NFTA_CMP_DATA", _data(data))]
        case Lookup(_, negated):
            flags = {"NFT_LOOKUP_F_INV"} if negated else set()
            return "lookup", [
                ("NFTA_LOOKUP_SET", _SET_NAME),
                ("NFTA_LOOKUP_SREG", _REGISTER),
                ("NFTA_LOOKUP_SET_ID", number),
                ("NFTA_LOOKUP_FLAGS", flags),
            ]
        case Immediate(data):
            return "immediate", [("NFTA_IMMEDIATE_DREG", _REGISTER), ("NFTA_IMMEDIATE_DATA", _data(data))]
        case Verdict(code, chain):
            verdict: list[tuple[str, Any]] = [("NFTA_VERDICT_CODE", int(code))]
            verdict += [("NFTA_VERDICT_CHAIN", chain)] if chain else []
            decision = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": verdict})]}
            return "immediate", [("NFTA_IMMEDIATE_DREG", 0), ("NFTA_IMMEDIATE_DATA", decision)]
        case Counter(packets, octets):
            return "counter", [("NFTA_COUNTER_BYTES", octets), ("NFTA_COUNTER_PACKETS", packets)]
        case Redirect():
            flags = {"NF_NAT_RANGE_PROTO_SPECIFIED"}
            return "redir", [("NFTA_REDIR_REG_PROTO_MIN", _REGISTER), ("NFTA_REDIR_FLAGS", flags)]
        case Tproxy(family):
            return "tproxy", [("NFTA_TPROXY_FAMILY", family), ("NFTA_TPROXY_REG_PORT", _REGISTER)]
        case Unknown(name):
            raise ValueError(f"the expression {name!r} can only be read")


def _side(store: bool) -> str:
    return "SREG" if store else "DREG"
