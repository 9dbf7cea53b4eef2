"""The agent's resolver: Services' names from its table, everything else from the cluster's server."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dnslib
import pytest
from agent_rig import meanwhile
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import PATIENCE_S

from sidelab.lab.cluster.dns.replies import answer
from sidelab.lab.cluster.dns.zone import Zone
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedService, State
from sidelab.lab.net import dns
from sidelab.sidecar.agent.dns import forward
from sidelab.sidecar.agent.dns.nametable import NameAddresses, table
from sidelab.sidecar.agent.dns.resolver import Resolver, local_answer, upstreams
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

MEMBER = PublishedEndpoint(
    pod=("default", "db-0"), ipv4="10.244.0.3", ipv6="fd00:10:244::3", ready=True, targets=(), hostname="db-0"
)
STATE = State(
    services=(
        PublishedService(namespace="default", name="web", ipv4="10.96.0.11", ipv6="", ports=(), endpoints=()),
        PublishedService(namespace="shop", name="cart", ipv4="10.96.0.12", ipv6="fd00:10:96::c", ports=(), endpoints=(),
                families=("IPv4", "IPv6")),
        PublishedService(namespace="default", name="db", ipv4="", ipv6="", ports=(), endpoints=(MEMBER,)),
    )
)  # fmt: skip
NAMES = table(STATE, "default")


CROWD = tuple(f"10.244.1.{number}" for number in range(60))


def local(packet: bytes, *, udp: bool = True, turn: int = 0) -> bytes | None:
    """Return what the agent answers itself; the test's query is one."""
    query = dns.read(packet, udp=udp)
    assert isinstance(query, dns.Query)
    return local_answer(query, {**NAMES, "crowd": NameAddresses(CROWD, ())}, turn)


def question(name: str, kind: str = "A") -> bytes:
    """Return a query's bytes."""
    return bytes(dnslib.DNSRecord.question(name, kind).pack())


def read(packet: bytes | None) -> tuple[int, list[tuple[str, int]]]:
    """Return status, and data and TTL of each record, of a response."""
    assert packet is not None
    record = dnslib.DNSRecord.parse(packet)
    assert record.header.qr
    return record.header.rcode, [(str(each.rdata), each.ttl) for each in record.rr]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("web", NameAddresses(("10.96.0.11",), ())),
        ("web.default", NameAddresses(("10.96.0.11",), ())),
        ("web.default.svc", NameAddresses(("10.96.0.11",), ())),
        ("web.default.svc.cluster.local", NameAddresses(("10.96.0.11",), ())),
        ("cart", None),
        ("cart.shop", NameAddresses(("10.96.0.12",), ("fd00:10:96::c",))),
        ("db", NameAddresses(("10.244.0.3",), ())),
        ("db-0.db.default.svc.cluster.local", NameAddresses(("10.244.0.3",), ())),
        ("example.com", None),
    ],
)
def test_a_service_has_its_names(name: str, addresses: NameAddresses | None):
    """The full one, and shorter ones as far as the pod's namespace makes them plain; headless is its endpoints."""
    assert addresses == NAMES.get(name)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("WEB.default.svc.Cluster.local", "A", (0, [("10.96.0.11", 30)])),
        ("web", "AAAA", (0, [])),
        ("cart.shop", "AAAA", (0, [("fd00:10:96::c", 30)])),
    ],
)
def test_names_of_services_are_answered_here(name: str, kind: str, expected: tuple[int, list[tuple[str, int]]]):
    """For thirty seconds, in any case of letters; a family without an address is an empty answer."""
    assert expected == read(local(question(name, kind)))


@pytest.mark.parametrize(("name", "kind"), [("example.com", "A"), ("web", "SRV"), ("nothing.default", "A")])
def test_all_else_is_for_the_cluster(name: str, kind: str):
    """Other names, and other kinds of questions, have no answer of ours."""
    assert local(question(name, kind)) is None


