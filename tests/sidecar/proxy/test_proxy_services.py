"""The proxy with real sockets between clients and Services, and what a running one follows when its intent changes."""

import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from proxy_rig import Notes, Rig, read_all, read_until, rig, server, serving
from tools import PATIENCE_S

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.intent import (
    InboundPort,
    Intent,
    IntentEndpoint,
    IntentService,
    IntentServicePort,
    Ports,
    Protocol,
)
from sidelab.sidecar.proxy.http.message import Limits
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.stats.proxy_counters import ClusterCounters
from sidelab.sidecar.proxy.upstreams.cluster import KEPT_HOSTS, OriginalDestinations
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings

VIP = ("10.96.0.7", 8080)
HOST = "shop.default.svc.cluster.local"
CLUSTER = f"cluster.outbound|8080||{HOST}"
REQUEST = b"GET / HTTP/1.1\r\nHost: shop:8080\r\nConnection: close\r\n\r\n"
STRANGER = REQUEST.replace(b"shop:8080", b"example.org")


def _says(name: bytes) -> Callable[[socket.socket], None]:
    """Return a server's script that answers each request with `name`."""

    def serve(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))

    return serve


def _greets(connection: socket.socket) -> None:
    connection.sendall(b"220 mail ESMTP\r\n")
    assert b"QUIT\r\n" == connection.recv(100)
    connection.sendall(b"221 bye\r\n")


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def _intent(*endpoints: Destination, protocol: Protocol = "http", **fields: Any) -> Intent:
    ports = IntentServicePort(
        port=8080,
        protocol=protocol,
        endpoints=tuple(
            IntentEndpoint(address=address, port=port, pod=f"default/shop-{at}")
            for at, (address, port) in enumerate(endpoints)
        ),
    )
    service = IntentService(host=HOST, addresses=(VIP[0],), ports=(ports,))
    return msgspec.structs.replace(Intent(services=(service,), drain_s=20.0), **fields)


def _unused() -> Destination:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address, port = closed.getsockname()
        return address, port


@pytest.mark.parametrize("protocol", ["auto", "http"])
def test_service_is_reached_by_its_address(protocol: Protocol) -> None:
    """A request to a Service's virtual address is answered by its endpoint, and counted for its cluster."""
    with server(_says(b"one")) as one, serving(_intent(one, protocol=protocol), VIP) as proxy:
        notes = proxy.watch()
        assert proxy.ask(REQUEST, proxy.outbound).endswith(b"\r\n\r\none")
        proxy.check_nothing_leaked()
        assert 1 == proxy.counters()[f"{CLUSTER}.upstream_rq_2xx"]
    assert [(("outbound", HOST, "default/shop-0", 200, "-"), 0, 3)] == notes.requests
    (outcome,) = notes.outcomes
    assert (f"127.0.0.1:{one[1]}", f"outbound|8080||{HOST}") == (outcome.upstream_host, outcome.cluster)
    assert ("10.96.0.7:8080", "via_upstream", "default") == (outcome.downstream_local, outcome.details, outcome.route)


def test_host_chooses_the_service_on_its_port() -> None:
    """On a Service's port a request to any address goes where its Host field says, else to where it was going."""
    with server(_says(b"one")) as one, server(_says(b"world")) as world:
        names = _intent(one).services[0]
        on_port = msgspec.structs.replace(names.ports[0], port=world[1])
        intent = Intent(services=(msgspec.structs.replace(names, ports=(on_port,)),))
        with serving(intent, world) as proxy:
            assert proxy.ask(REQUEST, proxy.outbound).endswith(b"one")
            assert proxy.ask(STRANGER, proxy.outbound).endswith(b"world")
            assert proxy.ask(STRANGER.replace(b"/ HTTP", b"http://shop/ HTTP"), proxy.outbound).endswith(b"one")


def test_absolute_target_decides_and_goes_on_as_a_path() -> None:
    """The authority of an absolute target replaces Host, so that proxy and application see the same one."""

    def tell(connection: socket.socket) -> None:
        said = connection.recv(65536).partition(b"\r\n\r\n")[0]
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))

    with server(tell) as one, serving(_intent(one), VIP) as proxy:
        got = proxy.ask(STRANGER.replace(b"/ HTTP", b"http://shop:8080/a?b HTTP"), proxy.outbound)
        assert got.endswith(b"\r\n\r\nGET /a?b HTTP/1.1\r\nhost: shop:8080")


