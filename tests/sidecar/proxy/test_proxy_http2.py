"""HTTP/2 with prior knowledge (RFC 9113 §3.3) through the bundled proxy, which passes it on as bytes: real sockets."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded
from proxy_rig import Rig, read_all, rig, server, serving

from sidelab.sidecar.config.intent import Intent, IntentEndpoint, IntentService, IntentServicePort, Protocol
from sidelab.sidecar.proxy.io.destination import Destination

VIP = ("10.96.0.7", 80)
HOST = "shop.default.svc.cluster.local"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PROTOCOLS: tuple[Protocol, ...] = ("http", "auto")


def _answers(name: bytes) -> Callable[[socket.socket], None]:
    """Return the script of a server that answers each request of HTTP/2 with `name`."""

    def serve(connection: socket.socket) -> None:
        h2 = H2Connection(H2Configuration(client_side=False))
        h2.initiate_connection()
        connection.sendall(h2.data_to_send())
        while data := connection.recv(65536):
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    h2.send_headers(event.stream_id or 0, [(":status", "200")])
                    h2.send_data(event.stream_id or 0, name, end_stream=True)
            connection.sendall(h2.data_to_send())

    return serve


class _Client:
    """An HTTP/2 client on `link`; its first bytes go out in `pieces`."""

    def __init__(self, link: socket.socket, pieces: int = 1) -> None:
        self._link = link
        self._h2 = H2Connection(H2Configuration(client_side=True))
        self._h2.initiate_connection()
        first = self._h2.data_to_send()
        size = -(-len(first) // pieces)
        for at in range(0, len(first), size):
            link.sendall(first[at : at + size])

    def ask(self, authority: str = "shop") -> bytes:
        """Return the body of an answer 200."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(
            stream,
            [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", "/")],
            end_stream=True,
        )
        self._link.sendall(self._h2.data_to_send())
        body, done = b"", False
        while not done:
            data = self._link.recv(65536)
            assert data, body
            for event in self._h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    assert event.headers is not None
                    assert (b":status", b"200") == tuple(event.headers[0])
                elif isinstance(event, DataReceived):
                    body += event.data or b""
                done = done or isinstance(event, StreamEnded)
            self._link.sendall(self._h2.data_to_send())
        return body


@contextmanager
def _service(*endpoints: Destination, protocol: Protocol = "http", **fields: Any) -> Iterator[Rig]:
    """Yield a proxy whose connections were going to a Service of `endpoints`."""
    served = tuple(IntentEndpoint(address=address, port=port, pod="default/shop-0") for address, port in endpoints)
    port = IntentServicePort(port=VIP[1], protocol=protocol, endpoints=served)
    services = (IntentService(host=HOST, addresses=(VIP[0],), ports=(port,)),)
    with serving(Intent(services=services, drain_s=20.0, **fields), VIP) as proxy:
        yield proxy


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("pieces", [1, 30])
def test_inbound(protocol: Protocol, pieces: int) -> None:
    """A client that begins with HTTP/2's preface, in however many pieces, gets all its answers."""
    with rig(protocol, _answers(b"app"), detection_timeout_s=60) as proxy:
        client = _Client(proxy.dial(), pieces)
        assert [b"app"] * 3 == [client.ask() for _ in range(3)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("policy", ["ALLOW_ANY", "REGISTRY_ONLY"])
def test_outbound_goes_to_the_service_that_was_dialled(protocol: Protocol, policy: Any) -> None:
    """It reaches the Service of the dialled address, and is logged and counted as one connection of bytes."""
    with server(_answers(b"one")) as one, _service(one, protocol=protocol, outbound_policy=policy) as proxy:
        notes = proxy.watch()
        with proxy.dial(proxy.outbound) as link:
            client = _Client(link)
            assert [b"one", b"one"] == [client.ask(), client.ask("whatever.example")]
        proxy.check_nothing_leaked()
    (outcome,) = notes.outcomes
    assert ([], 1) == (notes.requests, len(notes.connections))
    assert (f"outbound|80||{HOST}", "default/shop-0", 0, b"", "-") == (
        *(outcome.cluster, outcome.workload, outcome.status, outcome.method, outcome.flags),
    )


def test_connections_are_balanced() -> None:
    """Two connections that are open at once go to two endpoints; all requests of one go the same way."""
    with server(_answers(b"one")) as one, server(_answers(b"two")) as two, _service(one, two) as proxy:
        clients = [_Client(proxy.dial(proxy.outbound)) for _ in range(2)]
        answers = [(client.ask(), client.ask()) for client in clients]
    assert [(b"one", b"one"), (b"two", b"two")] == sorted(answers)


def test_unknown_destination_of_registry_only_is_closed() -> None:
    """A connection of HTTP/2 to no Service is closed at once with REGISTRY_ONLY."""
    with _service(outbound_policy="REGISTRY_ONLY") as proxy:
        proxy.destination = ("192.0.2.1", 80)
        assert b"" == proxy.ask(PREFACE, proxy.outbound)


def test_service_without_endpoints_is_closed() -> None:
    """A connection of HTTP/2 to a Service that nobody serves is closed."""
    with _service() as proxy:
        assert b"" == proxy.ask(PREFACE, proxy.outbound)


def test_preface_after_a_request_is_refused() -> None:
    """On a connection that began with HTTP/1.1 there is no changing to HTTP/2."""
    request = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        assert request == connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert b"" == read_all(connection)

    with server(serve) as one, _service(one) as proxy:
        answer = proxy.ask(request + PREFACE, proxy.outbound)
    assert [b"200", b"400"] == [each.split()[0] for each in answer.split(b"HTTP/1.1 ")[1:]]