@contextmanager
def resolver(tmp_path: Path, *servers: str, learned: bool = True) -> Iterator[tuple[ProxyLoop, int]]:
    """Serve with these name servers."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("search x\n" + "".join(f"nameserver {each}\n" for each in servers))
    loop = ProxyLoop()
    served = Resolver(loop, 0, "default", str(conf))
    if learned:
        served.learn(STATE)
    try:
        yield loop, served.port
    finally:
        served.close()
        loop.turn(0)
        loop.close()


def over_udp(port: int, packet: bytes) -> bytes:
    """Ask by datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.sendto(packet, ("127.0.0.1", port))
        return sock.recv(4096)


def over_tcp(port: int, packet: bytes) -> bytes:
    """Ask over a connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock:
        sock.sendall(len(packet).to_bytes(2, "big") + packet)
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            part = sock.recv(4096)
            assert part
            data += part
        return data[2:]


Ask = Callable[[int, bytes], bytes]
BOTH = pytest.mark.parametrize("ask", [over_udp, over_tcp])


@BOTH
def test_both_transports_answer(tmp_path: Path, ask: Ask):
    """UDP and TCP know the same names."""
    with resolver(tmp_path) as (loop, port):
        assert (0, [("10.96.0.11", 30)]) == read(meanwhile(loop, lambda: ask(port, question("web"))))


@BOTH
def test_before_there_is_a_table_it_fails_for_the_moment(tmp_path: Path, ask: Ask):
    """SERVFAIL, so that the client asks again."""
    with resolver(tmp_path, learned=False) as (loop, port):
        assert (2, []) == read(meanwhile(loop, lambda: ask(port, question("web"))))


@BOTH
def test_other_names_are_asked_upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask):
    """By the way they came, and the answer is passed on as it is."""
    with resolver(tmp_path) as (other, upstream):
        monkeypatch.setattr(forward, "PORT", upstream)
        (tmp_path / "down").mkdir()
        with resolver(tmp_path / "down", "127.0.0.1") as (loop, port):
            packet = question("web", "TXT")
            # The one upstream has no server of its own, and refuses.

            done = threading.Event()

            def serve() -> None:
                while not done.is_set():
                    other.turn(PATIENCE_S)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                assert (5, []) == read(meanwhile(loop, lambda: ask(port, packet)))
            finally:
                done.set()
                other.call_threadsafe(lambda: None)
                thread.join(PATIENCE_S)


@BOTH
def test_an_upstream_that_is_not_there_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Ask):
    """SERVFAIL as soon as it is known, or when time is up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        monkeypatch.setattr(forward, "PORT", silent.getsockname()[1])
        monkeypatch.setattr(forward, "PATIENCE_S", 0.05)
        with resolver(tmp_path, "127.0.0.1") as (loop, port):
            assert (2, []) == read(meanwhile(loop, lambda: ask(port, question("example.com"))))


def test_resolv_conf_names_the_servers(tmp_path: Path):
    """Comments, options and words that are no address are passed over."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("# nameserver 1.1.1.1\nsearch a b\nnameserver 10.96.0.10\nnameserver fd00::a\nnameserver x\n")
    assert ["10.96.0.10", "fd00::a"] == upstreams(conf)
    assert [] == upstreams(tmp_path / "none")


def edns(name: str, size: int, version: int = 0) -> bytes:
    """Return a query's bytes with an OPT record."""
    asked = dnslib.DNSRecord.question(name)
    asked.add_ar(dnslib.EDNS0(udp_len=size, version=version))
    return bytes(asked.pack())


@pytest.mark.parametrize(
    ("packet", "udp", "limit", "whole"),
    [
        (question("crowd"), True, 512, False),
        (question("crowd"), False, 65_535, True),
        (edns("crowd", 600), True, 600, False),
        (edns("crowd", 100), True, 512, False),
        (edns("crowd", 65_535), True, 1232, True),
    ],
)
def test_what_does_not_fit_is_truncated_as_by_the_cluster(packet: bytes, udp: bool, limit: int, whole: bool):
    """The agent's answer and the cluster's have the same bound, are full up to it, and say so when there is more."""
    found = local(packet, udp=udp)
    assert found is not None
    said = dnslib.DNSRecord.parse(found)
    assert (whole, whole) == (not said.header.tc, len(said.rr) == len(CROWD))
    assert len(found) <= limit
    assert whole or len(found) + 16 > limit
    assert [dns.EDNS_BYTES] * (b"\0\0\x29" in packet) == [each.rclass for each in said.ar]