def test_registry_only_blocks() -> None:
    """With REGISTRY_ONLY an unknown Host gets 502 and `direct_response`, an unknown destination is closed at once."""
    with server(_says(b"one")) as one, serving(_intent(one, outbound_policy="REGISTRY_ONLY"), VIP) as proxy:
        notes = proxy.watch()
        assert proxy.ask(STRANGER, proxy.outbound).startswith(b"HTTP/1.1 502 ")
        proxy.destination = ("192.0.2.1", 443)
        assert b"" == read_all(proxy.dial(proxy.outbound))
        proxy.check_nothing_leaked()
        assert 1 == proxy.counters()["tcp.BlackHoleCluster.downstream_cx_total"]
    web, bytes_ = notes.outcomes
    assert ("direct_response", "block_all", "-", "") == (web.details, web.route, web.flags, web.cluster)
    assert ("UH", "BlackHoleCluster") == (bytes_.flags, bytes_.cluster)
    assert [(("outbound", "BlackHoleCluster", "", 0, "UH"), 0, 0)] == notes.ends


def test_no_endpoint_is_uh() -> None:
    """A Service without ready endpoints answers 503 UH, and closes what is no HTTP."""
    with serving(_intent(), VIP) as proxy:
        notes = proxy.watch()
        assert proxy.ask(REQUEST, proxy.outbound).endswith(b"no healthy upstream")
        proxy.update(_intent(protocol="tcp"))
        notes_of_bytes = proxy.watch()
        assert b"" == read_all(proxy.dial(proxy.outbound))
        proxy.check_nothing_leaked()
    assert [("outbound", HOST, "", 503, "UH")] == [key for key, _, _ in notes.requests]
    assert ["UH"] == [outcome.flags for outcome in notes_of_bytes.outcomes]


def test_dead_endpoint_is_passed_over() -> None:
    """A request whose endpoint refuses goes to another one, whatever its method; the client notices nothing."""
    post = b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 2\r\n\r\nhi"
    with server(_says(b"one")) as one, serving(_intent(_unused(), one), VIP) as proxy:
        for _ in range(20):
            assert proxy.ask(post, proxy.outbound).endswith(b"one")
        counters = proxy.stop()
    assert 20 == counters[f"{CLUSTER}.upstream_rq_2xx"]
    assert counters[f"{CLUSTER}.upstream_cx_connect_fail"] == counters[f"{CLUSTER}.upstream_rq_retry"] > 0


def test_dead_service_is_tried_three_times() -> None:
    """When all endpoints refuse, the answer after two retries is 503 with UF and URX, in Envoy's words."""
    with serving(_intent(_unused()), VIP) as proxy:
        notes = proxy.watch()
        assert b"delayed connect error: Connection refused" in proxy.ask(REQUEST, proxy.outbound)
        proxy.check_nothing_leaked()
        counters = proxy.counters()
    assert (3, 2) == (counters[f"{CLUSTER}.upstream_cx_total"], counters[f"{CLUSTER}.upstream_rq_retry"])
    (outcome,) = notes.outcomes
    assert (503, "URX,UF") == (outcome.status, outcome.flags)
    assert "delayed_connect_error:_Connection_refused" == outcome.transport_failure
    assert outcome.details == (
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    )


def test_load_spreads_over_endpoints() -> None:
    """Requests that are open at the same time are spread: of two endpoints neither gets all."""
    arrived, answer = threading.Barrier(9), threading.Event()

    def wait(connection: socket.socket) -> None:
        connection.recv(65536)
        arrived.wait(PATIENCE_S)
        answer.wait(PATIENCE_S)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with server(wait) as one, server(wait) as other, serving(_intent(one, other), VIP) as proxy:
        clients = [proxy.dial(proxy.outbound) for _ in range(8)]
        for client in clients:
            client.sendall(REQUEST)
        arrived.wait(PATIENCE_S)
        cluster = proxy._proxy._traffic.clusters[f"outbound|8080||{HOST}"]
        assert [4, 4] == [host.active for host in cluster.hosts]
        answer.set()
        for client in clients:
            assert read_all(client).startswith(b"HTTP/1.1 200 ")


