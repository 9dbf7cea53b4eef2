from collections.abc import Iterator

import pytest
from proxy_rig import MemoryGateway, OneRoute

from sidelab.sidecar.proxy.http.message import Limits
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings

REQUEST = b"GET / HTTP/1.1\r\nHost: nginx\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: nginx\r\nContent-Length: 6\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nserver: proxy\r\nx-envoy-upstream-service-time: 0\r\n\r\nhi"


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    """Yield a gateway in which no time passes."""
    monkeypatch.setattr("sidelab.sidecar.proxy.exchange.http_connection.time.perf_counter", lambda: 1.0)
    gateway = MemoryGateway()
    yield gateway
    gateway.close()


def test_one_exchange(memory: MemoryGateway) -> None:
    """A request goes upstream as it came, its response comes back with the proxy's name in it."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(RESPONSE)
    assert (REQUEST, ANSWER) == (bytes(memory.upstream.sent), bytes(client.sent))


def test_upstream_connection_is_used_again(memory: MemoryGateway) -> None:
    """Requests of different clients share one idle upstream connection."""
    for _ in range(3):
        client = memory.connect()
        client.say(REQUEST)
        memory.upstream.say(RESPONSE)
        client.hang_up()
    assert (1, 3) == (memory.cluster.counters.upstream_cx_total, memory.counters.downstream_rq_2xx)


def test_a_head_that_came_before_is_read_by_the_rules_of_now(memory: MemoryGateway) -> None:
    """It goes where its own connection's route leads, and is refused where heads may no longer be that long."""
    for expected in (200, 502, 431):
        client = memory.connect()
        client.say(REQUEST)
        if expected == 200:
            memory.upstream.say(RESPONSE)
        assert f"HTTP/1.1 {expected} ".encode() in bytes(client.sent)
        client.hang_up()
        if expected == 200:
            memory.gateway.routes = OneRoute(None)
        else:
            memory.gateway.change(
                memory.routes, ClusterSettings(Limits(head_bytes=16, headers=20)), server_name="proxy"
            )


def test_every_cut_gives_the_same(memory: MemoryGateway) -> None:
    """Request and response may arrive in any two pieces."""
    for cut in range(1, len(RESPONSE)):
        client = memory.connect()
        client.say(REQUEST[: cut % len(REQUEST)])
        client.say(REQUEST[cut % len(REQUEST) :])
        memory.upstream.say(RESPONSE[:cut])
        memory.upstream.say(RESPONSE[cut:])
        assert ANSWER == bytes(client.sent)
        client.hang_up()


def test_pipelined_requests_are_answered_in_order(memory: MemoryGateway) -> None:
    """Requests that arrive together are sent on one after the other."""
    client = memory.connect()
    client.say(REQUEST * 2 + POST + b"sec")
    client.say(b"ret")
    for expected in (REQUEST, REQUEST * 2, REQUEST * 2 + POST + b"secret"):
        assert expected == bytes(memory.upstream.sent)
        memory.upstream.say(RESPONSE)
        client.deliver()
    assert ANSWER * 3 == bytes(client.sent)


def test_body_passes_before_it_is_complete(memory: MemoryGateway) -> None:
    """A request's body is not collected: what has arrived is sent on."""
    client = memory.connect()
    client.say(POST)
    client.say(b"sec")
    assert POST + b"sec" == bytes(memory.upstream.sent)


