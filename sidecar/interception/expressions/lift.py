"""The reverse of `lower`: turns expressions that the kernel holds into a rule of the model. Pure.

It relies only on what it reads; a rule that the model cannot express is reported as not liftable.
"""

import struct
from collections.abc import Iterable
from ipaddress import ip_network

from sidelab.lab.netlink.nftables import objects as kernel
from sidelab.lab.netlink.nftables.objects import (
    Bitwise,
    Compare,
    Counter,
    Ct,
    Expression,
    Immediate,
    Lookup,
    Meta,
    Payload,
    Redirect,
    Tproxy,
    Verdict,
)
from sidelab.sidecar.interception.expressions import lower
from sidelab.sidecar.interception.model.counted import Row
from sidelab.sidecar.interception.model.model import Family, Key, Match, Rule, RuleAction, Target
from sidelab.sidecar.interception.text import nft

_PROTOCOLS = {number: name for name, number in lower.PROTOCOLS.items()}
_VERSIONS: dict[int, Family] = {kernel.IPV4: 4, kernel.IPV6: 6}
_NUMBERS = {key: ours for ours, key in lower.META_NUMBERS.items()}
_INTERFACES = {key: ours for ours, key in lower.INTERFACES.items()}
_PORTS = {offset: key for key, offset in lower.PORTS.items()}
_VERDICTS = {code: verb for verb, code in lower.VERDICTS.items()}
# States in the order in which Istio names them.
_STATES = ("INVALID", "RELATED", "ESTABLISHED", "NEW")


class _ForeignError(Exception):
    """The model cannot express this rule."""


def lift(table: str, chain: str, expressions: tuple[Expression, ...]) -> Row:
    """Return the row for a rule in `chain` of `table` (iptables' names)."""
    counter = next((e for e in expressions if isinstance(e, Counter)), Counter())
    try:
        rule = _rule(table, chain, [_simple(e) for e in expressions if not isinstance(e, Counter)])
    except _ForeignError:
        words = " ".join(map(_word, expressions))
        return Row(None, counter.packets, counter.bytes, words)
    return Row(rule.canonical(), counter.packets, counter.bytes)


def _word(expression: Expression) -> str:
    word = type(expression).__name__.lower()
    return (
        f"{word} {nft.model_chain(expression.chain)}" if isinstance(expression, Verdict) and expression.chain else word
    )


def _simple(expression: Expression) -> Expression:
    """Return `expression` in the form that `_rule` expects: it uses our rules' register and flips no bits."""
    if getattr(expression, "register", 1) != 1 or getattr(expression, "flips", b""):
        raise _ForeignError
    return expression


def _rule(table: str, chain: str, expressions: list[Expression]) -> Rule:
    matches: list[Match] = []
    family: Family | None = None
    rest = expressions
    while rest:
        # `tail`, not `rest`: a pattern binds its names even if its guard then fails.
        match rest:
            case [Meta(kernel.MetaKey.NFPROTO, False), Compare(data, False), *tail] if data[0] in _VERSIONS:
                family = _VERSIONS[data[0]]
            case [Meta(key, False), Compare(data, negated), *tail]:
                matches.append(_meta(key, data, negated))
            case [Ct(kernel.CtKey.MARK, False), Compare(data, negated), *tail]:
                matches.append(Match(Key.CONNMARK, (_number(data),), negated))
            case [Ct(kernel.CtKey.STATE, False), Bitwise(mask), Compare(zero, negated), *tail] if not any(zero):
                matches.append(Match(Key.CT_STATE, tuple(_states(_number(mask))), not negated))
            case [Payload(kernel.Base.TRANSPORT, offset, 2), Compare(data, negated), *tail] if offset in _PORTS:
                matches.append(Match(_PORTS[offset], _ports([data]), negated))
            case [Payload(kernel.Base.TRANSPORT, offset, 2), Lookup(data, negated), *tail] if offset in _PORTS:
                matches.append(Match(_PORTS[offset], _ports(data), negated))
            case [Payload(kernel.Base.NETWORK) as load, Bitwise(mask), Compare(data, negated), *tail]:
                matches.append(_address(load, _prefix(mask), data, family, negated))
            case [Payload(kernel.Base.NETWORK) as load, Compare(data, negated), *tail]:
                matches.append(_address(load, 8 * len(data), data, family, negated))
            case _:
                return Rule(table, chain, tuple(matches), _target(rest), family=family)
        rest = tail
    raise _ForeignError


