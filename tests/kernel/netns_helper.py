"""A fresh network namespace for a test: the test's work runs in a forked child inside it, which returns its result.

This knows nothing about rules. The namespace goes away with the child.
"""

import contextlib
import ctypes
import fcntl
import os
import pickle
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import pytest

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
SO_ORIGINAL_DST = 80
IFA_F_NODAD = 2


def in_namespace(work: Callable[[], T]) -> T:
    """Run `work` alone in a new network namespace whose `lo` is up, and return its result.

    An exception of `work` is raised here, and a skip skips the test; without root it is skipped, too, since only a lab
    makes a user namespace first.
    """
    if os.geteuid() != 0:
        pytest.skip("needs root")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            with os.fdopen(write, "wb") as answer:
                pickle.dump(_outcome(work), answer)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    ended, value = pickle.loads(data)  # noqa: S301 - our own child wrote it
    if ended == "skipped":
        pytest.skip(value)
    if ended == "failed":
        raise value
    return value  # type: ignore[no-any-return]  # pickle knows no types


def _outcome(work: Callable[[], Any]) -> tuple[Literal["returned", "skipped", "failed"], Any]:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        return "failed", OSError(ctypes.get_errno(), "unshare")
    try:
        raise_link("lo")
        return "returned", work()
    except pytest.skip.Exception as reason:  # pickle can't find pytest's classes, whose module claims to be builtins
        return "skipped", str(reason)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent raises it
        return "failed", error


def raise_link(name: str) -> None:
    """Set a link up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), IFF_UP))


def add_pod_link(address: str, address6: str = "") -> None:
    """Make a link `eth0` with `address`/24 and `address6`/64, so that these networks are not reached through `lo`."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - heavy, and only the child needs it

    with IPRoute() as route:
        route.link("add", ifname="eth0", kind="veth", peer="eth1")
        index = route.link_lookup(ifname="eth0")[0]
        route.addr("add", index=index, address=address, prefixlen=24)
        if address6:
            flags = IFA_F_NODAD
            route.addr("add", index=index, address=address6, prefixlen=64, family=socket.AF_INET6, flags=flags)
        route.link("set", index=index, state="up")
        route.link("set", index=route.link_lookup(ifname="eth1")[0], state="up")


@contextlib.contextmanager
def owner(uid: int) -> Iterator[None]:
    """Create sockets as `uid` (and the group of that number) during the block."""
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Return where a redirected connection was going."""
    if connection.family == socket.AF_INET6:
        packed = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, packed[8:24]), int.from_bytes(packed[2:4], "big")
    port, address = struct.unpack("=2x2s4s8x", connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
    return socket.inet_ntoa(address), int.from_bytes(port, "big")
