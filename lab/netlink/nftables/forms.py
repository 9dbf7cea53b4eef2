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

_VERDICT_REGISTER = 0  # NFT_REG_VERDICT
_PORTS_GIVEN = 2  # NF_NAT_RANGE_PROTO_SPECIFIED
_MASK_AND_XOR = 0  # NFT_BITWISE_MASK_XOR
_DNAT, _ADDRESS_AND_PORT = 1, 3  # NFT_NAT_DNAT, NF_NAT_RANGE_MAP_IPS and _PROTO_SPECIFIED
_FULLY_RANDOM = 16  # NF_NAT_RANGE_PROTO_RANDOM_FULLY
_RANDOM = 1  # NFT_NG_RANDOM
_UNREACHABLE, _RESET = 0, 1  # NFT_REJECT_ICMP_UNREACH, NFT_REJECT_TCP_RST


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
DATA_VERDICT = (Attribute(2, INSIDE, _DECISION),)  # NFTADATA_VERDICT


def _data_value(field: str) -> Description:
    return (Attribute(1, BYTES, field),)  # NFTA_DATA_VALUE


FORMS = (
    # NFTA_META_KEY, and NFTA_META_DREG or _SREG
    Form(objects.Meta, (_META_KEY, Attribute(1, U32, "register")), {"store": False}),
    Form(objects.Meta, (_META_KEY, Attribute(3, U32, "register")), {"store": True}),
    # NFTA_CT_KEY, and NFTA_CT_DREG or _SREG
    Form(objects.Ct, (_CT_KEY, Attribute(1, U32, "register")), {"store": False}),
    Form(objects.Ct, (_CT_KEY, Attribute(4, U32, "register")), {"store": True}),
    Form(
        objects.Payload,  # NFTA_PAYLOAD_
        (
            Attribute(1, U32, "register"),  # DREG
            Attribute(2, number("!I", objects.Base), "base"),  # BASE
            Attribute(3, U32, "offset"),  # OFFSET
            Attribute(4, U32, "length"),  # LEN
        ),
    ),
    Form(
        objects.Bitwise,  # NFTA_BITWISE_
        (
            Attribute(1, U32, "register"),  # SREG
            Attribute(2, U32, "register"),  # DREG
            Attribute(3, U32, "length"),  # LEN
            Attribute(4, INSIDE, _data_value("mask")),  # MASK
            Attribute(5, INSIDE, _data_value("nothing")),  # XOR
            Attribute(6, U32, _MASK_AND_XOR, optional=True),  # OP, since Linux 5.6
        ),
        {"flips": b""},
    ),
    Form(
        objects.Bitwise,  # NFTA_BITWISE_
        (
            Attribute(1, U32, "register"),  # SREG
            Attribute(2, U32, "register"),  # DREG
            Attribute(3, U32, "length"),  # LEN
            Attribute(4, INSIDE, _data_value("mask")),  # MASK
            Attribute(5, INSIDE, _data_value("flips")),  # XOR
            Attribute(6, U32, _MASK_AND_XOR, optional=True),  # OP, since Linux 5.6
        ),
    ),
    Form(
        objects.Compare,  # NFTA_CMP_
        (
            Attribute(1, U32, "register"),  # SREG
            Attribute(2, _INVERTED, "negated"),  # OP
            Attribute(3, INSIDE, _data_value("data")),  # DATA
        ),
    ),
    Form(
        objects.SetReference,  # NFTA_LOOKUP_
        (
            Attribute(1, TEXT, "set"),  # SET
            Attribute(2, U32, "register"),  # SREG
            Attribute(4, U32, "number", optional=True),  # SET_ID
            Attribute(5, _INVERTED, "negated", optional=True),  # FLAGS
        ),
    ),
    Form(
        objects.MapReference,  # NFTA_LOOKUP_
        (
            Attribute(1, TEXT, "map"),  # SET
            Attribute(2, U32, "register"),  # SREG
            Attribute(3, U32, _VERDICT_REGISTER),  # DREG
            Attribute(4, U32, "number", optional=True),  # SET_ID
            Attribute(5, U32, 0, optional=True),  # FLAGS
        ),
    ),
    Form(
        objects.Immediate,  # NFTA_IMMEDIATE_
        (
            Attribute(1, U32, "register"),  # DREG
            Attribute(2, INSIDE, _data_value("data")),  # DATA
        ),
    ),
    Form(
        objects.Verdict,  # NFTA_IMMEDIATE_
        (
            Attribute(1, U32, _VERDICT_REGISTER),  # DREG
            Attribute(2, INSIDE, DATA_VERDICT),  # DATA
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
            Attribute(1, U32, "register"),  # REG_PROTO_MIN
            Attribute(2, U32, "register"),  # REG_PROTO_MAX
            Attribute(3, U32, _PORTS_GIVEN),  # FLAGS
        ),
    ),
    Form(
        objects.Tproxy,  # NFTA_TPROXY_
        (
            Attribute(1, _VERSION, "family"),  # FAMILY
            Attribute(3, U32, "register"),  # REG_PORT
        ),
    ),
    Form(
        objects.TranslateDestination,  # NFTA_NAT_
        (
            Attribute(1, U32, _DNAT),  # TYPE
            Attribute(2, _VERSION, "family"),  # FAMILY
            Attribute(3, U32, "address"),  # REG_ADDR_MIN
            Attribute(4, U32, "address"),  # REG_ADDR_MAX
            Attribute(5, U32, "port"),  # REG_PROTO_MIN
            Attribute(6, U32, "port"),  # REG_PROTO_MAX
            Attribute(7, U32, _ADDRESS_AND_PORT),  # FLAGS
        ),
    ),
    Form(objects.Masquerade, (Attribute(1, U32, _FULLY_RANDOM),)),  # NFTA_MASQ_FLAGS
    Form(
        objects.RandomNumber,  # NFTA_NG_
        (
            Attribute(1, U32, "register"),  # DREG
            Attribute(2, U32, "below"),  # MODULUS
            Attribute(3, U32, _RANDOM),  # TYPE
            Attribute(4, U32, 0, optional=True),  # OFFSET
        ),
    ),
    Form(objects.Reset, (Attribute(1, U32, _RESET),)),  # NFTA_REJECT_TYPE
    # NFTA_REJECT_TYPE and _ICMP_CODE
    Form(objects.Unreachable, (Attribute(1, U32, _UNREACHABLE), Attribute(2, number("!B"), "code"))),
)
