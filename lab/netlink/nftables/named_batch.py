"""Batches with named maps, and the expressions of address translation: only ever written, as bytes. Pure.

Beside `objects` and `transaction`, which also read back what they send, because these work on several registers and
refer to maps by name. A part of a batch may be kept and used again in the next. Source: Linux' nf_tables.h; an
expression's or attribute's name there stands behind its number.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache

from sidelab.lab.netlink import header
from sidelab.lab.netlink.attributes import LIST_ELEMENT, NESTED, TEXT, attribute, pack
from sidelab.lab.netlink.header import ACK, APPEND, CREATE
from sidelab.lab.netlink.nftables import messages
from sidelab.lab.netlink.nftables.messages import BATCH_BEGIN, BATCH_END, GENERIC
from sidelab.lab.netlink.nftables.objects import Base, Chain, Code, MetaKey, Table

# Registers: 1 to 4 are 16 bytes wide, 8 to 23 their quarters (NFT_REG_*, NFT_REG32_*).
QUARTERS = 8

# What the nft tool calls the types of keys and data (its datatype.h); of several together, six bits each.
IPV4_ADDRESS, IPV6_ADDRESS, PROTOCOL, SERVICE = 7, 8, 12, 13
INTEGER = 4
_VERDICT = 0xFFFFFF00  # NFT_DATA_VERDICT

_ANONYMOUS, _CONSTANT, _MAP = 1, 2, 8  # NFT_SET_*
_RANDOM = 1  # NFT_NG_RANDOM
_DNAT = 1  # NFT_NAT_DNAT
_FULLY_RANDOM = 16  # NF_NAT_RANGE_PROTO_RANDOM_FULLY
_UNREACHABLE, _RESET = 0, 1  # NFT_REJECT_ICMP_UNREACH, NFT_REJECT_TCP_RST
_LIST_BYTES = 60_000  # an attribute's length has 16 bits

_IN_OUR_ORDER = struct.pack("=BBI", 0, 4, 1)  # for the nft tool alone: the keys are in the machine's byte order

_U32 = struct.Struct("!I")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, _U32.pack(value))


def _expression(name: str, content: bytes) -> bytes:
    return attribute(LIST_ELEMENT | NESTED, attribute(1, TEXT.pack(name)) + attribute(2 | NESTED, content))


@lru_cache(maxsize=256)
def meta(key: MetaKey, register: int) -> bytes:
    """Load what is known of the packet."""
    return _expression("meta", _number(2, key) + _number(1, register))


@lru_cache(maxsize=256)
def set_mark(register: int) -> bytes:
    """Set the packet's mark."""
    return _expression("meta", _number(2, MetaKey.MARK) + _number(3, register))


@lru_cache(maxsize=256)
def payload(base: Base, offset: int, length: int, register: int) -> bytes:
    """Load bytes of the packet."""
    return _expression("payload", _number(1, register) + _number(2, base) + _number(3, offset) + _number(4, length))


@lru_cache(maxsize=256)
def bits(mask: int, flipped: int, register: int) -> bytes:
    """Mask 32 bits in the machine's order, then flip those in `flipped`."""
    mask_data, flipped_data = (attribute(1, struct.pack("=I", value)) for value in (mask, flipped))
    return _expression(
        "bitwise",
        _number(1, register)
        + _number(2, register)
        + _number(3, 4)
        + attribute(4 | NESTED, mask_data)
        + attribute(5 | NESTED, flipped_data),
    )


@lru_cache(maxsize=4096)
def equals(data: bytes, register: int) -> bytes:
    """Go on only if the register holds `data`."""
    return _expression("cmp", _number(1, register) + _number(2, 0) + attribute(3 | NESTED, attribute(1, data)))


@lru_cache(maxsize=256)
def in_set(name: str, register: int) -> bytes:
    """Go on only if the register's content is in the set."""
    return _expression("lookup", attribute(1, TEXT.pack(name)) + _number(2, register))


@lru_cache(maxsize=256)
def decide_by(name: str, register: int, number: int = 0) -> bytes:
    """Decide as the map says for the register's content, or go on; `number` is that of an anonymous map."""
    told = _number(4, number) if number else b""
    return _expression("lookup", attribute(1, TEXT.pack(name)) + _number(2, register) + _number(3, 0) + told)


def immediate(data: bytes, register: int) -> bytes:
    """Load a constant."""
    return _expression("immediate", _number(1, register) + attribute(2 | NESTED, attribute(1, data)))


def verdict(code: Code, chain: str = "") -> bytes:
    """Decide."""
    return _expression("immediate", _number(1, 0) + attribute(2 | NESTED, _decision(code, chain)))


def _decision(code: Code, chain: str) -> bytes:
    content = attribute(1, struct.pack("!i", code)) + (attribute(2, TEXT.pack(chain)) if chain else b"")
    return attribute(2 | NESTED, content)  # NFTA_DATA_VERDICT


@lru_cache(maxsize=256)
def random_below(count: int, register: int) -> bytes:
    """Load a random number from 0 to `count` - 1."""
    return _expression("numgen", _number(1, register) + _number(2, count) + _number(3, _RANDOM))


@lru_cache(maxsize=16)
def translate_destination(family: int, address: int, port: int) -> bytes:
    """Send the connection to the address and port in these registers."""
    return _expression("nat", _number(1, _DNAT) + _number(2, family) + _number(3, address) + _number(5, port))


@lru_cache(maxsize=16)
def masquerade() -> bytes:
    """Send the connection from an address of this machine, and a port that cannot be foreseen."""
    return _expression("masq", _number(1, _FULLY_RANDOM))


