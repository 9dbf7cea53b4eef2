"""rtnetlink messages, and sending many of them as one: the only module that talks to the kernel about links and routes.

Sources: rtnetlink(7), Linux' include/uapi/linux: rtnetlink.h, if_link.h, if_addr.h, neighbour.h, fib_rules.h.
"""

import errno as errors
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from sidelab.lab.base.privileges import FORBIDDEN, NOT_PERMITTED
from sidelab.lab.errors import MachineError, NotPermittedError, PodError
from sidelab.lab.netlink import receive
from sidelab.lab.netlink.attributes import attribute, text
from sidelab.lab.netlink.header import ACK, CREATE, EXCLUSIVE, HEADER, REPLACE, REQUEST, Refusal

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH, _RTM_NEWRULE = 16, 20, 24, 28, 32
_DELETE, _GET = 1, 2  # what RTM_DEL… and RTM_GET… are above their RTM_NEW…
GET_ADDRESSES, GET_ROUTES, GET_RULES = _RTM_NEWADDR + _GET, _RTM_NEWROUTE + _GET, _RTM_NEWRULE + _GET

# What stands before the attributes.
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, which flags change
ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index of the link
ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, both prefix lengths, tos, table, origin, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # ndmsg: family, index of the link, state, flags, type
RULE = struct.Struct("=BBBBBxxBI")  # fib_rule_hdr: family, both prefix lengths, tos, table, action, flags

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_AF_SPEC, _IFLA_NET_NS_FD = 1, 3, 18, 26, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER, _IFLA_INET6_ADDR_GEN_MODE = 1, 2, 1, 8
IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, RTA_TABLE = 1, 4, 5, 7, 15
_NDA_DST, _NDA_LLADDR = 1, 2
_FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK = 6, 10, 15, 16

_IFF_UP = 1
_IFA_F_NODAD = 0x2  # duplicate address detection would hold an IPv6 address back for 1 to 2 s
_NUD_PERMANENT = 0x80
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_TABLE_MAIN, _TABLE_COMPAT, _PROTO_BOOT = 254, 252, 3
_TYPE_UNICAST, TYPE_LOCAL = 1, 2
_TO_TABLE = 1  # FR_ACT_TO_TBL
_LO = 1
_RULE_PRIORITY = 32765  # what the first rule of a namespace gets, right before the main table's
_ADDR_GEN_NONE = 1  # IN6_ADDR_GEN_MODE_NONE: no link-local address, so no detection and no router solicitation

BATCH_BYTES = 64_000  # well under the 212 kB at which a send fails with EMSGSIZE


@dataclass(frozen=True)
class Message:
    """One request, encoded, with a name for it in errors, and the kernel option that it `needs` where many have not."""

    name: str
    data: bytes
    kind: int
    flags: int
    needs: str = ""

    def packed(self, sequence: int, flags: int) -> bytes:
        """Return the bytes to send."""
        return HEADER.pack(len(self.data) + 16, self.kind, REQUEST | self.flags | flags, sequence, 0) + self.data


def deleting(message: Message) -> Message:
    """Return the request to delete what `message` makes: an address, a route or a rule."""
    name = message.name.replace("add ", "delete ", 1)
    return replace(message, name=name, kind=message.kind + _DELETE, flags=0)


def veth(name: str, index: int, mac: str, peer_fd: int, peer_mac: str) -> Message:
    """Create `name` with `index` here, its peer `eth0` (index 2) straight in the namespace of descriptor `peer_fd`."""
    peer = (
        _LINK.pack(0, 0, 2, 0, 0)
        + attribute(_IFLA_IFNAME, text("eth0"))
        + attribute(_IFLA_ADDRESS, _mac(peer_mac))
        + _number(_IFLA_NET_NS_FD, peer_fd)
    )
    kind = attribute(_IFLA_INFO_KIND, text("veth"))
    body = (
        _LINK.pack(0, 0, index, 0, 0)
        + attribute(_IFLA_IFNAME, text(name))
        + attribute(_IFLA_ADDRESS, _mac(mac))
        + attribute(_IFLA_LINKINFO, kind + attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer)))
    )
    return Message(f"create veth {name}", body, _RTM_NEWLINK, CREATE | EXCLUSIVE)


def no_link_local(index: int) -> Message:
    """Let a link come up without an IPv6 link-local address."""
    mode = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([_ADDR_GEN_NONE]))
    body = _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_AF_SPEC, attribute(socket.AF_INET6, mode))
    return Message(f"set address generation of link {index}", body, _RTM_NEWLINK, 0)


def up(index: int) -> Message:
    """Raise a link."""
    return Message(f"raise link {index}", _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP), _RTM_NEWLINK, 0)


def address(index: int, value: str) -> Message:
    """Add a host address (/32 or /128) to a link; adding it again is no error."""
    family, packed = _ip(value)
    body = ADDRESS.pack(family, 8 * len(packed), _IFA_F_NODAD if family == socket.AF_INET6 else 0, 0, index)
    if family == socket.AF_INET:
        body += attribute(_IFA_LOCAL, packed)
    body += attribute(IFA_ADDRESS, packed)
    return Message(f"add address {value}", body, _RTM_NEWADDR, CREATE | REPLACE)


