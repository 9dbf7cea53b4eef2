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
from sidelab.lab.netlink.nftables.forms import DATA_VERDICT
from sidelab.lab.netlink.nftables.objects import Code, Expression, NftHook, NftTable

GENERIC = struct.Struct("!BBH")  # nfgenmsg: family, version, resource
SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
BATCH_BEGIN, BATCH_END = 0x10, 0x11
# NFT_MSG_*
NEW_TABLE, GET_TABLE, DELETE_TABLE = 0, 1, 2
NEW_CHAIN, GET_CHAIN, DELETE_CHAIN = 3, 4, 5
NEW_RULE, GET_RULE, DELETE_RULE = 6, 7, 8
NEW_SET = 9
NEW_ELEMENTS, GET_ELEMENTS = 12, 13
ANONYMOUS, CONSTANT, MAP = 1, 2, 8  # NFT_SET_*
VERDICTS = 0xFFFFFF00  # NFT_DATA_VERDICT


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
    Attribute(1, number("!I", NftHook), "hook"),  # NFTA_HOOK_HOOKNUM
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

    table: NftTable
    chain: str


class RuleContent(NamedTuple):
    """What a rule's message says: of a lookup only the reference to its set."""

    expressions: tuple[Expression, ...]


class SetHead(NamedTuple):
    """A set, or a map to `data`, which its batch calls `number`; `size` is a limit, and 0 none.

    `order` is for the nft tool alone, which shows keys in it.
    """

    table: str
    name: str
    flags: int
    kind: int
    length: int
    number: int = 1  # the kernel wants one; named sets are found by their names
    data: int = 0
    size: int = 0
    order: bytes = b""


# NFTA_SET_
SET = (
    Attribute(1, TEXT, "table"),  # TABLE
    Attribute(2, TEXT, "name"),  # NAME
    Attribute(3, U32, "flags"),  # FLAGS
    Attribute(4, U32, "kind"),  # KEY_TYPE
    Attribute(5, U32, "length"),  # KEY_LEN
    Attribute(6, U32, "data", optional=True),  # DATA_TYPE
    Attribute(10, U32, "number"),  # ID
    Attribute(9, INSIDE, (Attribute(1, U32, "size", optional=True),), optional=True),  # DESC, in it NFTA_SET_DESC_SIZE
    Attribute(13, BYTES, "order", optional=True),  # USERDATA
)


class SetPart(NamedTuple):
    """Elements of a set, packed, which is an anonymous one of the same batch if it has a `number`."""

    table: str
    name: str
    elements: tuple[bytes, ...] = ()
    number: int = 0


class _Element(NamedTuple):
    key: bytes
    chain: str = ""
    code: Code = Code.GOTO


_KEY = (Attribute(1, BYTES, "key"),)  # NFTA_DATA_VALUE
# NFTA_SET_ELEM_
_ELEMENT = (Attribute(1, INSIDE, _KEY),)  # KEY
_MAP_ELEMENT = (*_ELEMENT, Attribute(2, INSIDE, DATA_VERDICT))  # KEY, DATA


def packed_element(element: bytes | tuple[bytes, str]) -> bytes:
    """Return a key, or a key of a map and the chain to go to, as one element of a list."""
    if isinstance(element, bytes):
        content = pack(_ELEMENT, _Element(element))
    else:
        content = pack(_MAP_ELEMENT, _Element(*element))
    return attribute(LIST_ELEMENT | NESTED, content)


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
    Attribute(3, many(bytes, _read_element), "elements", optional=True),  # ELEMENTS
)
