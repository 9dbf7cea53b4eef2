"""What the kernel remembers of a network namespace's connections: both tuples of each, and what was counted.

Reads only, over a netfilter netlink socket that was opened inside the namespace (`nftables.open_socket`,
`Lab.open_socket`). The text is that of `conntrack -L`. Sources: Linux' include/uapi/linux/netfilter:
nfnetlink_conntrack.h, nf_conntrack_common.h, nf_conntrack_tcp.h; RFC 792, RFC 4443 for ICMP.
"""

import errno as errors
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sidelab.lab.errors import MachineError, NotPermittedError, PodError, SidelabError
from sidelab.lab.netlink import receive
from sidelab.lab.netlink.attributes import INSIDE, U32, U64, Attribute, Description, Kind, number, read
from sidelab.lab.netlink.nftables.messages import GENERIC

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite"}
TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)

_SUBSYSTEM = 1  # NFNL_SUBSYS_CTNETLINK
_GET, _GET_CPU_STATISTICS, _GET_STATISTICS = 1, 4, 5  # IPCTNL_MSG_CT_GET, _GET_STATS_CPU, _GET_STATS
_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 6}
_SEEN_REPLY, _ASSURED = 1 << 1, 1 << 2  # IPS_*

_T = TypeVar("_T")


@dataclass(frozen=True)
class Direction:
    """One direction's tuple: addresses, and what tells its packets from others between the same addresses.

    Ports of protocols that have some, `icmp_…` for ICMP's questions and answers. `packets` and `bytes` are None unless
    the namespace counts them (net.netfilter.nf_conntrack_acct).
    """

    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    icmp_id: int | None = None
    packets: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class Entry:
    """A connection: `original` is what its first packet said, `reply` what answers to it say.

    Without address translation each is the other turned round. `protocol` is IP's number, `state` TCP's (else empty),
    `timeout_s` how long the entry lives without another packet. `replied`: an answer was seen; `assured`: the entry is
    not dropped early when the table is full. `users` is the kernel's reference count.
    """

    family: int
    protocol: int
    original: Direction
    reply: Direction
    state: str = ""
    timeout_s: int = 0
    replied: bool = False
    assured: bool = False
    mark: int = 0
    zone: int = 0
    users: int = 1

    @property
    def protocol_name(self) -> str:
        """The name that `conntrack -L` gives the protocol."""
        return PROTOCOLS.get(self.protocol, "unknown")

    def __str__(self) -> str:
        """Return the line of `conntrack -L`."""
        words = [f"{self.protocol_name:<8}", str(self.protocol), str(self.timeout_s), self.state]
        words += [*_words(self.original), "" if self.replied else "[UNREPLIED]", *_words(self.reply)]
        words += ["[ASSURED]" if self.assured else "", f"mark={self.mark}", f"zone={self.zone}" if self.zone else ""]
        return " ".join(word for word in (*words, f"use={self.users}") if word)

    def to_json(self) -> dict[str, Any]:
        """Return all fields as JSON values; the protocol by name too."""
        return {"protocol_name": self.protocol_name, **asdict(self)}


@dataclass(frozen=True)
class Statistics:
    """What conntrack has counted since the namespace was made, over all CPUs, as `conntrack -S` calls it.

    `entries` is how many connections are remembered now, `limit` how many at most (None: an older kernel).
    """

    entries: int
    limit: int | None
    found: int = 0
    invalid: int = 0
    insert: int = 0
    insert_failed: int = 0
    drop: int = 0
    early_drop: int = 0
    error: int = 0
    search_restart: int = 0
    clash_resolve: int = 0
    chain_too_long: int = 0

    def __str__(self) -> str:
        """Return all of it as words `name=value` in one line."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items() if value is not None)


def dump(sock: socket.socket) -> tuple[Entry, ...]:
    """Return the connections of both IP families. Raises `MachineError` where the kernel has no conntrack netlink."""
    return tuple(decode(body) for body in _asked(receive.dump, sock, _GET))


def statistics(sock: socket.socket) -> Statistics:
    """Return how full the table is and what went wrong so far; raises as `dump` does."""
    body = _asked(receive.ask, sock, _GET_STATISTICS)
    counted: dict[str, int] = {}
    for cpu in _asked(receive.dump, sock, _GET_CPU_STATISTICS):
        for name, count in _fields(_CPU, cpu).items():
            counted[name] = counted.get(name, 0) + count
    return Statistics(**{"limit": None, **_fields(_GLOBAL, body), **counted})


def decode(body: bytes) -> Entry:
    """Return the entry in a message's body, its netfilter header included.

    Raises `PodError` if it is none, or one of another address family than IP's.
    """
    found = _fields(_ENTRY, body)
    family = _FAMILIES.get(body[0])
    if family is None or found["original.protocol"] != found["reply.protocol"]:
        raise PodError(f"conntrack: an entry of address family {body[0]} can't be read: only IPv4's and IPv6's can")
    status = found["status"]
    rest = {name: found[name] for name in ("state", "timeout_s", "mark", "zone", "users") if name in found}
    return Entry(
        family=family,
        protocol=found["original.protocol"],
        original=_direction("original", found),
        reply=_direction("reply", found),
        replied=bool(status & _SEEN_REPLY),
        assured=bool(status & _ASSURED),
        **rest,
    )


def _fields(description: Description, body: bytes) -> dict[str, Any]:
    try:
        return read(description, body[GENERIC.size :])
    except ValueError as error:
        raise PodError(f"conntrack: the kernel's answer can't be read: {error}: is it newer than sidelab?") from error


def _direction(name: str, found: dict[str, Any]) -> Direction:
    prefix = f"{name}."
    fields = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    del fields["protocol"]
    if not {"source", "destination"} <= fields.keys():
        raise PodError("conntrack: the kernel's answer can't be read: a tuple without addresses")
    return Direction(**fields)


def _words(direction: Direction) -> Iterator[str]:
    names = {
        "src": direction.source,
        "dst": direction.destination,
        "sport": direction.source_port,
        "dport": direction.destination_port,
        "type": direction.icmp_type,
        "code": direction.icmp_code,
        "id": direction.icmp_id,
        "packets": direction.packets,
        "bytes": direction.bytes,
    }
    return (f"{name}={value}" for name, value in names.items() if value is not None)


def _asked(how: Callable[[socket.socket, int, bytes], _T], sock: socket.socket, kind: int) -> _T:
    """Return what the kernel answers for both families; `how` is one of `receive`'s functions."""
    try:
        return how(sock, _SUBSYSTEM << 8 | kind, GENERIC.pack(socket.AF_UNSPEC, 0, 0))
    except OSError as error:
        raise _refusal(error) from error


