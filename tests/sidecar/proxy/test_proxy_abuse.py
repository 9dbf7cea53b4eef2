"""Peers that break the rules, with real sockets: each gets the status and flag it deserves, and nobody else notices."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from proxy_rig import Notes, Rig, read_all, read_until, rig
from tools import PATIENCE_S

from sidelab.sidecar.config.intent import Protocol
from sidelab.sidecar.proxy.io import dial
from sidelab.sidecar.proxy.io.destination import Destination

REQUEST = b"GET / HTTP/1.1\r\nHost: nginx\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: nginx\r\nContent-Length: 6\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
RESET = struct.pack("ii", 1, 0)
SIDES = ("inbound", "outbound")


def _answer(connection: socket.socket) -> None:
    """Answer every piece of data with a response; requests here come in one piece."""
    while connection.recv(65536):
        connection.sendall(RESPONSE)


def _listens(connection: socket.socket) -> None:
    read_all(connection)


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def _says(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Return a server's script that says this, whatever it is asked, and closes."""

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)

    return serve


@pytest.fixture(scope="module", params=SIDES)
def shared(request: pytest.FixtureRequest) -> Iterator[tuple[Rig, int]]:
    """Yield a proxy for many examples, and the port of one of its directions; nothing has leaked after them."""
    with rig("http", _answer) as proxy:
        yield proxy, getattr(proxy, request.param)
        proxy.check_nothing_leaked()


