import struct

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.cluster.catalog import CLUSTER_DNS
from sidelab.lab.cluster.dns.replies import TTL_S, answer
from sidelab.lab.cluster.dns.zone import Zone
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State
from sidelab.lab.net.dns import EDNS_BYTES, UDP_BYTES


def crowd(pods: int) -> PublishedService:
    """Return a headless Service with as many pods that are ready."""
    endpoints = tuple(
        PublishedEndpoint(
            pod=("default", f"p{n}"), ipv4=f"10.244.{n >> 8}.{n & 255}", ipv6="", ready=True, targets=(80,)
        )
        for n in range(2, pods + 2)
    )
    ports = (PublishedPort(name="http", port=80, protocol="TCP"),)
    return PublishedService(
        namespace="default", name=f"crowd-{pods}", ipv4="", ipv6="", ports=ports, endpoints=endpoints
    )


WEB = PublishedService(namespace="default", name="web", ipv4="10.96.0.11", ipv6="", ports=(), endpoints=())
ZONE = Zone(State(generation=3, services=(CLUSTER_DNS, WEB, crowd(3), crowd(60), crowd(600))))


def query(name: str, kind: str = "A", *, edns: int = 0, version: int = 0) -> dnslib.DNSRecord:
    """Return a question below svc.cluster.local, as a stub resolver asks it."""
    whole = f"{name}.default.svc.cluster.local" if "." not in name else name
    asked = dnslib.DNSRecord.question(whole, kind)
    if edns:
        asked.add_ar(dnslib.EDNS0(udp_len=edns, version=version))
    return asked


def ask(asked: dnslib.DNSRecord, *, udp: bool = True, turn: int = 0) -> dnslib.DNSRecord:
    """Return the answer, which is one."""
    data = answer(ZONE, asked.pack(), udp=udp, turn=turn)
    assert data is not None
    return dnslib.DNSRecord.parse(data)


def test_an_answer_has_number_and_question_of_its_query():
    """It is authoritative, holds for five seconds and repeats the name as it was asked, capitals included."""
    asked = query("WeB.deFault.svc.cluster.local")
    said = ask(asked)
    assert (asked.header.id, 1, 1, 0) == (said.header.id, said.header.qr, said.header.aa, said.header.ra)
    assert "WeB.deFault.svc.cluster.local." == str(said.q.qname)
    assert [("10.96.0.11", TTL_S)] == [(str(each.rdata), each.ttl) for each in said.rr]


@pytest.mark.parametrize(("name", "kind", "status"), [("nobody", "A", "NXDOMAIN"), ("web", "AAAA", "NOERROR")])
def test_a_negative_answer_names_its_authority(name: str, kind: str, status: str):
    """The SOA's minimum says how long the absence may be believed (RFC 2308)."""
    said = ask(query(name, kind))
    assert (status, []) == (dnslib.RCODE[said.header.rcode], said.rr)
    (authority,) = said.auth
    assert ("cluster.local.", TTL_S, 3) == (str(authority.rname), authority.rdata.times[4], authority.rdata.times[0])


def test_names_outside_are_refused_without_authority():
    """The answer does not claim to know."""
    said = ask(query("example.com"))
    assert ("REFUSED", 0, [], []) == (dnslib.RCODE[said.header.rcode], said.header.aa, said.rr, said.auth)


@pytest.mark.parametrize("kind", ["AXFR", "IXFR"])
def test_transfers_are_refused(kind: str):
    """The zone is not given away as a whole."""
    assert "REFUSED" == dnslib.RCODE[ask(query("cluster.local", kind)).header.rcode]


def test_srv_brings_the_addresses_along():
    """A client needs no second question."""
    said = ask(query("_http._tcp.crowd-3.default.svc.cluster.local", "SRV"))
    assert 3 == len(said.rr) == len(said.ar)
    assert {str(each.rdata.target) for each in said.rr} == {str(each.rname) for each in said.ar}


def test_records_take_turns():
    """Each is first once, as most programs take the first."""
    assert {"10.244.0.2", "10.244.0.3", "10.244.0.4"} == {
        str(ask(query("crowd-3"), turn=turn).rr[0].rdata) for turn in range(3)
    }


