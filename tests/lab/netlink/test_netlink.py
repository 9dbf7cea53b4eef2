"""Netlink's header, attributes and exchanges, whatever the subsystem."""

import errno
import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.netlink import header, receive, route
from sidelab.lab.netlink.attributes import (
    INSIDE,
    NESTED,
    TEXT,
    U32,
    U64,
    Attribute,
    attribute,
    attributes,
    contents,
    pack,
    read,
)
from sidelab.lab.netlink.header import DONE, ERROR, Received

U16 = st.integers(0, 2**16 - 1)
NUMBERS = st.integers(0, 2**32 - 1)
MESSAGES = st.tuples(U16, U16, NUMBERS, st.binary(max_size=40))


def joined(messages: list[tuple[int, int, int, bytes]]) -> bytes:
    """Return messages as the kernel puts them behind each other: each padded to four bytes."""
    parts = [header.message(*each) for each in messages]
    return b"".join(each + bytes(-len(each) % 4) for each in parts)


@given(st.lists(MESSAGES, max_size=4))
@settings(deadline=None)
def test_messages_are_read_as_they_were_written(messages: list[tuple[int, int, int, bytes]]) -> None:
    """Type, flags, sequence number and body come back; every request says that it is one."""
    expected = [(kind, flags | header.REQUEST, sequence, body) for kind, flags, sequence, body in messages]
    assert expected == list(header.messages(joined(messages)))


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_a_message_that_is_cut_off_is_left_out(
    messages: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    """What is before it is read, it itself never in part."""
    whole = joined(messages)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    found = list(header.messages(cut))
    assert list(header.messages(whole))[: len(found)] == found


@given(st.binary(max_size=80), st.sampled_from([ERROR, DONE]), U16)
@settings(deadline=None)
def test_any_refusal_can_be_read(body: bytes, kind: int, flags: int) -> None:
    """Whatever a refusal carries, reading it raises nothing, and its reason is text."""
    assert header.refusal(Received(kind, flags, 7, body)).why


@pytest.mark.parametrize("capped", [True, False])
def test_a_refusal_has_the_kernels_sentence(capped: bool) -> None:
    """It stands behind our message's header, and behind all of our message where that is repeated."""
    ours = header.message(24, 0, 3, b"12345")
    repeated = ours[:16] if capped else ours + b"\0\0\0"
    said = attribute(1, b"Nexthop has invalid gateway\0") + attribute(2, struct.pack("=I", 28))
    flags = 0x200 | (0x100 if capped else 0)
    refused = header.refusal(Received(ERROR, flags, 3, struct.pack("=i", -errno.EHOSTUNREACH) + repeated + said))
    assert (3, errno.EHOSTUNREACH, 28) == (refused.sequence, refused.errno, refused.offset)
    assert "No route to host (EHOSTUNREACH): Nexthop has invalid gateway" == refused.why


@given(st.lists(st.tuples(st.integers(0, 2**14 - 1), st.binary(max_size=30)), max_size=5))
@settings(deadline=None)
def test_attributes_are_read_as_they_were_written(parts: list[tuple[int, bytes]]) -> None:
    """Numbers and contents come back in order, at multiples of four, nested or not."""
    data = b"".join(attribute(number | NESTED, content) for number, content in parts)
    assert parts == [(number, content) for _, number, content in attributes(data)]
    assert all(offset % 4 == 0 for offset, _, _ in attributes(data))


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_can_be_looked_through_for_attributes(noise: bytes) -> None:
    """Bytes that are no attributes raise nothing, and no content is longer than they are."""
    assert all(len(content) <= len(noise) for content in contents(noise).values())


DESCRIPTION = (
    Attribute(1, U32, "real"),
    Attribute(2, INSIDE, (Attribute(1, TEXT, "name", optional=True), Attribute(2, U64, "large", optional=True)), True),
    Attribute(3, U32, 5),
)


class Thing:
    """Something that is described."""

    def __init__(self, real: int, name: str, large: int) -> None:
        self.real, self.name, self.large = real, name, large


@given(NUMBERS, st.text("abc", max_size=5), st.integers(0, 2**64 - 1))
@settings(deadline=None)
def test_a_description_serves_both_directions(real: int, name: str, large: int) -> None:
    """What is packed is read again, and what is optional is left out where it is empty, its parent included."""
    packed = pack(DESCRIPTION, Thing(real, name, large))
    expected = {"real": real, "name": name, "large": large}
    assert {key: value for key, value in expected.items() if value or key == "real"} == read(
        DESCRIPTION, packed, strict=True
    )
    assert bool(name or large) == (2 in contents(packed))


GET_LINK = 18
LO = struct.pack("=BxHiII", 0, 0, 1, 0, 0)


def test_an_answer_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a list is never taken for the whole, and the socket serves the next request."""
    with route.open_socket() as link:
        with monkeypatch.context() as small:
            small.setattr(receive, "_RECEIVE_BYTES", 32)
            for asked in (receive.dump, receive.ask):
                with pytest.raises(OSError, match=r"too long|lost"):
                    asked(link, GET_LINK, LO)
        assert receive.dump(link, GET_LINK, LO)
        assert receive.ask(link, GET_LINK, LO)


def test_an_answer_left_over_is_not_taken_for_the_next() -> None:
    """What an exchange that failed did not read has another number than what is asked next."""
    with route.open_socket() as link:
        link.send(header.message(GET_LINK, 0, 0, LO))
        answers = receive.dump(link, route.GET_ADDRESSES, bytes([socket.AF_INET]).ljust(16, b"\0"))
        assert all(route.ADDRESS.unpack_from(body)[0] == socket.AF_INET for body in answers)
        assert struct.unpack_from("=BxHi", receive.ask(link, GET_LINK, LO))[2] == 1


def test_what_another_process_sends_is_no_answer() -> None:
    """Only the kernel's own port is believed."""
    with route.open_socket() as link, route.open_socket() as other:
        link.bind((0, 0))
        done = header.message(DONE, 0, receive.sequences(1)[0] + receive.MOST_NUMBERS, bytes(4))
        try:
            other.sendto(done, link.getsockname())
        except PermissionError:
            pytest.skip("only root may send to another's netlink socket")
        assert receive.dump(link, GET_LINK, LO)


def test_a_request_that_is_refused_has_its_reason() -> None:
    """The error has the kernel's number and name, and its sentence if it has one."""
    with route.open_socket() as link, pytest.raises(OSError, match=r"No such device \(ENODEV\)") as refused:
        receive.ask(link, GET_LINK, struct.pack("=BxHiII", 0, 0, 2**31 - 1, 0, 0))
    assert errno.ENODEV == refused.value.errno
    assert os.strerror(errno.ENODEV) in str(refused.value)
