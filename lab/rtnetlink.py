"""rtnetlink messages, and sending many of them as one: the only module that talks to the kernel about links and routes.

pyroute2's message classes do the encoding; its sockets are not used, because a raw one opens in microseconds inside
whatever namespace the caller is in. Sources: rtnetlink(7), netlink(7).
"""

import errno as errors
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lab.errors import PodError
from lab.light import light

ifaddrmsg = light("pyroute2.netlink.rtnl.ifaddrmsg").ifaddrmsg
ifinfmsg = light("pyroute2.netlink.rtnl.ifinfmsg").ifinfmsg
ndmsg = light("pyroute2.netlink.rtnl.ndmsg").ndmsg
rtmsg = light("pyroute2.netlink.rtnl.rtmsg").rtmsg

_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 16, 20, 24, 28
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port (netlink(7))

_IFF_UP = 1
_IFA_F_NODAD = 0x2  # duplicate address detection would hold an IPv6 address back for 1 to 2 s
_NUD_PERMANENT = 0x80
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_TABLE_MAIN, _PROTO_BOOT, _TYPE_UNICAST = 254, 3, 1
_ADDR_GEN_NONE = 1  # IN6_ADDR_GEN_MODE_NONE: no link-local address, so no detection and no router solicitation

BATCH_BYTES = 64_000  # well under the 212 kB at which a send fails with EMSGSIZE


@dataclass(frozen=True)
class Message:
    """One request, encoded, with a name for it in errors."""

    name: str
    data: bytes
    kind: int
    flags: int

    def packed(self, sequence: int, flags: int) -> bytes:
        """Return the bytes to send."""
        return _HEADER.pack(len(self.data) + 16, self.kind, self.flags | flags, sequence, 0) + self.data


def _message(name: str, kind: int, flags: int, body: Any, attributes: Sequence[tuple[str, Any]]) -> Message:
    body["attrs"] = list(attributes)
    body.encode()
    return Message(name, bytes(body.data[16:]), kind, _REQUEST | flags)


def veth(name: str, index: int, mac: str, peer_fd: int, peer_mac: str) -> Message:
    """Create `name` with `index` here, its peer `eth0` (index 2) straight in the namespace of descriptor `peer_fd`."""
    peer = ifinfmsg()
    peer["index"] = 2
    peer["attrs"] = [("IFLA_IFNAME", "eth0"), ("IFLA_ADDRESS", peer_mac), ("IFLA_NET_NS_FD", peer_fd)]
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
    body = ifinfmsg()
    body["index"] = index
    attributes = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac), ("IFLA_LINKINFO", {"attrs": info})]
    return _message(f"create veth {name}", _RTM_NEWLINK, _CREATE | _EXCL, body, attributes)


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
    return _message(f"add address {value}", _RTM_NEWADDR, _CREATE | _REPLACE, body, attributes)


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
    return _message(f"add route {where}", _RTM_NEWROUTE, _CREATE | _EXCL, body, attributes)


def neighbour(index: int, value: str, mac: str) -> Message:
    """Add a permanent neighbour: never resolved, never counted against the machine's limit."""
    body = ndmsg()
    body["family"], body["ifindex"], body["state"] = _family(value), index, _NUD_PERMANENT
    attributes = [("NDA_DST", value), ("NDA_LLADDR", mac)]
    return _message(f"add neighbour {value}", _RTM_NEWNEIGH, _CREATE | _EXCL, body, attributes)


def open_socket() -> socket.socket:
    """Open a socket to the network namespace that the caller is in, whichever the caller enters later."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def send(link: socket.socket, messages: Sequence[Message]) -> None:
    """Send `messages` in order, in as few writes as fit; only the last of each write asks for an answer.

    Raises `PodError` naming the message that the kernel refused; those after it in the same write were carried out.
    """
    for batch in _batches(messages):
        packed = [
            message.packed(number, _ACK if number == len(batch) - 1 else 0) for number, message in enumerate(batch)
        ]
        link.send(b"".join(packed))
        _await(link, batch)


def _batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and size + len(message.data) + 16 > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.data) + 16
    if batch:
        yield batch


def _await(link: socket.socket, batch: Sequence[Message]) -> None:
    """Read answers until that of the last message; an error comes whether or not it was asked for (netlink(7))."""
    refused: tuple[Message, int] | None = None
    while True:
        answer = link.recv(65536)
        offset = 0
        while offset < len(answer):
            length, kind, _, sequence, _ = _HEADER.unpack_from(answer, offset)
            if kind == _NLMSG_ERROR:
                errno = -struct.unpack_from("=i", answer, offset + 16)[0]
                if errno and refused is None:
                    refused = batch[sequence], errno
                if sequence == len(batch) - 1:
                    _raise(refused)
                    return
            offset += (length + 3) & ~3


def _raise(refused: tuple[Message, int] | None) -> None:
    if refused is not None:
        message, errno = refused
        code = errors.errorcode.get(errno, str(errno))
        raise PodError(f"the kernel refused to {message.name}: {os.strerror(errno)} ({code})")


def _family(value: str) -> int:
    return socket.AF_INET6 if ":" in value else socket.AF_INET


def _width(value: str) -> int:
    return 128 if ":" in value else 32