def test_addresses_take_turns():
    """Each is first once, as Istio shuffles them and as the cluster's server does."""
    assert {*CROWD} == {read(local(question("crowd"), udp=False, turn=turn))[1][0][0] for turn in range(len(CROWD))}


@pytest.mark.parametrize(
    ("packet", "status", "questions"),
    [
        (edns("web", 4096, version=1), 16, 1),
        (b"\0\7\x28\0\0\1\0\0\0\0\0\0" + question("web")[12:], 4, 0),
        (b"\0\7\1\0\0\2\0\0\0\0\0\0" + question("web")[12:] * 2, 1, 0),
        (b"\0\7\1\0\0\0\0\0\0\0\0\0", 1, 0),
        (b"\0\7\1\0\0\1\0\0\0\0\0\0\x77" + b"a" * 0x77 + b"\0\0\1\0\1", 1, 0),
        (b"\0\7\1\0\0\1\0\0\0\0\0\0\3web", 1, 0),
    ],
)
@BOTH
def test_refusals_are_the_clusters(tmp_path: Path, packet: bytes, status: int, questions: int, ask: Ask):
    """Byte for byte: an unknown version of EDNS, an update, two questions or none, and what is damaged."""
    with resolver(tmp_path) as (loop, port):
        found = meanwhile(loop, lambda: ask(port, packet))
    assert answer(Zone(STATE), packet, udp=ask is over_udp) == found
    said = dnslib.DNSRecord.parse(found)
    code = said.header.rcode + sum(each.ttl >> 24 << 4 for each in said.ar)
    assert (status, questions) == (code, len(said.questions))


@BOTH
@pytest.mark.parametrize("learned", [True, False])
def test_a_failure_is_edns_where_its_query_was(tmp_path: Path, ask: Ask, learned: bool):
    """As every answer is, the cluster's too: how much is taken, and of the number only the header's four bits."""
    with resolver(tmp_path, learned=learned) as (loop, port):
        said = [
            dnslib.DNSRecord.parse(meanwhile(loop, lambda packet=packet: ask(port, packet)))
            for packet in (edns("example.com", 600), question("example.com"))
        ]
    assert [5 if learned else 2] * 2 == [each.header.rcode for each in said]
    assert [[("OPT", dns.EDNS_BYTES, 0)], []] == [
        [(dnslib.QTYPE[each.rtype], each.rclass, each.ttl) for each in one.ar] for one in said
    ]


def test_a_failure_repeats_its_question(tmp_path: Path):
    """A stub resolver would wait on for a response that has it (glibc's `res_queriesmatch`)."""
    with resolver(tmp_path, learned=False) as (loop, port):
        found = meanwhile(loop, lambda: over_udp(port, question("Web.Shop")))
    assert "Web.Shop." == str(dnslib.DNSRecord.parse(found).q.qname)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_are_answered_or_passed_on(data: bytes):
    """Nothing that arrives on the port is a crash."""
    for packet in (data, question("web")[:12] + data, question("web")[: 12 + len(data) % 9] + data):
        query = dns.read(packet, udp=True)
        if isinstance(query, dns.Query):
            local_answer(query, NAMES)
        elif query is not None:
            assert packet[:2] == query[:2]
            assert len(dns.refused(packet, dns.SERVFAIL)) >= len(query)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 2000), max_size=6))
def test_messages_over_tcp_come_out_as_they_went_in(messages: list[bytes], cuts: list[int]):
    """In whatever pieces the connection gives them."""
    data = b"".join(map(dns.framed, messages))
    read_, found, start = dns.Messages(), list[bytes](), 0
    for end in sorted({each % (len(data) + 1) for each in cuts} | {len(data)}):
        found += read_.feed(data[start:end])
        start = end
    assert messages == found