def _target(rest: list[Expression]) -> Target:  # noqa: PLR0911 - a row for each target
    match rest:
        case [Verdict(kernel.Code.JUMP, chain)]:
            return Target(RuleAction.JUMP, chain=nft.model_chain(chain))
        case [Verdict(code)] if code in _VERDICTS:
            return Target(_VERDICTS[code])
        case [Immediate(port), Redirect()]:
            return Target(RuleAction.REDIRECT, port=int.from_bytes(port[:2], "big"))
        case [
            Immediate(port),
            Tproxy(),
            Immediate(mark),
            Meta(kernel.MetaKey.MARK, True),
            Verdict(kernel.Code.ACCEPT),
        ]:
            return Target(RuleAction.TPROXY, port=int.from_bytes(port[:2], "big"), number=_number(mark))
        case [Immediate(mark), Meta(kernel.MetaKey.MARK, True)]:
            return Target(RuleAction.MARK, number=_number(mark))
        case [Meta(kernel.MetaKey.MARK, False), Ct(kernel.CtKey.MARK, True)]:
            return Target(RuleAction.SAVE_MARK)
        case [Ct(kernel.CtKey.MARK, False), Meta(kernel.MetaKey.MARK, True)]:
            return Target(RuleAction.RESTORE_MARK)
        case [Immediate(zone), Ct(kernel.CtKey.ZONE, True)]:
            return Target(RuleAction.ZONE, number=struct.unpack_from("=H", zone)[0])
        case _:
            raise _ForeignError


def _meta(key: kernel.MetaKey, data: bytes, negated: bool) -> Match:
    if key in _INTERFACES:
        return Match(_INTERFACES[key], (data.rstrip(b"\0").decode(errors="replace"),), negated)
    if key in _NUMBERS:
        return Match(_NUMBERS[key], (_number(data),), negated)
    if key == kernel.MetaKey.L4PROTO and data[0] in _PROTOCOLS:
        return Match(Key.PROTOCOL, (_PROTOCOLS[data[0]],), negated)
    raise _ForeignError


def _address(load: Payload, bits: int, data: bytes, family: Family | None, negated: bool) -> Match:
    offsets = lower.ADDRESSES.get(family or 0, {})
    key = next((key for key, offset in offsets.items() if offset == load.offset), None)
    if key is None:
        raise _ForeignError
    try:
        network = ip_network((data.ljust(4 if family == 4 else 16, b"\0"), bits))
    except ValueError:  # bits beyond the mask: nothing can match it, and no range can express that
        raise _ForeignError from None
    return Match(key, (str(network),), negated)


def _prefix(mask: bytes) -> int:
    bits = int.from_bytes(mask, "big").bit_count()
    if int.from_bytes(mask, "big") != (1 << 8 * len(mask)) - (1 << 8 * len(mask) - bits):
        raise _ForeignError
    return bits


def _ports(values: Iterable[bytes]) -> tuple[int, ...]:
    return tuple(int.from_bytes(value, "big") for value in values)


def _states(bits: int) -> list[str]:
    if bits & ~sum(lower.CT_STATES.values()):
        raise _ForeignError
    return [state for state in _STATES if bits & lower.CT_STATES[state]]


def _number(data: bytes) -> int:
    if len(data) < 4:
        raise _ForeignError
    (value,) = struct.unpack_from("=I", data)
    return int(value)
