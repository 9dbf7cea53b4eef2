"""nftables' objects as frozen values: tables, chains, sets, and rules as tuples of the kernel's own expressions.

Generic and pure: knows what the kernel's virtual machine can do, not what anybody uses it for. Source of the numbers:
Linux' include/uapi/linux/netfilter/nf_tables.h. Expressions work on register 1 unless they name another: see `quarter`.

They are named tuples because a rule set has hundreds, which are then made and hashed (so as to be encoded once) in C.
An expression's `name` is the kernel's, and keeps expressions of different types unequal.
"""

from enum import IntEnum
from typing import Literal, NamedTuple

INET = 1  # NFPROTO_INET: a table for both IP families
IPV4 = 2
IPV6 = 10

# What the nft tool calls the types of keys and data (its datatype.h); of several together, six bits each.
INTEGER, IPV4_ADDRESS, IPV6_ADDRESS, PROTOCOL, SERVICE = 4, 7, 8, 12, 13


def quarter(number: int) -> int:
    """Return the register that begins at the four bytes `number`, counted from 0, as the kernel itself names it.

    Registers 1 to 4 are 16 bytes wide; 8 to 23 are their quarters, of which the first has the whole one's name.
    """
    return 8 + number if number % 4 else 1 + number // 4


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


class NftHook(IntEnum):
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
    register: int = 1
    name: str = "meta"


class Ct(NamedTuple):
    """Load the connection's `key` into the register, or set it from the register."""

    key: CtKey
    store: bool = False
    register: int = 1
    name: str = "ct"


class Payload(NamedTuple):
    """Load `length` bytes at `offset` from a header into the register."""

    base: Base
    offset: int
    length: int
    register: int = 1
    name: str = "payload"


class Bitwise(NamedTuple):
    """Mask the register, then flip the bits in `flips`, which is as long as the mask, or empty: no bit."""

    mask: bytes
    flips: bytes = b""
    register: int = 1
    name: str = "bitwise"

    @property
    def length(self) -> int:
        """How many bytes of the register it works on."""
        return len(self.mask)

    @property
    def nothing(self) -> bytes:
        """What the kernel is told to flip if no bit is."""
        return bytes(len(self.mask))


class Compare(NamedTuple):
    """Go on only if the register equals (or, `negated`, differs from) `data`."""

    data: bytes
    negated: bool = False
    register: int = 1
    name: str = "cmp"


class Lookup(NamedTuple):
    """Go on only if the register is in an anonymous set (or, `negated`, is not).

    `elements` are of one length and stand in ascending order; `kind` is the number by which the nft tool knows the
    elements' type.
    """

    elements: tuple[bytes, ...]
    negated: bool = False
    kind: int = SERVICE
    register: int = 1
    name: str = "lookup"


class Choice(NamedTuple):
    """Go to the first, second … of `chains` if the register is 0, 1 …; the chains are in an anonymous map."""

    chains: tuple[str, ...]
    register: int = 1
    name: str = "lookup"


class SetReference(NamedTuple):
    """Go on only if the register is in the set of that name (or, `negated`, is not).

    With `number` the set is an anonymous one of the same batch: that is how its rule says a `Lookup`.
    """

    set: str
    number: int = 0
    negated: bool = False
    register: int = 1
    name: str = "lookup"


class MapReference(NamedTuple):
    """Decide as the map of that name says for the register, or go on; `number` as in `SetReference`."""

    map: str
    number: int = 0
    register: int = 1
    name: str = "lookup"


class Immediate(NamedTuple):
    """Put `data` into the register."""

    data: bytes
    register: int = 1
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

    register: int = 1
    name: str = "redir"


class Tproxy(NamedTuple):
    """Give the packet to a local socket on the port in the register; `family` is IPV4 or IPV6."""

    family: int
    register: int = 1
    name: str = "tproxy"


class TranslateDestination(NamedTuple):
    """Send the connection to the address and the port in these registers; `family` is IPV4 or IPV6."""

    family: int
    address: int
    port: int
    name: str = "nat"


class Masquerade(NamedTuple):
    """Send the connection from an address of this machine, and a port that cannot be foreseen."""

    name: str = "masq"


class RandomNumber(NamedTuple):
    """Load a random number from 0 to `below` - 1 into the register, in the machine's byte order."""

    below: int
    register: int = 1
    name: str = "numgen"


class Reset(NamedTuple):
    """Answer with a TCP reset."""

    name: str = "reject"


class Unreachable(NamedTuple):
    """Answer with ICMP destination unreachable and `code`, which is the IP family's own."""

    code: int
    name: str = "reject"


class Unknown(NamedTuple):
    """An expression that the kernel has and this module has not; only ever read. `data` are its attributes."""

    name: str
    data: bytes = b""


Expression = (
    Meta
    | Ct
    | Payload
    | Bitwise
    | Compare
    | Lookup
    | Choice
    | SetReference
    | MapReference
    | Immediate
    | Verdict
    | Counter
    | Redirect
    | Tproxy
    | TranslateDestination
    | Masquerade
    | RandomNumber
    | Reset
    | Unreachable
    | Unknown
)


class NftTable(NamedTuple):
    """A table."""

    name: str
    family: int = INET

    def __str__(self) -> str:
        return f"table {self.name}"


class NftChain(NamedTuple):
    """A chain, or with `hook` a base chain of type `kind` (nat, filter or route)."""

    table: NftTable
    name: str
    kind: str = ""
    hook: NftHook | None = None
    priority: int = 0

    def __str__(self) -> str:
        return f"chain {self.name} of {self.table}"


class NftRule(NamedTuple):
    """A rule, appended to its chain."""

    table: NftTable
    chain: str
    expressions: tuple[Expression, ...]

    def __str__(self) -> str:
        return f"a rule of chain {self.chain} of {self.table}"


class RuleHandle(NamedTuple):
    """A rule that the kernel has, by the number that the kernel gave it."""

    table: NftTable
    chain: str
    handle: int

    def __str__(self) -> str:
        return f"a rule of chain {self.chain} of {self.table}"


class NamedSet(NamedTuple):
    """A set of keys of `length` bytes, or, with `verdicts`, a map from such keys to verdicts.

    `kind` is the number by which the nft tool knows the keys' type.
    """

    table: NftTable
    name: str
    kind: int
    length: int
    verdicts: bool = False

    def __str__(self) -> str:
        return f"set {self.name} of {self.table}"


class Elements(NamedTuple):
    """Elements of a set, which are keys, or of a map: keys, each with the chain to go to."""

    table: NftTable
    set: str
    elements: tuple[bytes, ...] | tuple[tuple[bytes, str], ...]

    def __str__(self) -> str:
        return f"elements of set {self.set} of {self.table}"


class Operation(NamedTuple):
    """One step of a transaction.

    Tables, chains, rules, sets and their elements are added; tables and chains flushed of their rules; tables, chains
    and rules (by their handles) deleted.
    """

    verb: Literal["add", "flush", "delete"]
    thing: NftTable | NftChain | NftRule | RuleHandle | NamedSet | Elements

    def __str__(self) -> str:
        return f"{self.verb} {self.thing}"


Transaction = tuple[Operation, ...]
