"""The proxy with real sockets, in front of servers that are a few lines each."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_rig import Rig, read_all, read_until, rig
from tools import PATIENCE_S

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.io.destination import original_destination
from sidelab.sidecar.proxy.io.listener import listen
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.proxy import Proxy

REQUEST = b"GET / HTTP/1.1\r\nHost: nginx\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
RESET = struct.pack("ii", 1, 0)
LARGE = b"0123456789abcdef" * (4 * 1024 * 1024 // 16)


def _echo(connection: socket.socket) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


def _answer(connection: socket.socket) -> None:
    """Answer every piece of data with a response; requests here come in one piece."""
    while connection.recv(65536):
        connection.sendall(RESPONSE)


def _answer_after_end(connection: socket.socket) -> None:
    connection.sendall(str(len(read_all(connection))).encode())


def _reset(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def _peer(connection: socket.socket) -> None:
    host = connection.getpeername()[0].encode()
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(host), host))


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_bytes_pass_both_ways() -> None:
    """In TCP mode what the client says arrives, and so does what the server answers."""
    with rig("tcp", _echo) as proxy:
        client = proxy.dial()
        client.sendall(b"\x00\xff any bytes")
        assert b"\x00\xff any bytes" == read_until(client, b"bytes")


def test_half_close_passes() -> None:
    """A client's FIN reaches the server, whose answer still comes back; more than any buffer holds."""
    with rig("tcp", _answer_after_end) as proxy:
        client = proxy.dial()
        client.sendall(LARGE)
        client.shutdown(socket.SHUT_WR)
        assert str(len(LARGE)).encode() == read_all(client)
        client.close()
        counters = proxy.stop()
    assert 0 == counters["cluster.InboundPassthroughCluster.upstream_cx_active"]


def test_backpressure_loses_nothing() -> None:
    """A client that reads late gets all of what it sent itself, in order."""
    with rig("tcp", _echo) as proxy:
        client = proxy.dial()
        sender = threading.Thread(target=client.sendall, args=(LARGE,))
        sender.start()
        received = bytearray()
        while len(received) < len(LARGE):
            received += client.recv(4096)
        sender.join()
        assert LARGE == bytes(received)


def test_server_that_speaks_first() -> None:
    """In TCP mode the connection to the server is made at once, not with the client's first byte."""
    with rig("tcp", lambda connection: connection.sendall(b"220 hello\r\n")) as proxy:
        assert b"220 hello\r\n" == read_all(proxy.dial())


def test_reset_passes() -> None:
    """A server's RST becomes the client's."""
    with rig("tcp", _reset) as proxy:
        client = proxy.dial()
        client.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_refused_connection_resets_the_client() -> None:
    """In TCP mode a destination that refuses gives RST after the handshake, and is counted."""
    with rig("tcp", _echo) as proxy:
        proxy.destination = ("127.0.0.1", _unused_port())
        with pytest.raises(ConnectionResetError):
            proxy.dial().recv(1)
        counters = proxy.stop()
    assert 1 == counters["cluster.InboundPassthroughCluster.upstream_cx_connect_fail"]
    assert 0 == counters["listener.0.0.0.0_15006.downstream_cx_active"]


def test_destination_that_does_not_answer_is_503() -> None:
    """A handshake that does not end in the intent's time is given up, answered and counted."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # One connection fills the queue; the kernel drops the next handshakes.
        stack.enter_context(socket.create_connection(deaf.getsockname()))
        with rig("http", _answer, connect_timeout_s=0.05) as proxy:
            proxy.destination = deaf.getsockname()
            client = proxy.dial()
            client.sendall(REQUEST)
            assert read_until(client, b"timeout").startswith(b"HTTP/1.1 503 ")
            client.close()
            counters = proxy.stop()
    assert 1 == counters["cluster.InboundPassthroughCluster.upstream_cx_connect_timeout"]
    assert 0 == counters["cluster.InboundPassthroughCluster.upstream_cx_active"]


@pytest.mark.parametrize(("side", "source"), [("inbound", b"127.0.0.6"), ("outbound", b"127.0.0.1")])
def test_source_address(side: str, source: bytes) -> None:
    """The application sees inbound connections from 127.0.0.6; outbound ones keep the pod's own address."""
    with rig("http", _peer) as proxy:
        client = proxy.dial(getattr(proxy, side))
        client.sendall(REQUEST)
        assert source == read_until(client, source)[-9:]


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_direct_dial_is_closed_and_counted(protocol: str) -> None:
    """A connection whose destination is the proxy's own port is closed, not sent round in a circle."""
    with rig("tcp" if protocol == "tcp" else "http", _answer) as proxy:
        proxy.destination = ("127.0.0.1", proxy.inbound)
        assert b"" == read_all(proxy.dial())
        counters = proxy.stop()
    assert 1 == counters["tcp.BlackHoleCluster.downstream_cx_total"]


