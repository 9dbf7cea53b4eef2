"""nftables' objects as frozen values: tables, chains, and rules as tuples of the kernel's own expressions.

Generic and pure: knows what the kernel's virtual machine can do, not what anybody uses it for. Source of the numbers:
Linux' include/uapi/linux/netfilter/nf_tables.h. All expressions work on one register.

They are named tuples because a rule set has hundreds, which are then made and hashed (so as to be encoded once) in C.
An expression's `name` is the kernel's, and keeps expressions of different types unequal.
"""

from enum import IntEnum
from typing import Literal, NamedTuple

INET = 1  # NFPROTO_INET: a table for both IP families
IPV4 = 2
IPV6 = 10


class MetaKey(IntEnum):
    """What can be known of a packet beside its headers (NFT_META_*)."""

    MARK = 3
    IIFNAME = 6
    OIFNAME = 7
    SKUID = 10
    SKGID = 11
    NFPROTO = 15
    L4PROTO = 16


class CtKey(IntEnum):
    """What can be known of a packet's connection (NFT_CT_*)."""

    STATE = 0
    MARK = 3
    ZONE = 17


class Base(IntEnum):
    """Where a payload offset counts from (NFT_PAYLOAD_*)."""

    NETWORK = 1
    TRANSPORT = 2


class Code(IntEnum):
    """Verdicts (NF_*, NFT_*)."""

    DROP = 0
    ACCEPT = 1
    JUMP = -3
    GOTO = -4
    RETURN = -5


class Hook(IntEnum):
    """Where a base chain meets packets (NF_INET_*)."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4
    INGRESS = 5


class Meta(NamedTuple):
    """Load `key` into the register, or set it from the register."""

    key: MetaKey
    store: bool = False
    name: str = "meta"


class Ct(NamedTuple):
    """Load the connection's `key` into the register, or set it from the register."""

    key: CtKey
    store: bool = False
    name: str = "ct"


class Payload(NamedTuple):
    """Load `length` bytes at `offset` from a header into the register."""

    base: Base
    offset: int
    length: int
    name: str = "payload"


class Bitwise(NamedTuple):
    """Mask the register."""

    mask: bytes
    name: str = "bitwise"

    @property
    def length(self) -> int:
        """How many bytes of the register it works on."""
        return len(self.mask)

    @property
    def xor(self) -> bytes:
        """What the kernel flips after masking: nothing."""
        return bytes(len(self.mask))


class Compare(NamedTuple):
    """Go on only if the register equals (or, `negated`, differs from) `data`."""

    data: bytes
    negated: bool = False
    name: str = "cmp"


class Lookup(NamedTuple):
    """Go on only if the register is in an anonymous set (or, `negated`, is not).

    `elements` are of one length and stand in ascending order; `kind` is the number by which the nft tool knows the
    elements' type.
    """

    elements: tuple[bytes, ...]
    negated: bool = False
    kind: int = 13  # inet_service
    name: str = "lookup"


class Immediate(NamedTuple):
    """Put `data` into the register."""

    data: bytes
    name: str = "immediate"


class Verdict(NamedTuple):
    """Decide; `chain` for JUMP and GOTO."""

    code: Code
    chain: str = ""
    name: str = "immediate"


class Counter(NamedTuple):
    """Count packets and bytes that get here."""

    packets: int = 0
    bytes: int = 0
    name: str = "counter"


class Redirect(NamedTuple):
    """Send the connection to this machine, to the port in the register."""

    name: str = "redir"


class Tproxy(NamedTuple):
    """Give the packet to a local socket on the port in the register; `family` is IPV4 or IPV6."""

    family: int
    name: str = "tproxy"


class Unknown(NamedTuple):
    """An expression that the kernel has and this module has not; only ever read. `data` are its attributes."""

    name: str
    data: bytes = b""


Expression = (
    Meta | Ct | Payload | Bitwise | Compare | Lookup | Immediate | Verdict | Counter | Redirect | Tproxy | Unknown
)


class Table(NamedTuple):
    """A table."""

    name: str
    family: int = INET

    def __str__(self) -> str:
        return f"table {self.name}"


class Chain(NamedTuple):
    """A chain, or with `hook` a base chain of type `kind` (nat, filter or route)."""

    table: Table
    name: str
    kind: str = ""
    hook: Hook | None = None
    priority: int = 0

    def __str__(self) -> str:
        return f"chain {self.name} of {self.table}"


class Rule(NamedTuple):
    """A rule, appended to its chain."""

    table: Table
    chain: str
    expressions: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"a rule of chain {self.chain} of {self.table}"


class RuleHandle(NamedTuple):
    """A rule that the kernel has, by the number that the kernel gave it."""

    table: Table
    chain: str
    handle: int

    def __str__(self) -> str:
        return f"a rule of chain {self.chain} of {self.table}"


class Operation(NamedTuple):
    """One step of a transaction.

    Tables, chains and rules are added; tables and chains flushed of their rules; tables, chains and rules (by their
    handles) deleted.
    """

    verb: Literal["add", "flush", "delete"]
    thing: Table | Chain | Rule | RuleHandle

    def __str__(self) -> str:
        return f"{self.verb} {self.thing}"


Transaction = tuple[Operation, ...]