def _refusal(error: OSError) -> SidelabError:
    why = error.strerror
    if error.errno == errors.EPERM:
        return NotPermittedError(f"conntrack: {why}: the capability NET_ADMIN in this network namespace is needed")
    if error.errno in {errors.EINVAL, errors.EOPNOTSUPP}:  # nobody serves the subsystem (nfnetlink.c)
        return MachineError(f"conntrack: {why}: this kernel tells no connections: it needs CONFIG_NF_CT_NETLINK")
    return PodError(f"conntrack: the kernel does not tell its connections: {why}")


def _address(family: int) -> Kind:
    return Kind(lambda text: socket.inet_pton(family, text), lambda content: socket.inet_ntop(family, content))


def _state(value: int) -> str:
    return TCP_STATES[value] if value < len(TCP_STATES) else str(value)


_U8, _U16 = number("!B"), number("!H")


def _tuple(name: str) -> Description:
    # CTA_IP_
    addresses = (
        Attribute(1, _address(socket.AF_INET), f"{name}.source", optional=True),  # V4_SRC
        Attribute(2, _address(socket.AF_INET), f"{name}.destination", optional=True),  # V4_DST
        Attribute(3, _address(socket.AF_INET6), f"{name}.source", optional=True),  # V6_SRC
        Attribute(4, _address(socket.AF_INET6), f"{name}.destination", optional=True),  # V6_DST
    )
    # CTA_PROTO_
    protocol = (
        Attribute(1, _U8, f"{name}.protocol"),  # NUM
        Attribute(2, _U16, f"{name}.source_port", optional=True),  # SRC_PORT
        Attribute(3, _U16, f"{name}.destination_port", optional=True),  # DST_PORT
        Attribute(4, _U16, f"{name}.icmp_id", optional=True),  # ICMP_ID
        Attribute(5, _U8, f"{name}.icmp_type", optional=True),  # ICMP_TYPE
        Attribute(6, _U8, f"{name}.icmp_code", optional=True),  # ICMP_CODE
        Attribute(7, _U16, f"{name}.icmp_id", optional=True),  # ICMPV6_ID
        Attribute(8, _U8, f"{name}.icmp_type", optional=True),  # ICMPV6_TYPE
        Attribute(9, _U8, f"{name}.icmp_code", optional=True),  # ICMPV6_CODE
    )
    return (Attribute(1, INSIDE, addresses), Attribute(2, INSIDE, protocol))  # CTA_TUPLE_IP, _PROTO


def _counters(name: str) -> Description:
    # CTA_COUNTERS_PACKETS, _BYTES
    return (Attribute(1, U64, f"{name}.packets"), Attribute(2, U64, f"{name}.bytes"))


_TCP = (Attribute(1, number("!B", _state), "state"),)  # CTA_PROTOINFO_TCP_STATE
# CTA_
_ENTRY = (
    Attribute(1, INSIDE, _tuple("original")),  # TUPLE_ORIG
    Attribute(2, INSIDE, _tuple("reply")),  # TUPLE_REPLY
    Attribute(3, U32, "status"),  # STATUS
    Attribute(4, INSIDE, (Attribute(1, INSIDE, _TCP, optional=True),), optional=True),  # PROTOINFO, in it _TCP
    Attribute(7, U32, "timeout_s", optional=True),  # TIMEOUT
    Attribute(8, U32, "mark", optional=True),  # MARK
    Attribute(9, INSIDE, _counters("original"), optional=True),  # COUNTERS_ORIG
    Attribute(10, INSIDE, _counters("reply"), optional=True),  # COUNTERS_REPLY
    Attribute(11, U32, "users", optional=True),  # USE
    Attribute(18, _U16, "zone", optional=True),  # ZONE
)
# CTA_STATS_GLOBAL_
_GLOBAL = (
    Attribute(1, U32, "entries"),  # ENTRIES
    Attribute(2, U32, "limit", optional=True),  # MAX_ENTRIES
)
_CPU_NAMES = {  # CTA_STATS_
    2: "found",
    4: "invalid",
    8: "insert",
    9: "insert_failed",
    10: "drop",
    11: "early_drop",
    12: "error",
    13: "search_restart",
    14: "clash_resolve",
    15: "chain_too_long",
}
_CPU = tuple(Attribute(number_, U32, name, optional=True) for number_, name in _CPU_NAMES.items())
