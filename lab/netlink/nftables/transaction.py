"""Transactions become bytes: one batch between NFNL_MSG_BATCH_BEGIN and _END. Pure.

What several pods' rules have in common is encoded once, as a pod's rules mostly are those of the pods before it.
Sources: netlink(7), Linux' nfnetlink.h, nf_tables.h.
"""

from functools import lru_cache

from sidelab.lab.netlink import header
from sidelab.lab.netlink.attributes import pack
from sidelab.lab.netlink.header import ACK, APPEND, CREATE
from sidelab.lab.netlink.nftables import messages
from sidelab.lab.netlink.nftables.forms import SetReference
from sidelab.lab.netlink.nftables.messages import GENERIC
from sidelab.lab.netlink.nftables.objects import (
    Chain,
    Expression,
    Lookup,
    Operation,
    Rule,
    RuleHandle,
    Table,
    Transaction,
)

_EDGE = GENERIC.pack(0, 0, messages.SUBSYSTEM)
_BEGIN, _END = (header.message(kind, 0, 0, _EDGE) for kind in (messages.BATCH_BEGIN, messages.BATCH_END))

_Message = tuple[int, int, bytes]  # type, flags, body after the netlink header


def encode(transaction: Transaction) -> bytes:
    """Return the batch of all operations; those of operation n (from 1) carry its number as their sequence.

    Only the last message asks for an acknowledgement: errors come without being asked for. Raises `ValueError` for an
    empty transaction or an expression that can only be read.
    """
    if not transaction:
        raise ValueError("a transaction without operations")
    parts = [_BEGIN]
    sets = 0
    for number, operation in enumerate(transaction, 1):
        group = _encoded(operation)
        if not group and isinstance(operation.thing, Rule):
            group = _rule_with_sets(operation.thing, sets)
            sets += len(group) // 2
        for kind, flags, body in group:
            parts.append(messages.message(kind, flags, number, body))
    parts[-1] = messages.message(kind, flags | ACK, number, body)
    parts.append(_END)
    return b"".join(parts)


@lru_cache(maxsize=4096)
def _encoded(operation: Operation) -> tuple[_Message, ...]:
    """Return the messages of one operation; none for a rule with lookups, as it depends on those before it."""
    thing = operation.thing
    if operation.verb != "add":
        return (_taken_away(operation),)
    if isinstance(thing, RuleHandle):
        raise ValueError(f"{operation}: only the kernel numbers rules")  # noqa: TRY004 - its type is fine elsewhere
    if isinstance(thing, Rule):
        if any(isinstance(expression, Lookup) for expression in thing.expressions):
            return ()
        return ((messages.NEW_RULE, CREATE | APPEND, _rule(thing, thing.expressions)),)
    if isinstance(thing, Chain):
        description = messages.CHAIN if thing.hook is None else messages.BASE_CHAIN
        return ((messages.NEW_CHAIN, CREATE, _generic(thing.table) + pack(description, thing)),)
    return ((messages.NEW_TABLE, CREATE, _generic(thing) + pack(messages.TABLE, thing)),)


def _taken_away(operation: Operation) -> _Message:
    """Return the message that flushes or deletes: deleting the rules of a table, or of a chain, is flushing it."""
    match operation:
        case Operation("flush", Table() as table):
            return messages.DELETE_RULE, 0, _generic(table) + pack(messages.TABLE, table)
        case Operation("flush", Chain() as chain):
            return messages.DELETE_RULE, 0, _place(chain.table, chain.name)
        case Operation("delete", Table() as table):
            return messages.DELETE_TABLE, 0, _generic(table) + pack(messages.TABLE, table)
        case Operation("delete", Chain() as chain):
            return messages.DELETE_CHAIN, 0, _generic(chain.table) + pack(messages.CHAIN, chain)
        case Operation("delete", RuleHandle() as rule):
            return messages.DELETE_RULE, 0, _place(rule.table, rule.chain) + pack(messages.HANDLE_OF_RULE, rule)
    raise ValueError(f"{operation}: rules are only deleted, and by their handles")


def _rule_with_sets(rule: Rule, sets: int) -> tuple[_Message, ...]:
    """Return the messages that make each set and fill it, numbered from `sets` + 1, and then that of the rule."""
    generic = _generic(rule.table)
    result: list[_Message] = []
    said: list[Expression | SetReference] = []
    for expression in rule.expressions:
        if isinstance(expression, Lookup):
            sets += 1
            made = messages.RuleSet(rule.table.name, expression.elements, expression.kind, sets)
            result.append((messages.NEW_SET, CREATE, generic + pack(messages.SET, made)))
            result.append((messages.NEW_ELEMENTS, CREATE, generic + pack(messages.SET_ELEMENTS, made)))
            said.append(SetReference(made.name, sets, expression.negated))
        else:
            said.append(expression)
    return (*result, (messages.NEW_RULE, CREATE | APPEND, _rule(rule, tuple(said))))


def _rule(rule: Rule, said: tuple[Expression | SetReference, ...]) -> bytes:
    return _place(rule.table, rule.chain) + pack(messages.CONTENT_OF_RULE, messages.RuleContent(said))


@lru_cache(maxsize=1024)
def _place(table: Table, chain: str) -> bytes:
    return _generic(table) + pack(messages.PLACE_OF_RULE, messages.RulePlace(table, chain))


def _generic(table: Table) -> bytes:
    return GENERIC.pack(table.family, 0, 0)
