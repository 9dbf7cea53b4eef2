import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.sidecar.proxy.http.message import Limits, RequestHead, ResponseHead, parse_request, parse_response
from sidelab.sidecar.proxy.http.message_body import CHUNKED, UNTIL_CLOSE, BadMessageError, ChunkedBody, forwarded

LIMITS = Limits(head_bytes=2000, headers=20)


def _request(data: bytes) -> RequestHead:
    head = parse_request(data, LIMITS)
    assert head is not None
    return head


def _response(data: bytes, method: bytes = b"GET", *, own_server: bool = True) -> ResponseHead:
    head = parse_response(data, LIMITS, method, own_server=own_server)
    assert head is not None
    return head


def test_plain_request_is_forwarded_as_it_came() -> None:
    """A request without hop-by-hop fields goes upstream byte for byte, and what follows it is not part of it."""
    data = b"GET /a?b HTTP/1.1\r\nhOsT: nginx\r\nX: y \r\n\r\n"
    head = _request(data + b"GET /next")
    assert (b"GET", data, len(data), 0) == (head.method, head.forward, head.size, head.length)


def test_hop_by_hop_fields_stay_behind() -> None:
    """Connection, what it names, and its relatives concern one connection only and are not passed on."""
    data = (
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n"
        b"TE: trailers\r\nProxy-Connection: x\r\nContent-Length: 3\r\nY: 2\r\n\r\n"
    )
    head = _request(data)
    assert b"POST / HTTP/1.1\r\nHost: a\r\nte: trailers\r\nContent-Length: 3\r\nY: 2\r\n\r\n" == head.forward
    assert (3, False) == (head.length, head.close)


def test_http2_upgrade_is_not_passed_on() -> None:
    """An offer of h2c is dropped, so that the upstream connection stays HTTP/1.1."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + offer + b"\r\n"
    assert b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" == _request(data).forward


def test_websocket_upgrade_is_passed_on() -> None:
    """An offer of a WebSocket reaches the application as it was written."""
    head = _request(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n")
    assert (True, head.raw) == (head.websocket, head.forward)


@pytest.mark.parametrize("field", [b"Content-Length: 0", b"Content-Length: 5", b"X: 1\r\ncontent-length: 00"])
def test_websocket_upgrade_may_have_a_length(field: bytes) -> None:
    """What follows the head of an upgrade belongs to the WebSocket, whatever length is told."""
    head = _request(
        b"POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n" + field + b"\r\nConnection: Upgrade\r\n\r\n"
    )
    assert (True, 0, head.raw) == (head.websocket, head.length, head.forward)


def test_websocket_upgrade_has_no_chunks() -> None:
    """A transfer coding that an upgrade names does not reach the application, which would wait for chunks."""
    head = _request(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    expected = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert (True, 0, expected) == (head.websocket, head.length, head.forward)


@pytest.mark.parametrize(
    ("before", "coding"),
    [
        (b"", b"Transfer-Encoding: chunked\t"),
        (b"", b"transfer-encoding:Chunked "),
        (b"X: chunked\r\n", b"Transfer-Encoding:  CHUNKED "),
    ],
)
def test_coding_goes_on_as_every_reader_knows_it(before: bytes, coding: bytes) -> None:
    """Blanks around the one transfer coding, and its case, do not go on: some readers would find no chunks then."""
    written = before + coding + b"\r\n\r\n"
    strict = before + b"transfer-encoding: chunked\r\n"
    request, response = b"POST / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n"
    assert request + strict + b"\r\n" == _request(request + written).forward
    assert response + strict == _response(response + written).lines


@pytest.mark.parametrize("value", [b"\r1", b"1\r", b" \r 1 \r "])
def test_cr_around_a_length_is_dropped(value: bytes) -> None:
    """A CR at the ends of a length is no part of it, as around any other value."""
    head = _request(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:" + value + b"\r\n\r\n")
    assert (1, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n") == (head.length, head.forward)


def test_cr_within_a_value_is_dropped() -> None:
    """A CR within any value that frames nothing is dropped, as by Envoy."""
    head = _request(b"GET / HTTP/1.1\r\nHost: a\r\nX: \ra\r \rb\r\r\n\r\n")
    assert b"GET / HTTP/1.1\r\nHost: a\r\nX: a b\r\n\r\n" == head.forward


def test_empty_line_before_a_request_is_forgiven() -> None:
    """One empty line before a request is left out."""
    head = _request(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (29, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") == (head.size, head.forward)


@pytest.mark.parametrize("end", [0, 1, 5, 16, 20, 24, 26])
def test_beginning_of_a_request_is_incomplete(end: int) -> None:
    """A head is waited for until its empty line."""
    whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert parse_request(whole[:end], LIMITS) is None


@pytest.mark.parametrize(
    ("status", "data"),
    [
        (400, b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00"),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: :path\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r1\r\n\r\n"),
        (400, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n"),
        (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun\rked\r\n\r\n"),
        (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (426, b"GET / HTTP/1.0\r\n\r\n"),
        (400, b"PRI * HTTP/2.0\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nX\rY: b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n folded: b\r\nHost: a\r\n\r\n"),
        (400, b"GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, b"get / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (426, b"GET /\r\n"),
        (426, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000 + b"\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 20 + b"\r\n"),
    ],
)
def test_refused_requests(status: int, data: bytes) -> None:
    """What is malformed, ambiguous, too large or of another version is refused with its status."""
    with pytest.raises(BadMessageError) as caught:
        parse_request(data, LIMITS)
    assert status == caught.value.status


def test_response_loses_its_servers_name_and_connection() -> None:
    """The server's name gives way to the proxy's, and the upstream connection's fate is not the client's."""
    data = b"HTTP/1.0 200 OK\r\nServer: nginx\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"
    head = _response(data)
    assert (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 2, False) == (head.lines, head.length, head.close)


@pytest.mark.parametrize("version", [b"1.0", b"1.1", b"1.2"])
def test_switch_goes_on_in_the_version_that_is_spoken(version: bytes) -> None:
    """A response 101 is passed on as HTTP/1.1, whatever its server says, as any other response is."""
    lines = b" 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    assert b"HTTP/1.1" + lines == _response(b"HTTP/" + version + lines + b"\r\n").lines


def test_server_is_kept_where_the_proxy_has_no_name() -> None:
    """Outbound, the application's `server` is passed on."""
    data = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 0\r\n"
    assert data == _response(data + b"\r\n", own_server=False).lines