def test_server_that_speaks_first_is_waited_for() -> None:
    """A client that says nothing for the time of detection is taken for one whose server speaks first."""
    with rig("auto", _greets, detection_timeout_s=0.02) as proxy:
        for port in (proxy.inbound, proxy.outbound):
            client = proxy.dial(port)
            assert b"220 mail ESMTP\r\n" == read_until(client, b"\n")
            client.sendall(b"QUIT\r\n")
            assert b"221 bye\r\n" == read_all(client)
            client.close()
        proxy.check_nothing_leaked()


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"*1\r\n$4\r\nPING\r\n"])
def test_detection_passes_other_protocols_as_bytes(first: bytes) -> None:
    """TLS, HTTP/2 and everything else reaches the server byte for byte, in how many pieces it may come."""
    with rig("auto", _echo, detection_timeout_s=5.0) as proxy:
        for pieces in ([first], [first[:1], first[1:]]):
            client = proxy.dial()
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
            assert first == read_all(client)
        counters = proxy.stop()
    assert 2 == counters["tcp.InboundPassthroughCluster.downstream_cx_total"]


def test_detection_finds_http() -> None:
    """A request in pieces is found to be one, and its connection is kept alive."""
    with rig("auto", _says(b"one"), detection_timeout_s=5.0) as proxy:
        client = proxy.dial()
        for piece in (b"G", b"ET / HT", b"TP/1.1\r\nHo", b"st: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
            client.sendall(piece)
        got = read_until(client, b"one")
        while got.count(b"200 OK") < 2:
            got += client.recv(65536)
        counters = proxy.stop()
    assert 2 == counters["http.inbound_0.0.0.0_15006.downstream_rq_2xx"]


@pytest.mark.parametrize("said", [b"", b"GET", b"EHLO"])
def test_client_that_leaves_during_detection(said: bytes) -> None:
    """A client that closes or resets before anybody knows what it speaks leaves nothing behind."""
    with rig("auto", _echo, detection_timeout_s=5.0) as proxy:
        for linger in (b"", b"\x01\0\0\0\0\0\0\0"):
            client = proxy.dial()
            client.sendall(said)
            if linger:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()
            else:
                client.shutdown(socket.SHUT_WR)
                assert said == read_all(client)
        proxy.check_nothing_leaked()


def test_inbound_ports_have_clusters_of_their_own() -> None:
    """A port of the application is counted apart, and as the Service that leads to it."""
    with server(_says(b"one")) as one:
        intent = Intent(inbound=(InboundPort(port=one[1], protocol="http", service=HOST),))
        with serving(intent, one) as proxy:
            notes = proxy.watch()
            assert proxy.ask(REQUEST).endswith(b"one")
            counters = proxy.stop()
    assert 1 == counters[f"cluster.inbound|{one[1]}||.upstream_rq_2xx"]
    assert ("inbound", HOST, "pod", 200, "-") == notes.requests[0][0]


def test_update_drops_nobody() -> None:
    """New endpoints serve the next request of a connection that stays open; old ones end with their requests."""
    asked = REQUEST.replace(b"Connection: close\r\n", b"")
    with server(_says(b"one")) as one, server(_says(b"two")) as two, serving(_intent(one), VIP) as proxy:
        client = proxy.dial(proxy.outbound)
        client.sendall(asked)
        assert read_until(client, b"one").startswith(b"HTTP/1.1 200 ")
        proxy.update(_intent(two))
        client.sendall(asked)
        assert read_until(client, b"two").startswith(b"HTTP/1.1 200 ")
        client.close()
        proxy.check_nothing_leaked()
        assert 2 == proxy.counters()[f"{CLUSTER}.upstream_rq_2xx"]


def test_update_changes_policy_and_services_of_open_connections() -> None:
    """A Service that goes, and the policy, are followed by the next request of an open connection."""
    asked = REQUEST.replace(b"Connection: close\r\n", b"")
    with server(_says(b"one")) as one, serving(_intent(one, protocol="http"), VIP) as proxy:
        client = proxy.dial(proxy.outbound)
        client.sendall(asked)
        assert read_until(client, b"one").startswith(b"HTTP/1.1 200 ")
        proxy.update(Intent(outbound_policy="REGISTRY_ONLY", drain_s=20.0))
        client.sendall(asked)
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 502 ")
        client.close()
        proxy.check_nothing_leaked()
        assert f"{CLUSTER}.upstream_rq_total" not in proxy.counters()


def test_update_leaves_byte_streams_alone() -> None:
    """A TCP connection goes on when its endpoint, and even its Service, is no more."""
    with server(_echo) as one, serving(_intent(one, protocol="tcp"), VIP) as proxy:
        client = proxy.dial(proxy.outbound)
        client.sendall(b"a")
        assert b"a" == client.recv(1)
        proxy.update(Intent(drain_s=20.0))
        client.sendall(b"b")
        assert b"b" == client.recv(1)
        client.close()
        proxy.check_nothing_leaked()


@pytest.mark.parametrize(
    "changed", [{"ports": Ports(admin=1)}, {"mode": "tproxy"}, {"ipv6": False}, {"concurrency": 2}]
)
def test_listening_sockets_do_not_change_live(changed: dict[str, Any]) -> None:
    """What only a new proxy could do is refused by name, and the intent before stays in force."""
    with server(_says(b"one")) as one, serving(_intent(one), VIP) as proxy:
        with pytest.raises(InputError, match=next(iter(changed))):
            proxy._proxy.update(_intent(one, **changed))
        assert proxy.ask(REQUEST, proxy.outbound).endswith(b"one")


def test_idle_upstream_connections_close() -> None:
    """A connection to the application that nobody uses is closed after the intent's time, and counted."""
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        _says(b"one")(connection)
        ended.set()

    with rig("http", serve, idle_timeout_s=0.04) as proxy:
        assert proxy.ask(REQUEST).endswith(b"one")
        assert ended.wait(PATIENCE_S)
        proxy.check_nothing_leaked()
        assert 1 == proxy.counters()["cluster.InboundPassthroughCluster.upstream_cx_idle_timeout"]


def _outcome_of_bytes(proxy: Rig, notes: Notes) -> tuple[str, int, int]:
    """Return flags and bytes of the only TCP connection, which was counted once when it began and once at its end."""
    proxy.check_nothing_leaked()
    (outcome,) = notes.outcomes
    ((key, received, sent),) = notes.ends
    assert [("inbound", "", "pod", 0, "-")] == notes.connections
    assert (outcome.flags, outcome.bytes_received, outcome.bytes_sent) == (key[4], received, sent)
    assert ("InboundPassthroughCluster", 0, b"") == (outcome.cluster, outcome.status, outcome.method)
    return outcome.flags, received, sent


def test_bytes_are_counted() -> None:
    """A TCP connection is told of when it begins, and at its end with what passed in each direction."""
    with rig("tcp", lambda connection: connection.sendall(connection.recv(100) * 2)) as proxy:
        notes = proxy.watch()
        assert b"abcabc" == proxy.ask(b"abc")
        assert ("-", 3, 6) == _outcome_of_bytes(proxy, notes)


def test_refused_byte_stream_is_uf() -> None:
    """A TCP connection whose destination refuses is UF, as in Envoy with URX: its one attempt is used up."""
    with rig("tcp", _echo) as proxy:
        notes = proxy.watch()
        proxy.destination = _unused()
        # The reset may be there before the handshake has returned.
        with pytest.raises(ConnectionResetError):
            proxy.dial().recv(1)
        assert ("URX,UF", 0, 0) == _outcome_of_bytes(proxy, notes)
    assert "delayed_connect_error:_Connection_refused" == notes.outcomes[0].transport_failure


@pytest.mark.parametrize(("who", "flags"), [("client", "DC"), ("server", "UC")])
def test_reset_byte_stream(who: str, flags: str) -> None:
    """The flag of a TCP connection that was reset says by which side."""
    linger = struct.pack("ii", 1, 0)

    def serve(connection: socket.socket) -> None:
        connection.sendall(connection.recv(1))
        if who == "server":
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            read_all(connection)

    with rig("tcp", serve) as proxy:
        notes = proxy.watch()
        client = proxy.dial()
        client.sendall(b"a")
        assert b"a" == client.recv(1)
        if who == "client":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            client.sendall(b"b")
            assert b"" == read_all(client)
        client.close()
        assert flags == _outcome_of_bytes(proxy, notes)[0]


def test_destinations_without_connections_are_forgotten() -> None:
    """However many addresses a pod dials, those that it has no connection to do not pile up."""
    loop = ProxyLoop()
    cluster = OriginalDestinations(loop, "some", ClusterCounters(), ClusterSettings(Limits(1, 1)), direction="outbound")
    for number in range(2 * KEPT_HOSTS):
        host = cluster.find(("192.0.2.1", number), "", ())
        assert host is not None
        cluster.deserted(host)
    assert KEPT_HOSTS == len(tuple(cluster.hosts))
    loop.close()
