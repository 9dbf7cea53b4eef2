"""The agent's resolver: Services' names from its table, everything else from the cluster's server."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dnslib
import pytest
from agent_rig import DEADLINE_S, meanwhile
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.cluster.state import Endpoint, Service, State
from sidecar.agent import forward
from sidecar.agent.dns import Resolver, local_answer, upstreams
from sidecar.agent.nametable import Addresses, table
from sidecar.proxy.loop import Loop

MEMBER = Endpoint(
    pod=("default", "db-0"), ipv4="10.244.0.3", ipv6="fd00:10:244::3", ready=True, targets=(), hostname="db-0"
)
STATE = State(
    services=(
        Service(namespace="default", name="web", ipv4="10.96.0.11", ipv6="", ports=(), endpoints=()),
        Service(namespace="shop", name="cart", ipv4="10.96.0.12", ipv6="fd00:10:96::c", ports=(), endpoints=(),
                families=("IPv4", "IPv6")),
        Service(namespace="default", name="db", ipv4="", ipv6="", ports=(), endpoints=(MEMBER,)),
    )
)  # fmt: skip
NAMES = table(STATE, "default")


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
        ("web", Addresses(("10.96.0.11",), ())),
        ("web.default", Addresses(("10.96.0.11",), ())),
        ("web.default.svc", Addresses(("10.96.0.11",), ())),
        ("web.default.svc.cluster.local", Addresses(("10.96.0.11",), ())),
        ("cart", None),
        ("cart.shop", Addresses(("10.96.0.12",), ("fd00:10:96::c",))),
        ("db", Addresses(("10.244.0.3",), ())),
        ("db-0.db.default.svc.cluster.local", Addresses(("10.244.0.3",), ())),
        ("example.com", None),
    ],
)
def test_a_service_has_its_names(name: str, addresses: Addresses | None):
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
    assert expected == read(local_answer(question(name, kind), NAMES))


@pytest.mark.parametrize(("name", "kind"), [("example.com", "A"), ("web", "SRV"), ("nothing.default", "A")])
def test_all_else_is_for_the_cluster(name: str, kind: str):
    """Other names, and other kinds of questions, have no answer of ours."""
    assert local_answer(question(name, kind), NAMES) is None


@contextmanager
def resolver(tmp_path: Path, *servers: str, learned: bool = True) -> Iterator[tuple[Loop, int]]:
    """Serve with these name servers."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("search x\n" + "".join(f"nameserver {each}\n" for each in servers))
    loop = Loop()
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
        sock.settimeout(DEADLINE_S)
        sock.sendto(packet, ("127.0.0.1", port))
        return sock.recv(4096)


def over_tcp(port: int, packet: bytes) -> bytes:
    """Ask over a connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as sock:
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
                    other.turn(DEADLINE_S)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                assert (5, []) == read(meanwhile(loop, lambda: ask(port, packet)))
            finally:
                done.set()
                other.call_threadsafe(lambda: None)
                thread.join(DEADLINE_S)


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


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_are_answered_or_passed_on(data: bytes):
    """Nothing that arrives on the port is a crash."""
    for packet in (data, question("web")[:12] + data, question("web")[: 12 + len(data) % 9] + data):
        local_answer(packet, NAMES)