@pytest.mark.parametrize(
    ("edns", "udp", "limit", "whole"),
    [(0, True, UDP_BYTES, False), (4096, True, EDNS_BYTES, True), (600, True, 600, False), (0, False, 65_535, True)],
)
def test_what_does_not_fit_is_truncated(edns: int, udp: bool, limit: int, whole: bool):
    """An answer fits what its way takes, is full up to that, and says so when there is more."""
    data = answer(ZONE, query("crowd-60", edns=edns).pack(), udp=udp)
    assert data is not None
    said = dnslib.DNSRecord.parse(data)
    assert (whole, whole) == (not said.header.tc, 60 == len(said.rr))
    assert len(data) <= limit
    assert whole or len(data) + 16 > limit


def test_a_large_answer_comes_whole_over_tcp():
    """Six hundred addresses are no problem there."""
    assert (0, 600) == ((said := ask(query("crowd-600"), udp=False)).header.tc, len(said.rr))


def test_edns_is_answered_with_edns_and_only_then():
    """The answer says how much we take; an unknown version is told (RFC 6891)."""
    assert [] == ask(query("web")).ar
    (said,) = ask(query("web", edns=4096)).ar
    assert ("OPT", EDNS_BYTES) == (dnslib.QTYPE[said.rtype], said.rclass)
    (refused,) = ask(query("web", edns=4096, version=1)).ar
    assert 1 == refused.ttl >> 24  # the high bits of BADVERS


@pytest.mark.parametrize(
    ("flags", "counts", "status"),
    [(0x2800, (1, 0, 0, 0), "NOTIMP"), (0, (0, 0, 0, 0), "FORMERR"), (0, (2, 0, 0, 0), "FORMERR")],
)
def test_what_is_no_single_question_is_answered_with_a_status(flags: int, counts: tuple[int, ...], status: str):
    """Updates are not implemented; several questions, or none, are no form of one."""
    data = answer(ZONE, struct.pack("!6H", 7, flags, *counts), udp=True)
    assert data is not None
    assert (7, 0x8000 | flags | getattr(dnslib.RCODE, status)) == struct.unpack_from("!2H", data)


@pytest.mark.parametrize("label", [b"\x40", b"\x77", b"\xbf"])
def test_a_label_of_a_reserved_kind_is_no_form_of_a_question(label: bytes):
    """RFC 1035, 4.1.4: a name that could not be written into the answer must not end the server."""
    name = label + b"a" * label[0] + b"\0"
    packet = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
    found = answer(ZONE, packet, udp=True)
    assert found is not None
    assert (7, 0x8100 | dnslib.RCODE.FORMERR) == struct.unpack_from("!2H", found)


def test_a_query_may_bring_what_miekgs_server_lets_pass():
    """Two additional records, of which one is OPT: a signature (TSIG) is not looked at."""
    asked = query("web", edns=4096)
    asked.add_ar(dnslib.RR("key", 250, rclass=255, ttl=0, rdata=dnslib.RD(b"x")))
    assert ["10.96.0.11"] == [str(each.rdata) for each in ask(asked).rr]


def test_responses_are_not_answered():
    """Two servers would otherwise talk for ever."""
    assert None is answer(ZONE, query("web").reply().pack(), udp=True)


@given(st.binary(max_size=80))
@settings(deadline=None, max_examples=400)
def test_any_bytes_are_survived(data: bytes):
    """Whatever comes, there is a response with its number, or silence."""
    found = answer(ZONE, data, udp=True)
    assert found is None or (data[:2], 0x80) == (found[:2], found[2] & 0x80)


@given(
    st.sampled_from(["web", "crowd-60", "_http._tcp.crowd-3.default.svc.cluster.local", "example.com"]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    st.integers(0, 100),
    st.booleans(),
)
@settings(deadline=None, max_examples=400)
def test_damaged_queries_are_survived(name: str, changes: list[tuple[int, int]], cut: int, udp: bool):
    """A query with bytes changed or missing gives an answer that can be parsed and fits, or silence."""
    data = bytearray(query(name, "SRV", edns=700).pack())
    for offset, value in changes:
        data[offset % len(data)] = value
    found = answer(ZONE, bytes(data[: len(data) - cut]), udp=udp)
    if found is not None:
        dnslib.DNSRecord.parse(found)
        assert len(found) <= (EDNS_BYTES if udp else 65_535)
