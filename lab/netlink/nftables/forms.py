"""The table of the kernel's expressions: which attributes say which of our objects. Only data.

Source: Linux' include/uapi/linux/netfilter/nf_tables.h. The comment behind a row is its attribute's name there, without
the prefix that stands above.
"""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from sidelab.lab.netlink.attributes import BYTES, INSIDE, TEXT, U32, U64, Attribute, Description, number
from sidelab.lab.netlink.nftables import objects

_REGISTER = 1  # NFT_REG_1, 16 bytes wide
_VERDICT_REGISTER = 0  # NFT_REG_VERDICT
_PORTS_GIVEN = 2  # NF_NAT_RANGE_PROTO_SPECIFIED
_MASK_AND_XOR = 0  # NFT_BITWISE_MASK_XOR


class SetReference(NamedTuple):
    """A lookup as its rule says it: the elements are in the set called `set`, or in set `number` of the same batch."""

    set: str
    number: int = 0
    negated: bool = False
    name: str = "lookup"


class Form(NamedTuple):
    """A way of saying an expression: its type, its attributes, and the fields that are so if it is said this way."""

    type: Any
    attributes: Description
    so: Mapping[str, object] = MappingProxyType({})


class _Inverted(IntEnum):
    """NFT_CMP_EQ and NFT_CMP_NEQ; NFT_LOOKUP_F_INV."""

    NO = 0
    YES = 1


class _Version(IntEnum):
    IPV4 = objects.IPV4
    IPV6 = objects.IPV6


_INVERTED = number("!I", lambda value: bool(_Inverted(value)))
_VERSION = number("!I", lambda value: int(_Version(value)))
_META_KEY = Attribute(2, number("!I", objects.MetaKey), "key")
_CT_KEY = Attribute(2, number("!I", objects.CtKey), "key")
# NFTA_VERDICT_
_DECISION = (
    Attribute(1, number("!i", objects.Code), "code"),  # CODE
    Attribute(2, TEXT, "chain", optional=True),  # CHAIN
)
_DATA_VERDICT = (Attribute(2, INSIDE, _DECISION),)  # NFTA_DATA_VERDICT


def _data_value(field: str) -> Description:
    return (Attribute(1, BYTES, field),)  # NFTA_DATA_VALUE


FORMS = (
    # NFTA_META_KEY, and NFTA_META_DREG or _SREG
    Form(objects.Meta, (_META_KEY, Attribute(1, U32, _REGISTER)), {"store": False}),
    Form(objects.Meta, (_META_KEY, Attribute(3, U32, _REGISTER)), {"store": True}),
    # NFTA_CT_KEY, and NFTA_CT_DREG or _SREG
    Form(objects.Ct, (_CT_KEY, Attribute(1, U32, _REGISTER)), {"store": False}),
    Form(objects.Ct, (_CT_KEY, Attribute(4, U32, _REGISTER)), {"store": True}),
    Form(
        objects.Payload,  # NFTA_PAYLOAD_
        (
            Attribute(1, U32, _REGISTER),  # DREG
            Attribute(2, number("!I", objects.Base), "base"),  # BASE
            Attribute(3, U32, "offset"),  # OFFSET
            Attribute(4, U32, "length"),  # LEN
        ),
    ),
    Form(
        objects.Bitwise,  # NFTA_BITWISE_
        (
            Attribute(1, U32, _REGISTER),  # SREG
            Attribute(2, U32, _REGISTER),  # DREG
            Attribute(3, U32, "length"),  # LEN
            Attribute(4, INSIDE, _data_value("mask")),  # MASK
            Attribute(5, INSIDE, _data_value("xor")),  # XOR
            Attribute(6, U32, _MASK_AND_XOR, optional=True),  # OP, since Linux 5.6
        ),
    ),
    Form(
        objects.Compare,  # NFTA_CMP_
        (
            Attribute(1, U32, _REGISTER),  # SREG
            Attribute(2, _INVERTED, "negated"),  # OP
            Attribute(3, INSIDE, _data_value("data")),  # DATA
        ),
    ),
    Form(
        SetReference,  # NFTA_LOOKUP_
        (
            Attribute(1, TEXT, "set"),  # SET
            Attribute(2, U32, _REGISTER),  # SREG
            Attribute(4, U32, "number", optional=True),  # SET_ID
            Attribute(5, _INVERTED, "negated", optional=True),  # FLAGS
        ),
    ),
    Form(
        objects.Immediate,  # NFTA_IMMEDIATE_
        (
            Attribute(1, U32, _REGISTER),  # DREG
            Attribute(2, INSIDE, _data_value("data")),  # DATA
        ),
    ),
    Form(
        objects.Verdict,  # NFTA_IMMEDIATE_
        (
            Attribute(1, U32, _VERDICT_REGISTER),  # DREG
            Attribute(2, INSIDE, _DATA_VERDICT),  # DATA
        ),
    ),
    Form(
        objects.Counter,  # NFTA_COUNTER_
        (
            Attribute(1, U64, "bytes"),  # BYTES
            Attribute(2, U64, "packets"),  # PACKETS
        ),
    ),
    Form(
        objects.Redirect,  # NFTA_REDIR_
        (
            Attribute(1, U32, _REGISTER),  # REG_PROTO_MIN
            Attribute(2, U32, _REGISTER),  # REG_PROTO_MAX
            Attribute(3, U32, _PORTS_GIVEN),  # FLAGS
        ),
    ),
    Form(
        objects.Tproxy,  # NFTA_TPROXY_
        (
            Attribute(1, _VERSION, "family"),  # FAMILY
            Attribute(3, U32, _REGISTER),  # REG_PORT
        ),
    ),
)
