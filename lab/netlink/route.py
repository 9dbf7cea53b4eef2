"""rtnetlink messages, and sending many of them as one: the only module that talks to the kernel about links and routes.

pyroute2's message classes do the encoding; its sockets are not used, because a raw one opens in microseconds inside
whatever namespace the caller is in. Sources: rtnetlink(7), Linux' include/uapi/linux: rtnetlink.h, fib_rules.h.
"""

import errno as errors
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidelab.lab.base.privileges import FORBIDDEN, NOT_PERMITTED
from sidelab.lab.errors import MachineError, NotPermittedError, PodError
from sidelab.lab.netlink import receive
from sidelab.lab.netlink.header import ACK, CREATE, EXCLUSIVE, HEADER, REPLACE, REQUEST, Refusal
from sidelab.lab.netlink.pyroute2_messages import light

fibmsg = light("pyroute2.netlink.rtnl.fibmsg").fibmsg
ifaddrmsg = light("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg
ifinfmsg = light("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg
ndmsg = light("pyroute2.netlink.rtnl.ndmsg").ndmsg
rtmsg = light("pyroute2.netlink.rtnl.rtmsg").rtmsg

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH, _RTM_NEWRULE = 16, 20, 24, 28, 32
_DELETE, _GET = 1, 2  # what RTM_DEL… and RTM_GET… are above their RTM_NEW…
GET_ADDRESSES, GET_ROUTES, GET_RULES = _RTM_NEWADDR + _GET, _RTM_NEWROUTE + _GET, _RTM_NEWRULE + _GET

# What stands before the attributes of what is dumped, and which of those are looked at (`lab.netlink.local_routes`).
ADDRESS = struct.Struct("=BBBBI")  # ifaddrmsg: family, prefix length, flags, scope, index of the link
ROUTE = struct.Struct("=BBBBBBBBI")  # rtmsg: family, both prefix lengths, tos, table, origin, scope, type, flags
RULE = struct.Struct("=BBBBBxxBI")  # fib_rule_hdr: family, both prefix lengths, tos, table, action, flags
IFA_ADDRESS = 1
RTA_OIF, RTA_TABLE = 4, 15
FRA_FWMARK, FRA_TABLE, FRA_FWMASK = 10, 15, 16

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


def _message(
    name: str, kind: int, flags: int, body: Any, attributes: Sequence[tuple[str, Any]], needs: str = ""
) -> Message:
    body["attrs"] = list(attributes)
    body.encode()
    return Message(name, bytes(body.data[16:]), kind, flags, needs)


def deleting(message: Message) -> Message:
    """Return the request to delete what `message` makes: an address, a route or a rule."""
    name = message.name.replace("add ", "delete ", 1)
    return replace(message, name=name, kind=message.kind + _DELETE, flags=0)


def veth(name: str, index: int, mac: str, peer_fd: int, peer_mac: str) -> Message:
    """Create `name` with `index` here, its peer `eth0` (index 2) straight in the namespace of descriptor `peer_fd`."""
    peer = ifinfmsg()
    peer["index"] = 2
    peer["attrs"] = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", peer_mac), ("IFLA_NET_NS_FD", peer_fd)]
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
    body = ifinfmsg()
    body["index"] = index
    attributes = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_LINKINFO", {"attrs": info})]
    return _message(f"create veth {name}", _RTM_NEWLINK, CREATE | EXCLUSIVE, body, attributes)


def no_link_local(index: int) -> Message:
    """Let a link come up without an IPv6 link-local address."""
    body = ifinfmsg()
    body["index"] = index
    inet6 = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_NONE)]}
    attributes = [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", inet6)]})]
    return _message(f"set address generation of link {index}", _RTM_NEWLINK, 0, body, attributes)


def up(index: int) -> Message:
    """Raise a link."""
    body = ifinfmsg()
    body["index"], body["flags"], body["change"] = index, _IFF_UP, _IFF_UP
    return _message(f"raise link {index}", _RTM_NEWLINK, 0, body, ())


def address(index: int, value: str) -> Message:
    """Add a host address (/32 or /128) to a link; adding it again is no error."""
    body = ifaddrmsg()
    body["family"] = _family(value)
    body["prefixlen"] = _width(value)
    body["index"] = index
    attributes = [("IFA_LOCAL", value), ("IFA_ADDRESS", value)]
    if body["family"] == socket.AF_INET6:
        body["flags"] = _IFA_F_NODAD
        attributes = attributes[1:]
    return _message(f"add address {value}", _RTM_NEWADDR, CREATE | REPLACE, body, attributes)


def route(index: int, destination: str | None, gateway: str | None = None, source: str | None = None) -> Message:
    """Add a route: to a host address, or the default route where `destination` is None."""
    some = destination or gateway or ""
    body = rtmsg()
    body["family"] = _family(some)
    body["dst_len"] = _width(some) if destination else 0
    body["table"], body["proto"], body["type"] = _TABLE_MAIN, _PROTO_BOOT, _TYPE_UNICAST
    body["scope"] = _SCOPE_UNIVERSE if gateway else _SCOPE_LINK
    values = (("RTA_DST", destination), ("RTA_OIF", index), ("RTA_GATEWAY", gateway), ("RTA_PREFSRC", source))
    attributes = [(key, value) for key, value in values if value is not None]
    where = destination or f"default via {gateway}"
    return _message(f"add route {where}", _RTM_NEWROUTE, CREATE | EXCLUSIVE, body, attributes)


def neighbour(index: int, value: str, mac: str) -> Message:
    """Add a permanent neighbour: never resolved, never counted against the machine's limit."""
    body = ndmsg()
    body["family"], body["ifindex"], body["state"] = _family(value), index, _NUD_PERMANENT
    attributes = [("NDA_DST", value), ("NDA_LLADDR", mac)]
    return _message(f"add neighbour {value}", _RTM_NEWNEIGH, CREATE | EXCLUSIVE, body, attributes)


def local_route(family: int, table: int) -> Message:
    """Deliver whatever is looked up in `table` to this machine itself, whatever its destination."""
    body = rtmsg()
    body["family"], body["type"], body["scope"], body["proto"] = family, TYPE_LOCAL, _SCOPE_HOST, _PROTO_BOOT
    body["table"] = table if table < 256 else _TABLE_COMPAT
    attributes = [("RTA_TABLE", table), ("RTA_OIF", _LO)]
    return _message(f"add the local route of table {table}", _RTM_NEWROUTE, CREATE | EXCLUSIVE, body, attributes)


def mark_rule(family: int, mark: int, table: int, priority: int | None = _RULE_PRIORITY) -> Message:
    """Look packets with `mark` up in `table`.

    With a `priority` it is added once only; without, every repetition would add another. In deleting it None is any.
    """
    body = fibmsg()
    body["family"], body["action"] = family, _TO_TABLE
    attributes = [("FRA_FWMARK", mark), ("FRA_TABLE", table)]
    if priority is not None:
        attributes.append(("FRA_PRIORITY", priority))
    needs = "CONFIG_IPV6_MULTIPLE_TABLES" if family == socket.AF_INET6 else "CONFIG_IP_MULTIPLE_TABLES"
    return _message(f"add the rule for mark {mark}", _RTM_NEWRULE, CREATE | EXCLUSIVE, body, attributes, needs)


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


def _family(value: str) -> int:
    return socket.AF_INET6 if ":" in value else socket.AF_INET


def _width(value: str) -> int:
    return 128 if ":" in value else 32
