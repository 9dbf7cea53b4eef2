"""The stage: three network namespaces, their links, and listeners that show where a connection arrived.

One process owns all of it: a socket belongs to the namespace and the user with which it was made, whichever uses it
later. This knows nothing about rules.
"""

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from grid import FAMILIES, MACHINE, NEAR, PLACES, POD, POD_NET1, PORTS, WORLD, Family, Place, Protocol
from netns_helper import IFA_F_NODAD, raise_link

from sidelab.lab.base.syscalls import CLONE_NEWNET, setns, unshare

AF = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
IP_PKTINFO, IP_TRANSPARENT, IPV6_TRANSPARENT = 8, 19, 75
BACKLOG = 4096
OPEN_FILES = 4096


class Listener(NamedTuple):
    """A socket that waits, where it is, and whether it is the sidecar's."""

    sock: socket.socket
    place: Place
    family: Family
    protocol: Protocol
    port: int
    captures: bool


class Stage:
    """Namespaces by place, with all addresses; the caller's namespace becomes the pod's. Use it once, with `with`."""

    def __enter__(self) -> Self:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard), hard))
        self._namespaces = {"pod": _here()}
        for place in PLACES[1:]:
            unshare(CLONE_NEWNET)
            self._namespaces[place] = _here()
        self._link()
        self.listeners = [
            self.listen(place, family, protocol, port)
            for place in PLACES
            for family in FAMILIES
            for protocol, ports in PORTS.items()
            for port in ports
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self.listeners:
            listener.sock.close()
        for namespace in self._namespaces.values():
            os.close(namespace)

    @contextmanager
    def inside(self, place: Place) -> Iterator[None]:
        """Make sockets in `place` during the block; outside of it they are made in the pod."""
        setns(self._namespaces[place], CLONE_NEWNET)
        try:
            yield
        finally:
            setns(self._namespaces["pod"], CLONE_NEWNET)

    def listen(
        self, place: Place, family: Family, protocol: Protocol, port: int, owner: tuple[int, int] | None = None
    ) -> Listener:
        """Return a listener on all addresses of `place`; one with an `owner` (uid, gid) is the sidecar's."""
        with self.inside(place):
            sock = socket_of(family, protocol, *(owner or (0, 0)))
        sock.setblocking(False)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        level = socket.SOL_IP if family == 4 else socket.IPPROTO_IPV6
        if protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if owner:
                sock.setsockopt(level, IP_TRANSPARENT if family == 4 else IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(level, IP_PKTINFO if family == 4 else socket.IPV6_RECVPKTINFO, 1)
        sock.bind(("", port))
        if protocol == "tcp":
            sock.listen(BACKLOG)
        return Listener(sock, place, family, protocol, port, owner is not None)

    @contextmanager
    def sidecar(self, proxy: int, inbound: int, dns: int, owner: tuple[int, int]) -> Iterator[list[Listener]]:
        """Give the pod a sidecar's listeners during the block, and yield them."""
        wanted: list[tuple[Protocol, int]] = [("tcp", proxy), ("tcp", inbound), ("tcp", dns), ("udp", dns)]
        with ExitStack() as stack:
            made = []
            for family in FAMILIES:
                for protocol, port in wanted:
                    made.append(self.listen("pod", family, protocol, port, owner))
                    stack.enter_context(made[-1].sock)
            yield made

    def _link(self) -> None:
        from pyroute2 import IPRoute  # noqa: PLC0415 - heavy, and only a forked child needs it

        ends: dict[Place, list[tuple[str, dict[int, str]]]] = {
            "pod": [("eth0", POD), ("net1", POD_NET1)],
            "world": [("eth0", NEAR)],
            "machine": [("net1", MACHINE)],
        }
        with self.inside("pod"), IPRoute() as route:
            for name, other in (("eth0", "world"), ("net1", "machine")):
                far = {"ifname": name, "net_ns_fd": self._namespaces[other]}
                route.link("add", ifname=name, kind="veth", peer=far)
        for place, links in ends.items():
            with self.inside(place), IPRoute() as route:
                raise_link("lo")
                for name, addresses in links:
                    _address(route, name, addresses, {4: 24, 6: 64})
                if place == "world":
                    _address(route, "lo", WORLD, {4: 32, 6: 128})
                gateway = {"pod": NEAR, "world": POD, "machine": POD_NET1}[place]
                for family in FAMILIES:
                    route.route("add", family=AF[family], dst="default", gateway=gateway[family])
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):  # for the machine's way to the world
            Path("/proc/sys/net", switch).write_text("1")


def _address(route: Any, name: str, addresses: dict[int, str], bits: dict[int, int]) -> None:
    (index,) = route.link_lookup(ifname=name)
    for family in FAMILIES:
        flags = {"flags": IFA_F_NODAD} if family == 6 else {}
        route.addr("add", index=index, family=AF[family], address=addresses[family], prefixlen=bits[family], **flags)
    route.link("set", index=index, state="up")


def _here() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def socket_of(family: Family, protocol: Protocol, uid: int, gid: int) -> socket.socket:
    """Return a socket made by `uid` and `gid` in the caller's namespace."""
    if not uid and not gid:
        return socket.socket(AF[family], KINDS[protocol])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        return socket.socket(AF[family], KINDS[protocol])
    finally:
        os.seteuid(0)
        os.setegid(0)