@pytest.mark.parametrize(
    ("method", "data", "length", "close"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, False),
        (b"GET", b"HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n", CHUNKED, False),
        (b"GET", b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, True),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, False),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 0, False),
        (b"GET", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", 0, True),
        (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 5, True),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0, False),
    ],
)
def test_response_length(method: bytes, data: bytes, length: int, close: bool) -> None:
    """A response's length follows from its status, its fields and the request's method (RFC 9112 section 6.3)."""
    head = _response(data, method)
    assert (length, close) == (head.length, head.close)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chun\rked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 82000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 82000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 21 + b"\r\n",
        b"HTTP/1.1 1000 No\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 00\r\n\r\n",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_refused_responses(data: bytes) -> None:
    """A response that two readers could understand differently is the upstream's fault."""
    with pytest.raises(BadMessageError) as caught:
        parse_response(data, LIMITS, b"GET", own_server=True)
    assert 502 == caught.value.status


@settings(deadline=None, max_examples=100)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    cuts=st.lists(st.integers(min_value=1, max_value=30), max_size=30),
    size=st.sampled_from([b"", b" ", b'\t;a="b"', b";" + b"x" * 20]),
    end=st.sampled_from([b"\r", b"", b"more"]),
    trailer=st.sampled_from([b"", b"x-sum: 1\r\n", b"x: 1\n 2\r\n"]),
)
def test_chunked_body_ends_where_it_ends(
    chunks: list[bytes], cuts: list[int], size: bytes, end: bytes, trailer: bytes
) -> None:
    """However a chunked body is cut into pieces, exactly its own bytes are taken, and its chunks alone go on."""
    whole = (
        b"".join(b"%x%b\r\n%b%b\n" % (len(chunk), size, chunk, end) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"
    )
    data, body, taken, goes_on = whole + b"GET /next", ChunkedBody(400), 0, b""
    for cut in [*cuts, len(data)]:
        piece = data[taken : taken + cut]
        if body.done or not piece:
            break
        fed = body.feed(piece)
        goes_on += forwarded(body, piece, fed)
        taken += fed
    strict = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    assert (len(whole), True, strict) == (taken, body.done, goes_on)


@pytest.mark.parametrize(
    "data",
    [
        b"g\r\n",
        b"-1\r\n",
        b"1\n",
        b"\r\n",
        b" 1\r\n",
        b"0\r\nbad trailer\r\n",
        b"1" * 9000,
        b"1" + b"0" * 16 + b"\r\n",
        b"3\x00\r\n",
        b"3;a\rb\r\n",
        b"0\r\n x: 1\r\n\r\n",
    ],
)
def test_malformed_chunks(data: bytes) -> None:
    """A chunk whose framing is not exact is refused."""
    with pytest.raises(BadMessageError):
        ChunkedBody(400).feed(data)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"HEAD /a HTTP/1.1"])
def test_connection_cannot_name_the_request_line(line: bytes) -> None:
    """A Connection field that lists the first line itself takes away fields alone."""
    data = line + b"\r\nHost: a\r\nX: 1\r\nConnection: x, " + line + b"\r\n\r\n"
    head = parse_request(data, Limits(4096, 20))
    assert head is not None
    assert line + b"\r\nHost: a\r\n\r\n" == head.forward
