"""Delivering marked packets to this machine itself: policy rules, local routes and addresses on `lo`.

Each is a value that can be added, removed and found again over a socket opened in its namespace; adding twice is adding
once. Sources: ip-rule(8), Linux' include/uapi/linux/fib_rules.h and rtnetlink.h.
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from ipaddress import ip_address
from typing import Literal, NamedTuple

from sidelab.lab.netlink import route
from sidelab.lab.netlink.attributes import contents
from sidelab.lab.netlink.route import Message

_LO = 1
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_WHOLE_MARK = 0xFFFFFFFF
_THERE_ALREADY = {errno.EEXIST}
_GONE_ALREADY = {errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL}


class MarkRule(NamedTuple):
    """Packets with `mark` are looked up in routing table `table`; its text is iproute2's."""

    family: Literal[4, 6]
    mark: int
    table: int

    def __str__(self) -> str:
        return f"ip{_flag(self.family)} rule add fwmark {self.mark} lookup {self.table}"

    @property
    def message(self) -> Message:
        """The request to add it."""
        return route.mark_rule(_af(self.family), self.mark, self.table)

    @property
    def removal(self) -> Message:
        """The request to remove one such rule, whichever its priority."""
        return route.deleting(route.mark_rule(_af(self.family), self.mark, self.table, priority=None))


class LocalRoute(NamedTuple):
    """Whatever is looked up in routing table `table` is delivered here."""

    family: Literal[4, 6]
    table: int

    def __str__(self) -> str:
        return f"ip{_flag(self.family)} route add local default dev lo table {self.table}"

    @property
    def message(self) -> Message:
        """The request to add it."""
        return route.local_route(_af(self.family), self.table)

    @property
    def removal(self) -> Message:
        """The request to remove it."""
        return route.deleting(self.message)


class LoopbackAddress(NamedTuple):
    """A host address on `lo`, without prefix length."""

    address: str

    def __str__(self) -> str:
        flag, bits = (" -6", 128) if ":" in self.address else ("", 32)
        return f"ip{flag} address add {self.address}/{bits} dev lo"

    @property
    def message(self) -> Message:
        """The request to add it."""
        return route.address(_LO, self.address)

    @property
    def removal(self) -> Message:
        """The request to remove it."""
        return route.deleting(self.message)


Local = MarkRule | LocalRoute | LoopbackAddress


def add(link: socket.socket, things: Collection[Local]) -> None:
    """Add `things`, but those that are there. Raises `PodError`, or `MachineError` where the kernel has none such."""
    route.send(link, [thing.message for thing in things], _THERE_ALREADY)


def remove(link: socket.socket, things: Collection[Local]) -> None:
    """Remove `things` however often they are there; one that is not is no error."""
    found = [thing for thing in held(link) if thing in things]
    route.send(link, [thing.removal for thing in found], _GONE_ALREADY)


def held(link: socket.socket) -> tuple[Local, ...]:
    """Return all such things that the namespace has, a rule that is there twice twice."""
    return tuple(thing for family in _FAMILIES for thing in (*_rules(link, family), *_routes(link, family)))


def _rules(link: socket.socket, family: int) -> Iterator[Local]:
    for body in route.dump(link, route.GET_RULES, family):
        found = contents(body[route.RULE.size :])
        if route.FRA_FWMARK in found and _number(found.get(route.FRA_FWMASK), _WHOLE_MARK) == _WHOLE_MARK:
            yield MarkRule(_ip(family), _number(found[route.FRA_FWMARK]), _number(found.get(route.FRA_TABLE)))


def _routes(link: socket.socket, family: int) -> Iterator[Local]:
    for body in route.dump(link, route.GET_ROUTES, family):
        _, bits, _, _, _, _, _, kind, _ = route.ROUTE.unpack_from(body)
        found = contents(body[route.ROUTE.size :])
        if kind == route.TYPE_LOCAL and bits == 0 and _number(found.get(route.RTA_OIF)) == _LO:
            yield LocalRoute(_ip(family), _number(found.get(route.RTA_TABLE)))
    for body in route.dump(link, route.GET_ADDRESSES, family):
        _, _, _, _, index = route.ADDRESS.unpack_from(body)
        if index == _LO:
            yield LoopbackAddress(str(ip_address(contents(body[route.ADDRESS.size :])[route.IFA_ADDRESS])))


def _number(content: bytes | None, default: int = 0) -> int:
    return default if content is None else int(struct.unpack("=I", content)[0])


def _af(family: Literal[4, 6]) -> int:
    return socket.AF_INET6 if family == 6 else socket.AF_INET


def _ip(family: int) -> Literal[4, 6]:
    return 6 if family == socket.AF_INET6 else 4


def _flag(family: Literal[4, 6]) -> str:
    return " -6" if family == 6 else ""
