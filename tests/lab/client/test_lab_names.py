"""Names of labs: whose a name is, whoever else binds names like it; nothing is started."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sidelab.lab.client import lab_names, meeting
from sidelab.lab.errors import InputError
from sidelab.lab.netlink import unix_sockets

NAME = f"names-{os.getpid()}"
OTHER = 65534


@pytest.fixture
def squatted() -> Iterator[list[bytes]]:
    """Bind what another user may bind in the hope that it is taken for a lab of ours; return the addresses."""
    prefix = f"\0sidelab/{os.getuid()}/"
    tails = (
        NAME,
        f"{NAME}/{'0' * 16}",
        "x\x1b]0;title\x07",
        "x\x1b]0;title\x07/0123456789abcdef",
        f"{NAME}/\n",
        "",
        "/",
    )
    addresses = [f"{prefix}{tail}".encode() for tail in tails] + [f"{prefix}{NAME}/".encode() + bytes(range(128, 200))]
    sockets = []
    for address in addresses:
        sockets.append(socket.socket(socket.AF_UNIX))
        if not os.getuid():
            os.fchown(sockets[-1].fileno(), OTHER, OTHER)  # what the kernel goes by; a socket has no other owner
        sockets[-1].bind(address)
        sockets[-1].listen(0)
    yield addresses
    for each in sockets:
        each.close()


def test_a_name_is_claimed_once():
    """The second claim is refused with the cure; and the name is free again once the first one's socket is closed."""
    with lab_names.claim(NAME):
        assert [NAME] == [each.lab for each in lab_names.claimed(os.getuid()) if each.lab == NAME]
        with pytest.raises(InputError, match=f"{NAME}' is already running: choose another --lab"):
            lab_names.claim(NAME)
    lab_names.claim(NAME).close()
    assert NAME not in lab_names.running()


def test_of_many_claims_at_once_one_at_most_succeeds():
    """Whoever claims a name at the same moment as others never shares it, and one of a few gets it."""

    def claim(_: int) -> socket.socket | None:
        try:
            return lab_names.claim(NAME)
        except InputError:
            return None

    with ThreadPoolExecutor(4) as pool:
        for _ in range(10):
            held = [each for each in pool.map(claim, range(4)) if each is not None]
            assert len(held) <= 1
            for each in held:
                each.close()


@pytest.mark.skipif(bool(os.getuid()), reason="only root can bind a socket as somebody else")
def test_what_others_bind_is_no_lab_of_ours(squatted: list[bytes]):
    """It is not listed, occupies no name, and is not connected to."""
    assert [] == [each for each in lab_names.claimed(os.getuid()) if each.address in squatted]
    with lab_names.claim(NAME):
        assert 1 == len(lab_names.addresses(NAME))


@pytest.mark.skipif(bool(os.getuid()), reason="only root can bind a socket as somebody else")
def test_a_flood_of_names_is_passed_over():
    """None of them is connected to, so that none can hold up a command."""
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(500)]
    try:
        for number, each in enumerate(sockets):
            os.fchown(each.fileno(), OTHER, OTHER)
            each.bind(f"\0sidelab/0/{NAME}/{number:016x}")
            each.listen(0)
        with lab_names.claim(NAME):
            assert 1 == len(lab_names.addresses(NAME))
    finally:
        for each in sockets:
            each.close()


def test_a_name_that_can_not_be_one_is_never_listed():
    """Whoever owns the socket: what reaches a terminal is a lab's name."""
    with socket.socket(socket.AF_UNIX) as link:
        link.bind(f"\0sidelab/{os.getuid()}/x\x1b[31m/0123456789abcdef".encode())
        assert [] == [each for each in lab_names.running() if not each.replace("-", "").isalnum()]


def test_without_unix_diag_names_are_read_from_proc(monkeypatch: pytest.MonkeyPatch):
    """A kernel that can't be asked lists what is bound, without its owner; the connection tells that."""

    def refused(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(unix_sockets, "bound", refused)
    with lab_names.claim(NAME) as listener:
        (found,) = [each for each in lab_names.claimed(os.getuid()) if each.lab == NAME]
        assert (listener.getsockname(), False) == (found.address, found.listens)
        listener.listen(1)
        assert [True] == [each.listens for each in lab_names.claimed(os.getuid()) if each.lab == NAME]


def test_proc_lists_a_name_once():
    """/proc/net/unix shows abstract names with an @, and a line for each connection."""
    text = (
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 10 @sidelab/0/two/0123456789abcdef\n"
        "0000000000000000: 00000003 00000000 00000000 0001 03 11 @sidelab/0/two/0123456789abcdef\n"
        "0000000000000000: 00000002 00000000 00000000 0001 01 12 @sidelab/0/one/0123456789abcdef\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 13 @sidelab/1000/other/0123456789abcdef\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 14 /run/dbus/system_bus_socket\n"
        "0000000000000000: 00000002 00000000 00000000 0001 01 15\n"
    )
    expected = [("sidelab/0/two/0123456789abcdef", True), ("sidelab/0/one/0123456789abcdef", False)]
    assert expected == lab_names._listed(text, "sidelab/0/")


def test_an_owner_is_known_before_a_socket_listens():
    """The kernel says it of every bound socket, and of those that are not ours too."""
    with unix_sockets.open_socket() as link, socket.socket(socket.AF_UNIX) as own:
        own.bind(f"\0{NAME}".encode())
        assert [(NAME.encode(), os.getuid(), False)] == list(unix_sockets.bound(link, NAME.encode()))
        own.listen(1)
        assert [True] == [each.listens for each in unix_sockets.bound(link, NAME.encode())]


def test_home_is_where_sockets_are_opened():
    """A netlink socket, too, is opened where labs are looked for."""
    with meeting.open_home(unix_sockets.open_socket) as link:
        assert socket.AF_NETLINK == link.family