def test_chunked_bodies_pass_as_they_are(memory: MemoryGateway) -> None:
    """Chunks keep their framing in both directions."""
    request = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    client = memory.connect()
    client.say(request)
    memory.upstream.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi")
    memory.upstream.say(b"\r\n0\r\n\r\n")
    assert request == bytes(memory.upstream.sent)
    assert bytes(client.sent).endswith(b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert client.open
    assert memory.upstream.open


def test_interim_response_passes(memory: MemoryGateway) -> None:
    """100 Continue reaches the client before the response."""
    client = memory.connect()
    client.say(POST)
    memory.upstream.say(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.say(b"secret")
    memory.upstream.say(RESPONSE)
    assert b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER == bytes(client.sent)


def test_response_until_close(memory: MemoryGateway) -> None:
    """A response that ends with the application's connection goes on in chunks, and the client's connection stays."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(b"HTTP/1.1 200 OK\r\n\r\npart")
    memory.upstream.say(b" and rest")
    memory.upstream.hang_up()
    head, _, body = bytes(client.sent).partition(b"\r\n\r\n")
    assert (b"transfer-encoding: chunked", b"4\r\npart\r\n9\r\n and rest\r\n0\r\n\r\n") == (
        head.split(b"\r\n")[1],
        body,
    )
    assert client.open


def test_endless_response_that_breaks_is_cut(memory: MemoryGateway) -> None:
    """Where the application's connection fails instead of ending, the last chunk is missing, so the client can tell."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(b"HTTP/1.1 200 OK\r\n\r\npart")
    memory.upstream.break_down(ConnectionResetError(104, "Connection reset by peer"))
    assert bytes(client.sent).endswith(b"\r\n\r\n4\r\npart\r\n")
    assert not client.open


def test_interim_responses_fill_no_memory(memory: MemoryGateway) -> None:
    """Of a server's interim responses the client gets the first, however many there are."""
    client = memory.connect()
    client.say(REQUEST)
    for _ in range(1000):
        memory.upstream.say(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)
    memory.upstream.say(RESPONSE)
    assert (1, 1) == (client.sent.count(b"HTTP/1.1 103 "), client.sent.count(b"HTTP/1.1 200 "))


def test_empty_lines_around_requests_are_nothing(memory: MemoryGateway) -> None:
    """Empty lines before, between and after requests are dropped at once, and a connection with no others is idle."""
    client = memory.connect()
    client.say(b"\r\n" * 50_000)
    assert 0 == len(memory.headers)
    client.say(b"\n" + REQUEST + b"\r\n")
    memory.upstream.say(RESPONSE)
    client.say(b"\r\n")
    client.hang_up()
    assert (REQUEST, False) == (bytes(memory.upstream.sent), client.open)


def test_what_is_framed_loosely_goes_on_strictly(memory: MemoryGateway) -> None:
    """Bare LF, folded fields, padded sizes, extensions, bytes after a chunk and trailers: none of it goes upstream."""
    client = memory.connect()
    client.say(b"POST\t/  HTTP/1.1 \nHost: a\nX:  1\r\n\t2 \nTransfer-Encoding: Chunked\n\n")
    client.say(b"3 ;x=y\r\nabcGET / HTTP/1.1\n0")
    client.say(b"2\t\r\nde\r\n0;last\r\nX: 1\n 2\r\n\n")
    memory.upstream.say(RESPONSE)
    expected = (
        b"POST / HTTP/1.1\r\nHost: a\r\nX: 1\t2\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert expected == bytes(memory.upstream.sent)


def test_head_has_no_body(memory: MemoryGateway) -> None:
    """The length in a response to HEAD is not waited for."""
    client = memory.connect()
    client.say(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    memory.upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    client.say(REQUEST)
    assert 1 == memory.cluster.counters.upstream_cx_total


def test_client_that_wants_to_close_is_closed(memory: MemoryGateway) -> None:
    """`Connection: close` ends the client's connection after the response, and leaves upstream's open."""
    client = memory.connect()
    client.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    memory.upstream.say(RESPONSE)
    assert b"connection: close\r\n\r\nhi" == bytes(client.sent)[-23:]
    assert (False, True) == (client.open, memory.upstream.open)


def test_half_closed_client_gets_its_answer(memory: MemoryGateway) -> None:
    """A client may send FIN after its request."""
    client = memory.connect()
    client.say(REQUEST)
    client.hang_up()
    memory.upstream.say(RESPONSE)
    assert (ANSWER, False) == (bytes(client.sent), client.open)


def test_stale_connection_is_replaced(memory: MemoryGateway) -> None:
    """A request that a reused connection did not take is sent again on a new one, once."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(RESPONSE)
    client.say(REQUEST)
    memory.upstream.break_down(ConnectionResetError())
    memory.upstream.say(RESPONSE)
    assert ANSWER * 2 == bytes(client.sent)
    assert (2, 1) == (memory.cluster.counters.upstream_cx_total, memory.cluster.counters.upstream_rq_retry)


@pytest.mark.parametrize("request_bytes", [POST + b"secret", REQUEST])
def test_no_second_try_where_it_is_not_safe(memory: MemoryGateway, request_bytes: bytes) -> None:
    """A POST, and any request on a connection that was new, is not repeated: 503."""
    client = memory.connect()
    if request_bytes != REQUEST:
        client.say(REQUEST)
        memory.upstream.say(RESPONSE)
    client.say(request_bytes)
    memory.upstream.hang_up()
    assert (1, 0) == (memory.counters.downstream_rq_5xx, memory.cluster.counters.upstream_rq_retry)
    assert b"reset reason: connection termination" in client.sent


def test_idle_connection_that_closes_is_forgotten(memory: MemoryGateway) -> None:
    """An upstream connection that ends while nobody uses it is not used again."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(RESPONSE)
    memory.upstream.hang_up()
    client.say(REQUEST)
    memory.upstream.say(RESPONSE)
    assert ANSWER * 2 == bytes(client.sent)
    assert 0 == memory.cluster.counters.upstream_rq_retry


def test_response_nobody_asked_for_is_nobodys(memory: MemoryGateway) -> None:
    """Bytes on an idle connection close it; they never become the answer to the next request."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(RESPONSE)
    first = memory.upstream
    first.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    client.say(REQUEST)
    memory.upstream.say(RESPONSE)
    assert (ANSWER * 2, False) == (bytes(client.sent), first.open)


def test_surplus_of_a_response_is_dropped(memory: MemoryGateway) -> None:
    """What follows a response's declared length closes the connection it came by."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(RESPONSE + b"HTTP/1.1 200 OK\r\n")
    assert (ANSWER, False, True) == (bytes(client.sent), memory.upstream.open, client.open)


def test_refused_connection_is_503(memory: MemoryGateway) -> None:
    """A destination that refuses gives Envoy's 503, and the client may ask again."""
    memory.cluster.failure = ConnectionRefusedError(111, "Connection refused")
    client = memory.connect()
    client.say(REQUEST)
    expected = (
        b"upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, "
        b"transport failure reason: delayed connect error: Connection refused"
    )
    assert expected == bytes(client.sent).partition(b"\r\n\r\n")[2]
    assert bytes(client.sent).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert client.open


def test_late_refusal_is_503(memory: MemoryGateway) -> None:
    """A connection that fails while it is being made is counted and answered like one that fails at once."""
    client = memory.connect()
    client.say(POST)
    memory.upstream.connecting = True
    memory.upstream.break_down(ConnectionRefusedError(111, "Connection refused"))
    assert bytes(client.sent).startswith(b"HTTP/1.1 503 ")
    assert (1, False) == (memory.cluster.counters.upstream_cx_connect_fail, client.open)


def test_no_http_from_upstream_is_502(memory: MemoryGateway) -> None:
    """An upstream that does not speak HTTP is a bad gateway."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(b"220 mail ESMTP\r\n")
    assert bytes(client.sent).startswith(b"HTTP/1.1 502 ")
    assert (1, False) == (memory.cluster.counters.upstream_cx_protocol_error, memory.upstream.open)


def test_broken_response_is_cut_short(memory: MemoryGateway) -> None:
    """A response that ends before its length ends the client's connection, so that the client can tell."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
    memory.upstream.hang_up()
    assert bytes(client.sent).endswith(b"\r\n\r\npart")
    assert not client.open


def test_malformed_request_reaches_nobody(memory: MemoryGateway) -> None:
    """A malformed request is answered with 400 and ends its connection; nothing goes upstream."""
    client = memory.connect()
    client.say(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
    assert bytes(client.sent).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert (False, []) == (client.open, memory.cluster.dialled)
    assert 1 == memory.counters.downstream_cx_protocol_error


def test_malformed_body_ends_both_sides(memory: MemoryGateway) -> None:
    """A chunk that is none ends the request on its way: 400, and the upstream connection is closed."""
    client = memory.connect()
    client.say(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.say(b"what\r\n")
    assert bytes(client.sent).startswith(b"HTTP/1.1 400 ")
    assert (False, False) == (client.open, memory.upstream.open)


def test_early_response_ends_the_connection(memory: MemoryGateway) -> None:
    """A response that does not wait for the request's body passes, and neither connection is used again."""
    client = memory.connect()
    client.say(POST)
    memory.upstream.say(RESPONSE)
    assert b"connection: close\r\n\r\nhi" == bytes(client.sent)[-23:]
    assert (False, False) == (client.open, memory.upstream.open)


def test_client_that_leaves_takes_its_request_along(memory: MemoryGateway) -> None:
    """The upstream connection of a client that is gone is closed, not left to deliver a response to somebody else."""
    client = memory.connect()
    client.say(REQUEST)
    client.break_down(ConnectionResetError())
    assert (False, {}) == (memory.upstream.open, memory.gateway.connections)


def test_slow_client_pauses_upstream(memory: MemoryGateway) -> None:
    """A client that does not read stops the upstream connection, until it reads again."""
    client = memory.connect()
    client.say(REQUEST)
    client.full = True
    memory.upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
    assert memory.upstream.paused
    client.drain()
    assert not memory.upstream.paused


def test_slow_upstream_pauses_the_client(memory: MemoryGateway) -> None:
    """An application that does not read the body stops the client, until it reads again."""
    client = memory.connect()
    client.say(POST)
    memory.upstream.full = True
    client.say(b"sec")
    assert client.paused
    memory.upstream.drain()
    assert not client.paused


def test_client_that_never_reads_is_not_served_further(memory: MemoryGateway) -> None:
    """Pipelined requests wait until the responses before them are read, so that they cannot pile up."""
    client = memory.connect()
    client.full = True
    client.say(REQUEST * 3)
    memory.upstream.say(RESPONSE)
    client.deliver()
    assert REQUEST == bytes(memory.upstream.sent)
    client.drain()
    assert REQUEST * 2 == bytes(memory.upstream.sent)


def test_websocket_becomes_a_pump(memory: MemoryGateway) -> None:
    """After 101 both connections pass bytes of any kind."""
    client = memory.connect()
    client.say(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    memory.upstream.say(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    )
    client.say(b"\x81\x01")
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    expected = switched + b"server: proxy\r\n\r\n\x81\x00"
    assert expected == bytes(client.sent)
    assert memory.upstream.sent.endswith(b"\r\n\r\n\x81\x01")
    client.hang_up()
    memory.upstream.hang_up()
    assert (False, False) == (client.open, memory.upstream.open)


def test_refused_websocket_ends_the_connection(memory: MemoryGateway) -> None:
    """What a client sent for a WebSocket that the server refuses is taken for no request, and neither end goes on."""
    client = memory.connect()
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
    client.say(upgrade + b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")
    memory.upstream.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
    expected = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nserver: proxy\r\nconnection: close\r\n\r\nno"
    assert (expected, upgrade) == (bytes(client.sent), bytes(memory.upstream.sent))
    assert (False, False) == (client.open, memory.upstream.open)


def test_unasked_upgrade_is_502(memory: MemoryGateway) -> None:
    """A server that switches protocols unasked is a bad gateway."""
    client = memory.connect()
    client.say(REQUEST)
    memory.upstream.say(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert bytes(client.sent).startswith(b"HTTP/1.1 502 ")
    assert not memory.upstream.open


def test_draining_closes_what_is_idle(memory: MemoryGateway) -> None:
    """Draining closes idle connections at once, and the others after their response, which says so."""
    idle, busy = memory.connect(), memory.connect()
    busy.say(REQUEST)
    memory.drain()
    assert (False, True) == (idle.open, busy.open)
    memory.upstream.say(RESPONSE)
    assert b"connection: close\r\n\r\nhi" == bytes(busy.sent)[-23:]
    assert (False, False) == (busy.open, memory.upstream.open)
