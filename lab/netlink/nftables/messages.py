"""Netlink messages of the nftables subsystem, and the attributes of all objects but expressions. Pure.

Sources: netlink(7), Linux' nfnetlink.h, nf_tables.h.
"""

import struct
from typing import Any, NamedTuple

from sidelab.lab.netlink.attributes import (
    BYTES,
    I32,
    INSIDE,
    LIST_ELEMENT,
    NESTED,
    TEXT,
    U32,
    U64,
    Attribute,
    attribute,
    many,
    number,
    pack,
    read,
)
from sidelab.lab.netlink.header import HEADER, REQUEST
from sidelab.lab.netlink.nftables import expressions
from sidelab.lab.netlink.nftables.forms import SetReference
from sidelab.lab.netlink.nftables.objects import Code, Expression, Hook, Table

GENERIC = struct.Struct("!BBH")  # nfgenmsg: family, version, resource
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 0x10, 0x11
# NFT_MSG_*
NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET = 9
NEW_ELEMENTS, GET_ELEMENTS = 12, 13
_ANONYMOUS, _CONSTANT = 1, 2  # NFT_SET_*


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one message of the subsystem; `body` is what follows the netlink header."""
    return HEADER.pack(len(body) + 16, SUBSYSTEM << 8 | kind, REQUEST | flags, sequence, 0) + body


TABLE_NAME = 1  # NFTA_TABLE_NAME, and NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE = 3, 4, 7  # NFTA_CHAIN_*
RULE_CHAIN, RULE_EXPRESSIONS = 2, 4  # NFTA_RULE_*

TABLE = (Attribute(TABLE_NAME, TEXT, "name"),)
CHAIN = (
    Attribute(TABLE_NAME, TEXT, "table.name"),
    Attribute(CHAIN_NAME, TEXT, "name"),
)
_HOOK = (
    Attribute(1, number("!I", Hook), "hook"),  # NFTA_HOOK_HOOKNUM
    Attribute(2, I32, "priority"),  # NFTA_HOOK_PRIORITY
)
BASE_CHAIN = (
    *CHAIN,
    Attribute(CHAIN_HOOK, INSIDE, _HOOK),
    Attribute(CHAIN_TYPE, TEXT, "kind"),
)
POLICY = (Attribute(5, number("!I", Code), "policy"),)  # NFTA_CHAIN_POLICY

PLACE_OF_RULE = (
    Attribute(TABLE_NAME, TEXT, "table.name"),
    Attribute(RULE_CHAIN, TEXT, "chain"),
)
HANDLE_OF_RULE = (Attribute(3, U64, "handle"),)  # NFTA_RULE_HANDLE
CONTENT_OF_RULE = (Attribute(RULE_EXPRESSIONS, many(expressions.encode, expressions.decode), "expressions"),)


class RulePlace(NamedTuple):
    """Where a rule is."""

    table: Table
    chain: str


class RuleContent(NamedTuple):
    """What a rule's message says: of a lookup only the reference to its set."""

    expressions: tuple[Expression | SetReference, ...]


class RuleSet(NamedTuple):
    """The anonymous set of a rule in `table`, which its batch calls `number`; else as in `objects.Lookup`."""

    table: str
    elements: tuple[bytes, ...]
    kind: int
    number: int
    name: str = "__set%d"  # the kernel puts the first free number in

    @property
    def length(self) -> int:
        """The bytes of an element."""
        return len(self.elements[0])

    @property
    def size(self) -> int:
        """How many elements there are."""
        return len(self.elements)


# NFTA_SET_
SET = (
    Attribute(1, TEXT, "table"),  # TABLE
    Attribute(2, TEXT, "name"),  # NAME
    Attribute(3, U32, _ANONYMOUS | _CONSTANT),  # FLAGS
    Attribute(4, U32, "kind"),  # KEY_TYPE
    Attribute(5, U32, "length"),  # KEY_LEN
    Attribute(10, U32, "number"),  # ID
    Attribute(9, INSIDE, (Attribute(1, U32, "size"),)),  # DESC, in it NFTA_SET_DESC_SIZE
)


class _Element(NamedTuple):
    key: bytes


_KEY = (Attribute(1, BYTES, "key"),)  # NFTA_DATA_VALUE
_ELEMENT = (Attribute(1, INSIDE, _KEY),)  # NFTA_SET_ELEM_KEY


def _pack_element(element: bytes) -> bytes:
    return attribute(LIST_ELEMENT | NESTED, pack(_ELEMENT, _Element(element)))


def _read_element(content: bytes) -> Any:
    return read(_ELEMENT, content, strict=True)["key"]


# NFTA_SET_ELEM_LIST_
SET_CALLED = (
    Attribute(1, TEXT, "table"),  # TABLE
    Attribute(2, TEXT, "name"),  # SET
)
SET_ELEMENTS = (
    *SET_CALLED,
    Attribute(4, U32, "number", optional=True),  # SET_ID
    Attribute(3, many(_pack_element, _read_element), "elements", optional=True),  # ELEMENTS
)