@pytest.mark.parametrize(
    ("status", "details", "data"),
    [
        (
            400,
            "http1.content_length_and_chunked_not_allowed",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (400, "http1.codec_error", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        (400, "http1.codec_error", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1,1\r\n\r\na"),
        (400, "http1.codec_error", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na"),
        (400, "http1.codec_error", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        (501, "http1.invalid_transfer_encoding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        (501, "http1.invalid_transfer_encoding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, \r\n\r\n"),
        (400, "http1.invalid_characters", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n"),
        (400, "http1.codec_error", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        (400, "http.invalid_authority", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
        (400, "http1.invalid_characters", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n"),
        (400, "missing_host_header", b"GET / HTTP/1.1\r\n\r\n"),
        (400, "http1.connection_header_rejected", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n"),
        (400, "http1.invalid_scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "http1.codec_error", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "http.invalid_authority", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, "http1.invalid_url", b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "http1.codec_error", b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (403, "upgrade_failed", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: irc\r\n\r\n"),
        (400, "http1.codec_error", b"CONNECT a HTTP/1.1\r\nHost: a:1\r\n\r\n"),
        (426, "low_version", b"GET /\r\n"),
        (426, "low_version", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (426, "low_version", b"GET / HTTP/1.0\r\n\r\n"),
        (431, "http1.headers_too_large", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n"),
        (431, "http1.too_many_headers", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 200 + b"\r\n"),
        *(
            (400, "http1.codec_error", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
            for chunk in (
                b"0x3\r\nabc\r\n0\r\n\r\n",
                b"-3\r\nabc\r\n0\r\n\r\n",
                b" 3\r\nabc\r\n0\r\n\r\n",
                b"3\nabc\r\n0\r\n\r\n",
                b"3\r\nabc0\r\n\r\n",
                b"\r\nabc\r\n0\r\n\r\n",
                b"1" + b"0" * 20 + b"\r\nabc",
                b"3;a\nb\r\nabc\r\n0\r\n\r\n",
                b"0\r\nContent-Length : 3\r\n\r\n",
            )
        ),
    ],
)
def test_ambiguous_request_reaches_nobody(shared: tuple[Rig, int], status: int, details: str, data: bytes) -> None:
    """A request that two readers could understand differently is refused, and its connection serves no other."""
    proxy, port = shared
    notes = proxy.watch()
    got = proxy.ask(data + REQUEST, port)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert 1 == got.count(b"\r\n\r\n")
    (outcome,) = notes.outcomes
    flags = "-" if details in ("missing_host_header", "upgrade_failed") else "DPE"
    assert (status, details, flags) == (outcome.status, outcome.details, outcome.flags)


@pytest.mark.parametrize(
    ("data", "closes"),
    [
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", True),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", False),
        (b"PUT http://a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", True),
    ],
)
def test_what_no_route_leads_to_is_not_found(shared: tuple[Rig, int], data: bytes, closes: bool) -> None:
    """A target without a path is 404 with the flag NR; without a body the connection stays."""
    proxy, port = shared
    notes = proxy.watch()
    got = proxy.ask(data + REQUEST, port)
    assert (closes, True) == (b"HTTP/1.1 200 " not in got, got.startswith(b"HTTP/1.1 404 "))
    outcome = notes.outcomes[0]
    assert (404, "route_not_found", "NR") == (outcome.status, outcome.details, outcome.flags)


@pytest.mark.parametrize(
    "response",
    [
        b"220 mail ESMTP\r\n",
        b"\x00\x01\x02",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
@pytest.mark.parametrize("side", SIDES)
def test_garbage_from_the_application_is_a_bad_gateway(side: str, response: bytes) -> None:
    """A response that is none gives 502 and the flag UPE, and its connection is not used again."""
    with rig("http", _says(response)) as proxy:
        notes = proxy.watch()
        assert proxy.ask(REQUEST, getattr(proxy, side)).startswith(b"HTTP/1.1 502 ")
        proxy.check_nothing_leaked()
    (outcome,) = notes.outcomes
    expected = ("UPE", "upstream_reset_before_response_started{protocol_error}")
    assert expected == (outcome.flags, outcome.details)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",),
    ],
)
def test_response_that_ends_too_early_is_cut(pieces: tuple[bytes, ...]) -> None:
    """An application that promises more than it sends, or closes in a body: the client is closed, and can tell."""
    with rig("http", _says(*pieces)) as proxy:
        notes = proxy.watch()
        got = proxy.ask(REQUEST)
        assert got.startswith(b"HTTP/1.1 200 ")
        assert got.partition(b"\r\n\r\n")[2] == pieces[0].partition(b"\r\n\r\n")[2]
        proxy.check_nothing_leaked()
    (outcome,) = notes.outcomes
    expected = (200, "UPE", "upstream_reset_after_response_started{protocol_error}")
    assert expected == (outcome.status, outcome.flags, outcome.details)


def test_response_that_is_too_long_is_nobodys() -> None:
    """What follows a response's length never reaches a client, neither this one nor the next."""
    with rig("http", _says(RESPONSE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as proxy:
        for _ in range(3):
            assert proxy.ask(REQUEST).endswith(b"\r\n\r\nhi")
        proxy.check_nothing_leaked()
        assert 3 == proxy.counters()["cluster.InboundPassthroughCluster.upstream_cx_total"]


def test_application_that_closes_without_an_answer() -> None:
    """An application that closes before its response is 503 with UC."""
    with rig("http", _says()) as proxy:
        notes = proxy.watch()
        got = proxy.ask(REQUEST)
        assert got.startswith(b"HTTP/1.1 503 ")
        assert got.endswith(b"reset reason: connection termination")
        proxy.check_nothing_leaked()
    assert ["UC"] == [outcome.flags for outcome in notes.outcomes]


def test_application_that_never_answers_costs_nothing_once_the_client_is_gone() -> None:
    """A client that gives up takes its connection to the application along: DC, and no status."""
    arrived, left = threading.Event(), threading.Event()

    def hang(connection: socket.socket) -> None:
        connection.recv(65536)
        arrived.set()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        left.set()

    with rig("http", hang) as proxy:
        notes = proxy.watch()
        client = proxy.dial()
        client.sendall(REQUEST)
        assert arrived.wait(PATIENCE_S)
        _reset(client)
        assert left.wait(PATIENCE_S)
        proxy.check_nothing_leaked()
    (outcome,) = notes.outcomes
    assert (0, "DC", "downstream_remote_disconnect") == (outcome.status, outcome.flags, outcome.details)


def test_no_descriptor_for_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no descriptor is left for a connection to the application, the answer is 503, and the next one is 200."""
    with rig("http", _answer) as proxy:
        failures = [OSError(24, "Too many open files")]

        def failing(destination: Destination, source: str | None, *, transparent: bool) -> tuple[socket.socket, bool]:
            if failures:
                raise failures.pop()
            return dial.dial(destination, source, transparent=transparent)

        monkeypatch.setattr("sidelab.sidecar.proxy.upstreams.cluster.dial", failing)
        assert b"Too many open files" in proxy.ask(REQUEST)
        assert proxy.ask(REQUEST).endswith(b"hi")
        proxy.check_nothing_leaked()


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\n", REQUEST[:-1]])
def test_slow_loris_is_given_up_and_disturbs_nobody(begun: bytes) -> None:
    """A head that is not complete in the intent's time is answered with 408 and the flag SI; others are served."""
    with rig("http", _answer, header_timeout_s=0.05) as proxy:
        notes = proxy.watch()
        slow = [proxy.dial() for _ in range(5)]
        other = proxy.dial()
        for client in slow:
            client.sendall(begun)
        other.sendall(REQUEST)
        assert read_until(other, b"hi").startswith(b"HTTP/1.1 200 ")
        for client in slow:
            assert read_all(client).startswith(b"HTTP/1.1 408 ")
            client.close()
        other.sendall(REQUEST)
        assert read_until(other, b"hi").startswith(b"HTTP/1.1 200 ")
        other.close()
        proxy.check_nothing_leaked()
    late = [outcome for outcome in notes.outcomes if outcome.status == 408]
    assert [("SI", "request_header_timeout")] * 5 == [(outcome.flags, outcome.details) for outcome in late]


def test_head_in_many_pieces_is_one_head() -> None:
    """A head that comes byte by byte, but in time, is served."""
    with rig("http", _answer) as proxy:
        client = proxy.dial()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(REQUEST)):
            client.sendall(REQUEST[at : at + 1])
        assert read_until(client, b"hi").startswith(b"HTTP/1.1 200 ")
        client.close()
        proxy.check_nothing_leaked()


def test_half_close_after_a_request() -> None:
    """A client that sends FIN after its request, or after two, gets all its answers and then FIN."""
    with rig("http", _answer) as proxy:
        assert 1 == proxy.ask(REQUEST).count(b"200 OK")
        assert 2 == proxy.ask(REQUEST * 2).count(b"200 OK")
        proxy.check_nothing_leaked()


def test_half_close_within_a_body() -> None:
    """A client that ends within its request's body is done with: DC, and the application's connection is reset."""
    with rig("http", _listens) as proxy:
        notes = proxy.watch()
        assert b"" == proxy.ask(POST + b"sec")
        proxy.check_nothing_leaked()
    assert [(0, "DC")] == [(outcome.status, outcome.flags) for outcome in notes.outcomes]


@dataclass(frozen=True)
class _State:
    """How far a connection has come: what the client sent, the server read up to, and said, and the client read."""

    sent: bytes
    read: bytes = b""
    said: bytes = b""
    got: bytes = b""

    def reaches_server(self, protocol: str) -> bool:
        """Whether the proxy has a connection to the server by then."""
        return protocol == "tcp" or bool(self.read)


_STATES = {
    "connected": _State(b""),
    "within the head": _State(POST[:20]),
    "within the body": _State(POST + b"sec", b"sec"),
    "waiting for the response": _State(POST + b"secret", b"secret"),
    "within the response": _State(
        POST + b"secret", b"secret", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart", b"part"
    ),
    "idle": _State(REQUEST, b"\r\n\r\n", RESPONSE, b"hi"),
}


class _Resetting:
    """A server whose first connection comes into `state`; then one side resets, and all others are answered."""

    def __init__(self, state: _State, *, resets: bool) -> None:
        self.arrived, self.go = threading.Event(), threading.Event()
        self._state = state
        self._resets = resets
        self._first = True

    def __call__(self, connection: socket.socket) -> None:
        first, self._first = self._first, False
        if first:
            if self._state.read:
                read_until(connection, self._state.read)
            connection.sendall(self._state.said)
            self.arrived.set()
            assert self.go.wait(PATIENCE_S)
            if self._resets:
                _reset(connection)
                return
        _answer(connection)


@pytest.mark.parametrize("protocol", ["http", "tcp", "auto"])
@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("state", _STATES.values(), ids=_STATES)
def test_reset_in_every_state(state: _State, who: str, protocol: Protocol) -> None:
    """Whoever resets, in whatever state: nothing leaks, and the next client is served."""
    serve = _Resetting(state, resets=who == "server" and state.reaches_server(protocol))
    with rig(protocol, serve, detection_timeout_s=5.0) as proxy:
        client = proxy.dial()
        client.sendall(state.sent)
        if state.reaches_server(protocol):
            assert serve.arrived.wait(PATIENCE_S)
        if state.got:
            read_until(client, state.got)
        serve.go.set()
        if who == "client":
            _reset(client)
        else:
            # The reset may have come through already.
            with suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            assert b"HTTP/1.1 200" not in read_all(client)
        client.close()
        assert proxy.ask(REQUEST).endswith(b"hi")
        proxy.check_nothing_leaked()


def test_outcome_of_a_request_says_all(shared: tuple[Rig, int]) -> None:
    """What an access log needs is there: the request's fields, both addresses, times, bytes, the way it went."""
    proxy, port = shared
    notes: Notes = proxy.watch()
    fields = b"User-Agent: curl\r\nX-Request-Id: 7\r\nX-Forwarded-For: 10.0.0.9 \r\nContent-Length: 3\r\n"
    assert proxy.ask(b"PUT /a?b HTTP/1.1\r\nHost: nginx:80\r\n" + fields + b"\r\nabc", port).endswith(b"hi")
    (outcome,) = notes.outcomes
    assert (b"PUT", b"/a?b", "HTTP/1.1", b"nginx:80") == (
        outcome.method,
        outcome.path,
        outcome.protocol,
        outcome.authority,
    )
    assert (b"curl", b"7", b"10.0.0.9") == (outcome.user_agent, outcome.request_id, outcome.forwarded_for)
    assert (200, "-", "via_upstream", 3, 2) == (
        outcome.status,
        outcome.flags,
        outcome.details,
        outcome.bytes_received,
        outcome.bytes_sent,
    )
    assert f"127.0.0.1:{proxy.destination[1]}" == outcome.upstream_host == outcome.downstream_local
    assert outcome.downstream_remote.startswith("127.0.0.1:")
    assert outcome.upstream_local.startswith("127.0.0.")
    assert 0 <= outcome.upstream_us <= outcome.duration_us
    assert ("default" if port == proxy.inbound else "allow_any") == outcome.route
