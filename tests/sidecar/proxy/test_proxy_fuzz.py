"""Whatever clients and servers send, the proxy answers with HTTP or closes, and goes on."""

import re
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_rig import MemoryGateway, MemoryWire

pytestmark = pytest.mark.slow

REQUEST = b"GET / HTTP/1.1\r\nHost: nginx\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-5]\d\d ?[^\r\n]*\r\n")

_WORDS = st.sampled_from(
    [
        REQUEST,
        RESPONSE,
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil close",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 304 Not Modified\r\n\r\n",
        b"\r\n",
        b"\n",
        b" ",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\n",
        b"0\r\n\r\n",
        b"\x16\x03\x01",
    ]
)


@st.composite
def _mutated(draw: st.DrawFn) -> bytes:
    """Return messages with a few bytes changed, taken out or put in, or anything at all."""
    data = bytearray(b"".join(draw(st.lists(_WORDS, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


_BYTES = _mutated() | _mutated() | st.binary(min_size=1, max_size=30)
_DEEDS = st.sampled_from(
    [
        *["client", "server"] * 3,
        *["client asks", "server answers"] * 3,
        *["client full", "client drain", "client end", "client reset"],
        *["server full", "server drain", "server end", "server reset"],
        *["refuse", "accept", "gateway drain", "late", "route away", "route back"],
    ]
)


def _do(memory: MemoryGateway, client: MemoryWire, deed: str, data: bytes) -> None:
    who, _, what = deed.partition(" ")
    if deed == "refuse":
        memory.cluster.failure = ConnectionRefusedError(111, "Connection refused")
    elif deed == "accept":
        memory.cluster.failure = None
    elif who == "route":
        memory.routes.cluster = memory.cluster if what == "back" else None
        memory.gateway.change(memory.routes, memory.cluster.settings, server_name="proxy")
    elif deed == "late":
        memory.late()
    elif deed == "gateway drain":
        memory.drain()
    elif who == "client":
        _act(client, what, data)
    else:
        for wire in memory.cluster.dialled[-2:]:
            _act(wire, what, data)


def _act(wire: MemoryWire, what: str, data: bytes) -> None:
    if what == "asks":
        wire.say(REQUEST)
    elif what == "answers":
        wire.say(RESPONSE)
    elif what == "full":
        wire.full = True
    elif what == "drain":
        wire.drain()
    elif what == "end":
        wire.hang_up()
    elif what == "reset":
        wire.break_down(ConnectionResetError(104, "Connection reset by peer"))
    else:
        middle = len(data) // 2
        for piece in (data[:middle], data[middle:]):
            if piece:
                wire.say(piece)


def _check(memory: MemoryGateway, deeds: list[tuple[str, bytes]]) -> None:
    client = memory.connect()
    for deed, data in deeds:
        _do(memory, client, deed, data)
        for wire in (client, *memory.cluster.dialled):
            wire.deliver()
    if client.sent:
        assert _STATUS_LINE.match(client.sent)
    client.break_down(ConnectionResetError(104, "Connection reset by peer"))
    assert ({}, 0) == (memory.gateway.connections, len(memory.headers))
    assert memory.counters.downstream_rq_total == len(memory.notes.requests) == len(memory.notes.outcomes)
    assert 0 == sum(host.active for host in memory.cluster.hosts)
    idle = {id(upstream.wire) for host in memory.cluster.hosts for upstream in host.idle}
    assert idle == {id(wire) for wire in memory.cluster.dialled if wire.open}

    memory.cluster.failure = None
    memory.routes.cluster = memory.cluster
    for wire in memory.cluster.dialled:
        wire.break_down(ConnectionResetError(104, "Connection reset by peer"))
    memory.gateway.draining = memory.cluster.closed = False
    after = memory.connect()
    after.say(REQUEST)
    memory.upstream.say(RESPONSE)
    assert after.sent.startswith(b"HTTP/1.1 200 OK\r\n")


@settings(deadline=None, max_examples=1000)
@given(deeds=st.lists(st.tuples(_DEEDS, _BYTES), max_size=12))
def test_nothing_breaks_it(deeds: list[tuple[str, bytes]]) -> None:
    """Any events in any order leave a gateway that has leaked nothing, told of each request once, and serves on."""
    with closing(MemoryGateway()) as memory:
        _check(memory, deeds)
