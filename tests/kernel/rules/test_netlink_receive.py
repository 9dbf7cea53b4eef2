"""Exchanges with the kernel that go wrong: lists that change while they are read, and answers that do not fit."""

import errno
import socket
from collections.abc import Callable

import pytest
from netns_helper import in_namespace

from sidelab.lab.errors import PodError
from sidelab.lab.netlink import nftables, receive, route
from sidelab.lab.netlink.nftables import Operation

pytestmark = pytest.mark.kernel

LO = 1
_MANY = 2000  # more than two parts of a dump hold, of 32 kB each


class Meddled(socket.socket):
    """A netlink socket about whose subject something changes right before each of its first `times` answers."""

    times = 0
    change: Callable[[], None]

    def recvmsg(self, *arguments: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, object]:
        """Change something, then receive."""
        if self.times:
            self.times -= 1
            self.change()
        return super().recvmsg(*arguments)


def address(number: int) -> str:
    """Return one of many addresses."""
    return f"10.{number >> 8}.{number & 255}.1"


def addresses(link: socket.socket) -> set[bytes]:
    """Return the messages of all IPv4 addresses."""
    return set(route.dump(link, route.GET_ADDRESSES, socket.AF_INET))


@pytest.mark.parametrize(("times", "whole"), [(0, True), (1, True), (1000, False)])
def test_a_list_of_addresses_that_changes_is_read_again(times: int, whole: bool) -> None:
    """Once it stays as it is for as long as it takes, it is whole; if it never does, that is said."""

    def work() -> tuple[int, int] | str:
        added = iter(range(_MANY, 10_000))
        with route.open_socket() as other:
            route.send(other, [route.address(LO, address(number)) for number in range(_MANY)])
            link = Meddled(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            link.times = times
            link.change = lambda: route.send(other, [route.address(LO, address(next(added)))])
            with link:
                try:
                    return len(addresses(link)), len(addresses(other))
                except PodError as error:
                    return str(error)

    found = in_namespace(work)
    if whole:
        assert (_MANY + 1 + times, _MANY + 1 + times) == found
    else:
        assert "changes faster than it can be read" in str(found)


def test_rules_that_change_are_read_again() -> None:
    """A transaction in the middle of a dump of nftables makes it begin anew."""

    def work() -> tuple[int, int]:
        tables = [Operation("add", nftables.NftTable(f"{'t' * 20}{number}")) for number in range(1000)]
        with nftables.open_socket() as other:
            nftables.send(other, nftables.encode(tuple(tables[:-1])))
            link = Meddled(socket.AF_NETLINK, socket.SOCK_RAW, nftables.NETLINK_NETFILTER)
            link.times = 1
            link.change = lambda: nftables.send(other, nftables.encode((tables[-1],)))
            with link:
                return len(nftables.dump(link)), link.times

    assert (1000, 0) == in_namespace(work)


def test_refusals_that_do_not_fit_the_socket_are_not_forgotten() -> None:
    """Where the buffer is too small for all answers, those that were tolerated do not hide those that were lost."""

    def work() -> tuple[str, bool]:
        again = [route.route(LO, address(number)) for number in range(500)]
        with route.open_socket() as link:
            route.send(link, [route.up(LO), *again])
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            with pytest.raises(PodError) as lost:
                route.send(link, again, {errno.EEXIST})
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            route.send(link, again, {errno.EEXIST})
            return str(lost.value), bool(receive.dump(link, route.GET_ROUTES, bytes([socket.AF_INET]).ljust(16, b"\0")))

    said, goes_on = in_namespace(work)
    assert "answers about links, addresses and routes were lost" in said
    assert goes_on


def test_a_refused_route_has_the_kernels_sentence() -> None:
    """Not only the error's number but which of many reasons it was."""

    def work() -> str:
        with route.open_socket() as link, pytest.raises(PodError) as refused:
            route.send(link, [route.route(LO, "10.1.0.1", gateway="192.0.2.1")])
        return str(refused.value)

    said = in_namespace(work)
    assert said.startswith("the kernel refused to add route 10.1.0.1: ")
    assert said.rstrip(".").endswith("Nexthop has invalid gateway")
