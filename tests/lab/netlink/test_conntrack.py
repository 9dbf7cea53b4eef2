"""Conntrack's entries, decoded from the kernel's messages and written as its tool writes them."""

import socket
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.errors import PodError
from sidelab.lab.netlink.attributes import NESTED, attribute
from sidelab.lab.netlink.conntrack import TCP_STATES, Direction, Entry, Statistics, decode
from sidelab.lab.netlink.nftables.messages import GENERIC

REDIRECTED = Entry(
    family=4,
    protocol=6,
    original=Direction("10.244.0.3", "10.244.0.2", 55486, 80),
    reply=Direction("10.244.0.2", "10.244.0.3", 15006, 55486),
    state="ESTABLISHED",
    timeout_s=431999,
    replied=True,
    assured=True,
)


def nested(kind: int, *inside: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(inside))


def numbers(*values: tuple[int, int, int]) -> bytes:
    """Return an attribute for each (kind, width in bytes, value)."""
    return b"".join(attribute(kind, value.to_bytes(width, "big")) for kind, width, value in values)


def tuple_of(kind: int, family: int, protocol: int, direction: Direction) -> bytes:
    """Return a tuple as the kernel writes it (ctnetlink_dump_tuples)."""
    v6 = family == 6
    inet = socket.AF_INET6 if v6 else socket.AF_INET
    addresses = [
        attribute(number + 2 * v6, socket.inet_pton(inet, address))
        for number, address in ((1, direction.source), (2, direction.destination))
    ]
    icmp = 3 if v6 else 0
    about = numbers((1, 1, protocol))
    for number, width, value in (
        (2, 2, direction.source_port),
        (3, 2, direction.destination_port),
        (4 + icmp, 2, direction.icmp_id),
        (5 + icmp, 1, direction.icmp_type),
        (6 + icmp, 1, direction.icmp_code),
    ):
        if value is not None:
            about += numbers((number, width, value))
    return nested(kind, nested(1, *addresses), nested(2, about))


def message(entry: Entry) -> bytes:
    """Return the body of the kernel's message about `entry`."""
    inet = socket.AF_INET6 if entry.family == 6 else socket.AF_INET
    body = tuple_of(1, entry.family, entry.protocol, entry.original)
    body += tuple_of(2, entry.family, entry.protocol, entry.reply)
    body += numbers((3, 4, 8 | 2 * entry.replied | 4 * entry.assured), (7, 4, entry.timeout_s))
    if entry.state:
        body += nested(4, nested(1, numbers((1, 1, TCP_STATES.index(entry.state)), (2, 1, 7))))
    body += numbers((8, 4, entry.mark), (11, 4, entry.users))
    for kind, direction in ((9, entry.original), (10, entry.reply)):
        if direction.packets is not None and direction.bytes is not None:
            body += nested(kind, numbers((1, 8, direction.packets), (2, 8, direction.bytes)))
    if entry.zone:
        body += numbers((18, 2, entry.zone))
    return GENERIC.pack(inet, 0, 0) + body


def directions(family: int) -> st.SearchStrategy[Direction]:
    """Return tuples of that family, of protocols with ports."""
    text = (st.ip_addresses(v=4) if family == 4 else st.ip_addresses(v=6)).map(
        lambda ip: socket.inet_ntop(
            socket.AF_INET if ip.version == 4 else socket.AF_INET6, ip.packed
        )  # glibc's spelling of ::ffff:0:0/96
    )
    port, count = st.integers(0, 65535), st.integers(0, 2**64 - 1)
    return st.builds(Direction, text, text, port, port, packets=count, bytes=count)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """Return entries that the kernel could tell."""
    family = draw(st.sampled_from((4, 6)))
    return Entry(
        family,
        draw(st.sampled_from((6, 17, 132))),
        draw(directions(family)),
        draw(directions(family)),
        draw(st.sampled_from(("", *TCP_STATES))),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.integers(0, 65535)),
        draw(st.integers(1, 100)),
    )


@settings(deadline=None, max_examples=200)
@given(entries())
def test_every_entry_is_read_as_it_was_told(entry: Entry):
    """What the kernel says of a connection is what `decode` returns."""
    assert entry == decode(message(entry))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_noise_is_refused_as_such(noise: bytes):
    """Bytes that are no entry raise `PodError` and nothing else."""
    with pytest.raises(PodError):
        decode(noise)


@settings(deadline=None, max_examples=300)
@given(entries(), st.data())
def test_a_damaged_message_is_read_or_refused(entry: Entry, data: st.DataObject):
    """Whatever byte is changed, wherever it is cut: the answer is an entry or `PodError`."""
    damaged = bytearray(message(entry))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(decode(bytes(damaged[: data.draw(st.integers(0, len(damaged)))])), Entry)
    except PodError:
        return


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        pytest.param(
            REDIRECTED,
            "tcp      6 431999 ESTABLISHED src=10.244.0.3 dst=10.244.0.2 sport=55486 dport=80 "
            "src=10.244.0.2 dst=10.244.0.3 sport=15006 dport=55486 [ASSURED] mark=0 use=1",
            id="redirected",
        ),
        pytest.param(
            Entry(
                family=4,
                protocol=17,
                original=Direction("10.0.0.1", "10.0.0.10", 4000, 53, packets=1, bytes=29),
                reply=Direction("127.0.0.1", "10.0.0.1", 15053, 4000, packets=0, bytes=0),
                timeout_s=30,
                zone=2,
            ),
            "udp      17 30 src=10.0.0.1 dst=10.0.0.10 sport=4000 dport=53 packets=1 bytes=29 [UNREPLIED] "
            "src=127.0.0.1 dst=10.0.0.1 sport=15053 dport=4000 packets=0 bytes=0 mark=0 zone=2 use=1",
            id="unreplied, counted, in a zone",
        ),
        pytest.param(
            Entry(
                family=6,
                protocol=58,
                original=Direction("::1", "::1", icmp_type=128, icmp_code=0, icmp_id=7),
                reply=Direction("::1", "::1", icmp_type=129, icmp_code=0, icmp_id=7),
                replied=True,
                mark=1337,
            ),
            "icmpv6   58 0 src=::1 dst=::1 type=128 code=0 id=7 src=::1 dst=::1 type=129 code=0 id=7 mark=1337 use=1",
            id="echo",
        ),
    ],
)
def test_a_line_is_the_tools_line(entry: Entry, line: str):
    """An entry reads as in `conntrack -L`: parts that do not apply are left out."""
    assert line == str(entry)
    assert entry == decode(message(entry))


def test_tuples_of_two_protocols_are_refused():
    """Both tuples of a connection are of one protocol; anything else is no entry."""
    other = message(replace(REDIRECTED, protocol=17))
    mixed = other[:4] + message(REDIRECTED)[4:64] + other[64:]
    with pytest.raises(PodError, match="can't be read"):
        decode(mixed)


def test_json_has_both_tuples_and_the_protocols_name():
    """An entry as JSON values has every field, nested by direction."""
    told = REDIRECTED.to_json()
    assert ("tcp", 6, "10.244.0.2", 15006) == (
        told["protocol_name"],
        told["protocol"],
        told["reply"]["source"],
        told["reply"]["source_port"],
    )


def test_statistics_read_as_words():
    """A number that this kernel does not tell is left out."""
    assert str(Statistics(3, None, invalid=1)).startswith("entries=3 found=0 invalid=1 insert=0 ")