def route(index: int, destination: str | None, gateway: str | None = None, source: str | None = None) -> Message:
    """Add a route: to a host address, or the default route where `destination` is None."""
    family, packed = _ip(destination or gateway or "")
    bits, scope = 8 * len(packed) if destination else 0, _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
    body = ROUTE.pack(family, bits, 0, 0, _TABLE_MAIN, _PROTO_BOOT, scope, _TYPE_UNICAST, 0)
    if destination:
        body += attribute(_RTA_DST, packed)
    body += _number(RTA_OIF, index)
    if gateway:
        body += attribute(_RTA_GATEWAY, _ip(gateway)[1])
    if source:
        body += attribute(_RTA_PREFSRC, _ip(source)[1])
    where = destination or f"default via {gateway}"
    return Message(f"add route {where}", body, _RTM_NEWROUTE, CREATE | EXCLUSIVE)


def neighbour(index: int, value: str, mac: str) -> Message:
    """Add a permanent neighbour: never resolved, never counted against the machine's limit."""
    family, packed = _ip(value)
    body = _NEIGHBOUR.pack(family, index, _NUD_PERMANENT, 0, 0)
    body += attribute(_NDA_DST, packed) + attribute(_NDA_LLADDR, _mac(mac))
    return Message(f"add neighbour {value}", body, _RTM_NEWNEIGH, CREATE | EXCLUSIVE)


def local_route(family: int, table: int) -> Message:
    """Deliver whatever is looked up in `table` to this machine itself, whatever its destination."""
    short = table if table < 256 else _TABLE_COMPAT
    body = ROUTE.pack(family, 0, 0, 0, short, _PROTO_BOOT, _SCOPE_HOST, TYPE_LOCAL, 0)
    body += _number(RTA_TABLE, table) + _number(RTA_OIF, _LO)
    return Message(f"add the local route of table {table}", body, _RTM_NEWROUTE, CREATE | EXCLUSIVE)


def mark_rule(family: int, mark: int, table: int, priority: int | None = _RULE_PRIORITY) -> Message:
    """Look packets with `mark` up in `table`.

    With a `priority` it is added once only; without, every repetition would add another. In deleting it None is any.
    """
    body = RULE.pack(family, 0, 0, 0, 0, _TO_TABLE, 0) + _number(FRA_FWMARK, mark) + _number(FRA_TABLE, table)
    if priority is not None:
        body += _number(_FRA_PRIORITY, priority)
    needs = "CONFIG_IPV6_MULTIPLE_TABLES" if family == socket.AF_INET6 else "CONFIG_IP_MULTIPLE_TABLES"
    return Message(f"add the rule for mark {mark}", body, _RTM_NEWRULE, CREATE | EXCLUSIVE, needs)


def open_socket() -> socket.socket:
    """Open a socket to the network namespace that the caller is in, whichever the caller enters later."""
    return receive.open_socket(socket.NETLINK_ROUTE)


def send(link: socket.socket, messages: Sequence[Message], tolerated: Collection[int] = ()) -> None:
    """Send `messages` in order, in as few writes as fit; only the last of each write asks for an answer.

    Raises `PodError` naming the message that the kernel refused with an errno not among those `tolerated` (or
    `MachineError` if it has no such thing); those after it in the same write were carried out.
    """
    for batch in _batches(messages):
        numbers = receive.sequences(len(batch))
        first, last = numbers[0], numbers[-1]
        packed = [each.packed(number, ACK if number == last else 0) for number, each in enumerate(batch, first)]
        refusals, complete = receive.carry_out(link, b"".join(packed))
        for refusal in refusals:
            if refusal.errno not in tolerated and refusal.sequence in numbers:
                raise _error(batch[refusal.sequence - first], refusal)
        if not complete:
            raise PodError("the kernel's answers about links, addresses and routes were lost: does it lack memory?")


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and size + len(message.data) + HEADER.size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.data) + HEADER.size
    if batch:
        yield batch


def dump(link: socket.socket, kind: int, family: int) -> list[bytes]:
    """Return the body of every address, route or rule of `family` (`kind` is one of GET_…), attributes and all."""
    try:
        return receive.dump(link, kind, bytes([family]).ljust(16, b"\0"))
    except OSError as error:
        raise PodError(f"the kernel does not tell its addresses, routes and rules: {error.strerror}") from error


def _error(message: Message, refusal: Refusal) -> MachineError | PodError:
    if message.needs and refusal.errno in {errors.EOPNOTSUPP, errors.EAFNOSUPPORT}:
        return MachineError(f"the kernel can't {message.name}: {refusal.why}: it needs {message.needs}")
    if refusal.errno in NOT_PERMITTED:
        return NotPermittedError(f"this process may not {message.name}: {refusal.why}: {FORBIDDEN}")
    return PodError(f"the kernel refused to {message.name}: {refusal.why}")


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


@lru_cache(maxsize=64)
def _ip(value: str) -> tuple[int, bytes]:
    """Return family and bytes of an IP address."""
    family = socket.AF_INET6 if ":" in value else socket.AF_INET
    return family, socket.inet_pton(family, value)


def _mac(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))