@lru_cache(maxsize=16)
def reset() -> bytes:
    """Answer with a TCP reset."""
    return _expression("reject", _number(1, _RESET) + attribute(2, b"\0"))


@lru_cache(maxsize=16)
def unreachable(code: int) -> bytes:
    """Answer with ICMP destination unreachable and `code`, which is the family's own."""
    return _expression("reject", _number(1, _UNREACHABLE) + attribute(2, bytes((code,))))


class Part:
    """Messages about one table, each with the number `sequence`, by which the kernel's refusal names the part."""

    def __init__(self, table: Table, sequence: int) -> None:
        self._table = table
        self._named = attribute(messages.TABLE_NAME, TEXT.pack(table.name))
        self._generic = GENERIC.pack(table.family, 0, 0)
        self._sequence = sequence
        self._parts: list[bytes] = []

    def packed(self) -> bytes:
        """Return the messages so far."""
        return b"".join(self._parts)

    def _add(self, kind: int, flags: int, body: bytes) -> None:
        self._parts.append(messages.message(kind, flags, self._sequence, self._generic + body))

    def table(self) -> None:
        """Add the table, if there is none."""
        self._add(messages.NEW_TABLE, CREATE, self._named)

    def delete_table(self) -> None:
        """Delete the table with all that it holds."""
        self._add(messages.DELETE_TABLE, 0, self._named)

    def base_chain(self, chain: Chain) -> None:
        """Add a chain that meets packets."""
        self._add(messages.NEW_CHAIN, CREATE, pack(messages.BASE_CHAIN, chain))

    def chain(self, name: str) -> None:
        """Add a chain."""
        self._add(messages.NEW_CHAIN, CREATE, self._named + attribute(messages.CHAIN_NAME, TEXT.pack(name)))

    def rule(self, chain: str, *expressions: bytes) -> None:
        """Append a rule."""
        listed = attribute(messages.RULE_EXPRESSIONS | NESTED, b"".join(expressions))
        place = attribute(messages.RULE_CHAIN, TEXT.pack(chain))
        self._add(messages.NEW_RULE, CREATE | APPEND, self._named + place + listed)

    def addresses(self, name: str, kind: int, keys: Iterable[bytes]) -> None:
        """Add a set of keys of 4 or 16 bytes; `kind` is the nft tool's number for their type."""
        keys = list(keys)
        self._add(messages.NEW_SET, CREATE, self._set(name, 0, kind, len(keys[0])))
        self._elements(name, 0, [attribute(LIST_ELEMENT | NESTED, _key(key)) for key in keys])

    def verdict_map(self, name: str, kind: int, length: int) -> None:
        """Add an empty map from keys of `length` bytes to verdicts."""
        self._add(messages.NEW_SET, CREATE, self._set(name, _MAP, kind, length))

    def gotos(self, name: str, chains: Iterable[tuple[bytes, str]]) -> None:
        """Add elements to a verdict map: for each key the chain that decides."""
        self._elements(name, 0, [_goto(key, chain) for key, chain in chains])

    def choice(self, number: int, chains: Iterable[str]) -> str:
        """Add an anonymous map from 0, 1, 2 … to chains, called `number` in its batch; return its name for a lookup."""
        name = "__map%d"
        self._add(messages.NEW_SET, CREATE, self._set(name, _MAP | _ANONYMOUS | _CONSTANT, INTEGER, 4, number))
        elements = [_goto(struct.pack("=I", index), chain) for index, chain in enumerate(chains)]
        self._elements(name, number, elements)
        return name

    def _set(self, name: str, flags: int, kind: int, length: int, number: int = 0) -> bytes:
        parts = [self._named, attribute(2, TEXT.pack(name)), _number(3, flags), _number(4, kind), _number(5, length)]
        if flags & _MAP:
            parts += [_number(6, _VERDICT), _number(7, 0)]
        parts.append(_number(10, number or 1))  # the kernel wants one; named maps are found by their names
        if kind == INTEGER:
            parts.append(attribute(13, _IN_OUR_ORDER))  # USERDATA
        return b"".join(parts)

    def _elements(self, name: str, number: int, elements: list[bytes]) -> None:
        head = self._named + attribute(2, TEXT.pack(name)) + (_number(4, number) if number else b"")
        at_once = max(1, _LIST_BYTES // max(map(len, elements), default=1))
        for start in range(0, len(elements), at_once):
            listed = b"".join(elements[start : start + at_once])
            self._add(messages.NEW_ELEMENTS, CREATE, head + attribute(3 | NESTED, listed))


def _key(key: bytes) -> bytes:
    return attribute(1 | NESTED, attribute(1, key))  # NFTA_SET_ELEM_KEY


def _goto(key: bytes, chain: str) -> bytes:
    return attribute(LIST_ELEMENT | NESTED, _key(key) + attribute(2 | NESTED, _decision(Code.GOTO, chain)))


def batch(table: Table, parts: Iterable[bytes]) -> bytes:
    """Return one transaction of `parts`; the kernel says yes or no to all of it. `table` must be there afterwards."""
    edge = GENERIC.pack(0, 0, messages.SUBSYSTEM)
    named = attribute(messages.TABLE_NAME, TEXT.pack(table.name))
    last = messages.message(messages.NEW_TABLE, CREATE | ACK, 1, GENERIC.pack(table.family, 0, 0) + named)
    begin, end = (header.message(kind, 0, 0, edge) for kind in (BATCH_BEGIN, BATCH_END))
    return b"".join((begin, *parts, last, end))