def test_without_rules_the_destination_is_the_listener() -> None:
    """The original destination of a connection that nothing redirected is where it was dialled."""
    with (
        listen(socket.AF_INET, "127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as accepted,
    ):
        assert listening.getsockname() == original_destination(accepted)


def test_clients_share_an_upstream_connection() -> None:
    """In HTTP mode connections one after the other are served by one connection to the application."""
    with rig("http", _answer) as proxy:
        for _ in range(3):
            client = proxy.dial()
            for _ in range(2):
                client.sendall(REQUEST)
                assert read_until(client, b"\r\n\r\nhi").startswith(b"HTTP/1.1 200 OK\r\n")
            client.close()
        counters = proxy.stop()
    assert 1 == counters["cluster.InboundPassthroughCluster.upstream_cx_total"]
    assert 6 == counters["http.inbound_0.0.0.0_15006.downstream_rq_2xx"]


def test_large_body_through_http() -> None:
    """A body of megabytes passes through HTTP mode unchanged."""

    def serve(connection: socket.socket) -> None:
        read_until(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE) + LARGE)

    with rig("http", serve) as proxy:
        client = proxy.dial()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert LARGE == read_all(client).partition(b"\r\n\r\n")[2]


def test_refusal_is_read_to_its_end() -> None:
    """The answer to a request that is refused reaches a client that is still sending."""
    with rig("http", _answer) as proxy:
        client = proxy.dial()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).startswith(b"HTTP/1.1 431 ")


def test_admin_pages() -> None:
    """Readiness and counters can be read at any time; what does not exist is 404."""
    with rig("http", _answer) as proxy:
        answers = {}
        for port, path in ((proxy.admin, "/ready"), (proxy.admin, "/stats"), (proxy.health, "/healthz/ready")):
            with proxy.dial(port) as client:
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                answers[path] = read_all(client)
        with proxy.dial(proxy.admin) as client:
            client.sendall(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_all(client).startswith(b"HTTP/1.1 404 ")
        assert answers["/ready"].endswith(b"\r\n\r\nLIVE\n")
        assert answers["/healthz/ready"].startswith(b"HTTP/1.1 200 ")
        assert b"\ntcp.BlackHoleCluster.downstream_cx_total: 0\n" in answers["/stats"]


def test_drain_finishes_the_request_in_flight() -> None:
    """Draining closes the listeners, lets a request end, says so to its client, and returns."""
    arrived, answer = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        arrived.set()
        assert answer.wait(PATIENCE_S)
        connection.sendall(RESPONSE)

    with rig("http", serve) as proxy:
        idle, client = proxy.dial(), proxy.dial()
        client.sendall(REQUEST)
        assert arrived.wait(PATIENCE_S)
        proxy.drain()
        assert b"" == read_all(idle)
        answer.set()
        assert b"connection: close\r\n\r\nhi" == read_all(client)[-23:]
        client.close()
        proxy.stop()
        with pytest.raises(ConnectionRefusedError):
            proxy.dial()


def test_drain_ends_in_bounded_time() -> None:
    """A connection that does not end is cut when the time for draining is over."""
    with rig("tcp", _echo, drain_s=0.05) as proxy:
        client = proxy.dial()
        client.sendall(b"x")
        assert b"x" == client.recv(1)
        active = "listener.0.0.0.0_15006.downstream_cx_active"
        assert 1 == proxy.stop()[active]
        client.close()
        while proxy.counters()[active]:
            # A process would end here; the test has to give back what it holds.
            proxy._loop.turn(1)


def test_no_descriptors_is_no_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no descriptor is left, accepting pauses; the connection in the queue is served afterwards."""
    sockets = ListeningSockets(*((listen(socket.AF_INET, "127.0.0.1", 0),) for _ in range(5)))
    accept = socket.socket.accept
    failures = [OSError(24, "Too many open files")]

    def failing(listening: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", failing)
    loop = ProxyLoop()
    proxy = Proxy(loop, Intent(), sockets, lambda _connection: ("127.0.0.1", sockets.inbound[0].getsockname()[1]))
    with socket.create_connection(sockets.inbound[0].getsockname()) as client:
        # The event that fails, the timer that ends the pause, and the event that succeeds.
        for _ in range(3):
            loop.turn(1)
        assert b"" == read_all(client)
    counters = dict(proxy._observation.registry)
    assert 1 == counters["listener.0.0.0.0_15006.downstream_cx_overload_reject"]
    proxy.close()
    loop.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Rig]:
    """Yield a proxy for many examples, which has leaked nothing after them."""
    with rig("http", _answer) as proxy:
        yield proxy
        counters = proxy.stop()
    assert 0 == counters["listener.0.0.0.0_15006.downstream_cx_active"]
    assert 0 == counters["cluster.InboundPassthroughCluster.upstream_cx_active"]


@settings(deadline=None, max_examples=150)
@given(pieces=st.lists(st.binary(min_size=1, max_size=60) | st.sampled_from([REQUEST, b"\r\n\r\n"]), max_size=6))
def test_any_bytes_get_http_or_nothing(shared: Rig, pieces: list[bytes]) -> None:
    """A client that sends anything gets responses or FIN, and the next client is served."""
    with shared.dial() as client:
        for piece in pieces:
            try:
                client.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        assert read_all(client)[:9] in (b"", b"HTTP/1.1 ")
    with shared.dial() as client:
        client.sendall(REQUEST)
        assert read_until(client, b"hi").startswith(b"HTTP/1.1 200 ")
