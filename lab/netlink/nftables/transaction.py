"""Transactions become bytes: one batch between NFNL_MSG_BATCH_BEGIN and _END. Pure.

What several pods' rules have in common is encoded once, as a pod's rules mostly are those of the pods before it. Where
a batch is mostly the one before it, its parts can be kept. Sources: netlink(7), Linux' nfnetlink.h, nf_tables.h.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count

from sidelab.lab.netlink import header
from sidelab.lab.netlink.attributes import pack
from sidelab.lab.netlink.header import ACK, APPEND, CREATE
from sidelab.lab.netlink.nftables import messages
from sidelab.lab.netlink.nftables.messages import ANONYMOUS, CONSTANT, GENERIC, MAP, VERDICTS, SetHead, SetPart
from sidelab.lab.netlink.nftables.objects import (
    INTEGER,
    Choice,
    Elements,
    Expression,
    Lookup,
    MapReference,
    NamedSet,
    NftChain,
    NftRule,
    NftTable,
    Operation,
    RuleHandle,
    SetReference,
    Transaction,
)

_EDGE = GENERIC.pack(0, 0, messages.SUBSYSTEM)
_BEGIN, _END = (header.message(kind, 0, 0, _EDGE) for kind in (messages.BATCH_BEGIN, messages.BATCH_END))

_LIST_BYTES = 60_000  # an attribute's length has 16 bits
_PART_SETS = 1 << 8
_OUR_ORDER = struct.pack("=BBI", 0, 4, 1)  # NFTNL_UDATA_SET_KEYBYTEORDER: the machine's

_Message = tuple[int, int, bytes]  # type, flags, body after the netlink header


def encode(transaction: Transaction) -> bytes:
    """Return the batch of all operations; those of operation n (from 1) carry its number as their sequence.

    Only the last message asks for an acknowledgement: errors come without being asked for. Raises `ValueError` for an
    empty transaction or an expression that can only be read.
    """
    if not transaction:
        raise ValueError("a transaction without operations")
    parts = [_BEGIN]
    sets = count(1)
    for number, operation in enumerate(transaction, 1):
        for kind, flags, body in _encoded(operation) or _with_sets(operation, sets):
            parts.append(messages.message(kind, flags, number, body))
    parts[-1] = messages.message(kind, flags | ACK, number, body)
    parts.append(_END)
    return b"".join(parts)


def part(operations: Iterable[Operation], number: int) -> bytes:
    """Return the messages of some operations, to be put into any batch; all carry `number`, by which they are refused.

    Up to 256 sets and maps of its rules have numbers of their own, if no other part of the batch has that `number`.
    """
    sets = count(number * _PART_SETS)
    return b"".join(
        messages.message(kind, flags, number, body)
        for operation in operations
        for kind, flags, body in _plain(operation) or _with_sets(operation, sets)
    )


def batch(table: NftTable, parts: Iterable[bytes]) -> bytes:
    """Return one transaction of `parts`; the kernel says yes or no to all of it. `table` must be there afterwards."""
    last = messages.message(messages.NEW_TABLE, CREATE | ACK, 1, _generic(table) + pack(messages.TABLE, table))
    return b"".join((_BEGIN, *parts, last, _END))


def _plain(operation: Operation) -> tuple[_Message, ...]:
    """Return the messages of one operation; none for a rule with sets, as their numbers depend on those before it."""
    thing = operation.thing
    if operation.verb != "add":
        return (_taken_away(operation),)
    if isinstance(thing, RuleHandle):
        raise ValueError(f"{operation}: only the kernel numbers rules")  # noqa: TRY004 - its type is fine elsewhere
    if isinstance(thing, NftRule):
        if any(isinstance(expression, Lookup | Choice) for expression in thing.expressions):
            return ()
        return ((messages.NEW_RULE, CREATE | APPEND, _rule(thing, thing.expressions)),)
    if isinstance(thing, NftChain):
        description = messages.CHAIN if thing.hook is None else messages.BASE_CHAIN
        return ((messages.NEW_CHAIN, CREATE, _generic(thing.table) + pack(description, thing)),)
    if isinstance(thing, NamedSet | Elements):
        return tuple(_named(thing))
    return ((messages.NEW_TABLE, CREATE, _generic(thing) + pack(messages.TABLE, thing)),)


_encoded = lru_cache(maxsize=4096)(_plain)


def _taken_away(operation: Operation) -> _Message:
    """Return the message that flushes or deletes: deleting the rules of a table, or of a chain, is flushing it."""
    match operation:
        case Operation("flush", NftTable() as table):
            return messages.DELETE_RULE, 0, _generic(table) + pack(messages.TABLE, table)
        case Operation("flush", NftChain() as chain):
            return messages.DELETE_RULE, 0, _place(chain.table, chain.name)
        case Operation("delete", NftTable() as table):
            return messages.DELETE_TABLE, 0, _generic(table) + pack(messages.TABLE, table)
        case Operation("delete", NftChain() as chain):
            return messages.DELETE_CHAIN, 0, _generic(chain.table) + pack(messages.CHAIN, chain)
        case Operation("delete", RuleHandle() as rule):
            return messages.DELETE_RULE, 0, _place(rule.table, rule.chain) + pack(messages.HANDLE_OF_RULE, rule)
    raise ValueError(f"{operation}: rules are only deleted, and by their handles")


def _with_sets(operation: Operation, numbers: Iterator[int]) -> Iterator[_Message]:
    """Yield the messages that make each set of a rule and fill it, numbered in turn, and then that of the rule."""
    rule = operation.thing
    if not isinstance(rule, NftRule):
        return
    said: list[Expression] = []
    for expression in rule.expressions:
        if isinstance(expression, Lookup):
            number, elements = next(numbers), expression.elements
            called = SetPart(rule.table.name, "__set%d", number=number)  # the kernel puts the first free number in
            head = SetHead(
                called.table,
                called.name,
                ANONYMOUS | CONSTANT,
                expression.kind,
                len(elements[0]),
                number,
                size=len(elements),
            )
            yield _set(rule.table, head)
            yield from _elements(rule.table, called, elements)
            said.append(SetReference(called.name, number, expression.negated, expression.register))
        elif isinstance(expression, Choice):
            number = next(numbers)
            called = SetPart(rule.table.name, "__map%d", number=number)
            head = SetHead(
                called.table, called.name, ANONYMOUS | CONSTANT | MAP, INTEGER, 4, number, VERDICTS, order=_OUR_ORDER
            )
            yield _set(rule.table, head)
            gotos = tuple((struct.pack("=I", index), chain) for index, chain in enumerate(expression.chains))
            yield from _elements(rule.table, called, gotos)
            said.append(MapReference(called.name, number, expression.register))
        else:
            said.append(expression)
    yield messages.NEW_RULE, CREATE | APPEND, _rule(rule, tuple(said))


def _named(thing: NamedSet | Elements) -> Iterator[_Message]:
    if isinstance(thing, Elements):
        yield from _elements(thing.table, SetPart(thing.table.name, thing.set), thing.elements)
        return
    flags, data = (MAP, VERDICTS) if thing.verdicts else (0, 0)
    yield _set(thing.table, SetHead(thing.table.name, thing.name, flags, thing.kind, thing.length, data=data))


def _set(table: NftTable, head: SetHead) -> _Message:
    return messages.NEW_SET, CREATE, _generic(table) + pack(messages.SET, head)


def _elements(
    table: NftTable, called: SetPart, elements: tuple[bytes, ...] | tuple[tuple[bytes, str], ...]
) -> Iterator[_Message]:
    """Yield as many messages as the elements need."""
    packed = tuple(map(messages.packed_element, elements))
    at_once = max(1, _LIST_BYTES // max(map(len, packed), default=1))
    for start in range(0, len(packed), at_once):
        body = pack(messages.SET_ELEMENTS, called._replace(elements=packed[start : start + at_once]))
        yield messages.NEW_ELEMENTS, CREATE, _generic(table) + body


def _rule(rule: NftRule, said: tuple[Expression, ...]) -> bytes:
    return _place(rule.table, rule.chain) + pack(messages.CONTENT_OF_RULE, messages.RuleContent(said))


@lru_cache(maxsize=1024)
def _place(table: NftTable, chain: str) -> bytes:
    return _generic(table) + pack(messages.PLACE_OF_RULE, messages.RulePlace(table, chain))


def _generic(table: NftTable) -> bytes:
    return GENERIC.pack(table.family, 0, 0)
