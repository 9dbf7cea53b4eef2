"""The table of a connection's states, and the real thing against it: random events in any order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_rig import MemoryGateway, MemoryWire, OneRoute

from sidelab.sidecar.proxy.exchange.connection_states import (
    EVENTS,
    HEAD,
    IMPOSSIBLE,
    OVER,
    STATES,
    TABLE,
    ConnectionState,
)
from sidelab.sidecar.proxy.exchange.http_connection import HttpConnection
from sidelab.sidecar.proxy.io.share import SMALL_BYTES, Share

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LONG = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * SMALL_BYTES)
CHUNKS = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
SAID_BY_CLIENTS = {
    "a request": GET,
    "two requests": GET * 2,
    "a large head": LONG,
    "a head's beginning": LONG[: SMALL_BYTES + 20],
    "a head's end": LONG[SMALL_BYTES + 20 :],
    "empty lines": b"\r\n\r\n",
    "one that closes": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "one for a WebSocket": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "a head with a length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n",
    "a whole body": b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
    "a head with chunks": CHUNKS,
    "six bytes": b"secret",
    "a chunk": b"3\r\nabc\r\n",
    "the last chunk": b"0\r\n\r\n",
    "nonsense": b"?\n\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}
SAID_BY_SERVERS = {
    "a response": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a response's beginning": b"HTTP/1.1 200 OK\r\nContent-",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhi",
    "two bytes": b"hi",
    "an endless body": b"HTTP/1.1 200 OK\r\n\r\n",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a switch": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "no HTTP": b"220 ESMTP\r\n\r\n",
}
DONE_BY_CLIENTS = ("ends", "fails", "stops reading", "reads")
DONE_BY_SERVERS = ("ends", "fails", "refuses", "stops reading", "reads")
DONE_BY_THE_PROXY = ("late", "drain", "sweep", "new routes", "no route", "a route", "unreachable", "reachable")

EVENT = st.one_of(
    st.tuples(st.just("client says"), st.sampled_from(sorted(SAID_BY_CLIENTS))),
    st.tuples(st.just("server says"), st.sampled_from(sorted(SAID_BY_SERVERS))),
    st.tuples(st.just("client"), st.sampled_from(DONE_BY_CLIENTS)),
    st.tuples(st.just("server"), st.sampled_from(DONE_BY_SERVERS)),
    st.tuples(st.just("proxy"), st.sampled_from(DONE_BY_THE_PROXY)),
)
Events = list[tuple[str, str]]

WAYS: dict[str, Events] = {
    "HEAD": [],
    "BODY": [("client says", "a head with a length")],
    "EARLY": [("client says", "a head with a length"), ("server says", "half a body")],
    "WAITING": [("client says", "a request")],
    "ANSWERING": [("client says", "a request"), ("server says", "half a body")],
    "OVER": [("client", "ends")],
}

SLOW: Events = [("client says", "a head with chunks"), ("server", "stops reading"), ("client says", "a chunk")]
NOT_READ: Events = [("client says", "a request"), ("client", "stops reading"), ("server says", "half a body")]
HISTORIES = st.builds(
    lambda way, events: [*way, *events],
    st.sampled_from([*WAYS.values(), SLOW, NOT_READ]),
    st.lists(EVENT, max_size=10),
)


class Played:
    """A client's connection through the real objects, with memory for its two ends and one share for both."""

    def __init__(self, memory: MemoryGateway) -> None:
        self.memory = memory
        memory.gateway.pass_on = self._pass_on
        self.client = memory.connect()
        self.client.share = self.share = Share(source="10.0.0.7")
        connection = self.client._receiver
        assert isinstance(connection, HttpConnection)
        self.connection = connection
        self._reached: list[MemoryWire] = []

    def play(self, who: str, what: str) -> None:
        """Have one thing happen, if it can: a wire that is closed does nothing more."""
        dialled = self.memory.cluster.dialled
        wire = self.client if who.startswith("client") else dialled[-1] if dialled else None
        if who == "proxy":
            self._decide(what)
        elif wire is not None and wire.open and who.endswith("says"):
            self._reached.append(wire)
            wire.say({**SAID_BY_CLIENTS, **SAID_BY_SERVERS}[what])
        elif wire is not None and wire.open:
            self._do(wire, what)
        self.settle()

    def settle(self) -> None:
        """Hand over what waited for a pause to end, as the loop does."""
        for wire in (self.client, *self.memory.cluster.dialled):
            wire.deliver()

    def finish(self) -> None:
        """Let both ends answer to all that is asked, and the client leave: then nothing may be left."""
        self.memory.cluster.failure = None
        for wire in (self.client, *self.memory.cluster.dialled):
            if wire.open and wire.full:
                wire.drain()
            self.settle()
        if self.client.open:
            self.client.break_down(ConnectionResetError())
        for wire in self.memory.cluster.dialled:
            if wire.open:
                wire.hang_up()

    def _do(self, wire: MemoryWire, what: str) -> None:
        if what == "ends":
            self._reached.append(wire)
            wire.hang_up()
        elif what == "fails":
            wire.break_down(ConnectionResetError())
        elif what == "refuses":
            wire.connecting = wire not in self._reached
            wire.break_down(ConnectionRefusedError(111, "Connection refused"))
        elif what == "stops reading":
            wire.full = True
        else:
            self._reached.append(wire)
            wire.drain()

    def _decide(self, what: str) -> None:
        memory = self.memory
        calls: dict[str, Callable[[], object]] = {
            "late": memory.late,
            "drain": memory.drain,
            "sweep": lambda: memory.gateway.sweep(2),
            "new routes": lambda: memory.gateway.change(memory.routes, memory.cluster.settings, server_name="proxy"),
            "no route": lambda: setattr(memory.gateway, "routes", OneRoute(None)),
            "a route": lambda: setattr(memory.gateway, "routes", memory.routes),
            "unreachable": lambda: setattr(memory.cluster, "failure", ConnectionRefusedError(111, "refused")),
            "reachable": lambda: setattr(memory.cluster, "failure", None),
        }
        calls[what]()

    def _pass_on(self, wire: object, _destination: object, _client: object) -> None:
        assert wire is self.client
        self.client.close()


@contextmanager
def played() -> Iterator[Played]:
    """Yield a connection, and give back its loop."""
    memory = MemoryGateway()
    try:
        yield Played(memory)
    finally:
        memory.close()


def test_every_event_in_every_state_is_in_the_table_or_impossible_for_a_reason():
    """The two tables name each pair once, and the states' attributes are the first of them."""
    for state in STATES:
        assert set(EVENTS) == {*TABLE[state], *IMPOSSIBLE[state]}
        assert not TABLE[state].keys() & IMPOSSIBLE[state].keys()
        assert all(IMPOSSIBLE[state].values())
        assert dict(TABLE[state]) == {event: getattr(state, event) for event in EVENTS if hasattr(state, event)}


def test_every_state_is_reached_and_ends():
    """From HEAD the table leads to every state, and from every state to OVER, from which nothing leads away."""
    reached, todo = {HEAD}, [HEAD]
    while todo:
        found = set(TABLE[todo.pop()].values()) - reached
        reached |= found
        todo += found
    assert set(STATES) == reached
    assert {OVER} == {TABLE[state]["left"] for state in STATES} == set(TABLE[OVER].values())


def test_an_answer_begins_once_a_request():
    """Between two requests there is one `answered` at most: no way leads from an answer to another but by HEAD."""
    for state in STATES:
        if state.answering:
            assert not hasattr(state, "answered")
            assert all(follows.answering for event, follows in TABLE[state].items() if event not in ("kept", "left"))


@pytest.mark.parametrize("name", WAYS)
def test_real_connections_reach_every_state(name: str) -> None:
    """Each state is one that traffic brings about."""
    with played() as it:
        for event in WAYS[name]:
            it.play(*event)
        assert name == repr(it.connection._state)


def check(it: Played) -> None:
    """Check what holds between any two events."""
    connection, wire = it.connection, it.client
    state, given = connection._state, connection._input
    assert state in STATES
    assert (state is not OVER) == (connection in it.memory.gateway.connections)
    upstream = connection._request.upstream
    assert (upstream is not None) == (state not in (HEAD, OVER))
    # Nobody is paused without somebody who will let it go on.
    assert wire.full or not connection._choked
    if state is not OVER:
        assert wire.open
        assert given.paused == wire.paused
        if wire.paused and state is HEAD:
            assert connection._choked
        if wire.paused and state.complete_request:
            assert given.begun
        if wire.paused and not state.complete_request and state is not HEAD:
            assert upstream is not None
            assert upstream.wire.full
        if upstream is not None and upstream.wire.paused:
            assert connection._choked
        if given.begun and state is HEAD:
            assert connection in it.memory.headers._waiting or connection._choked
    else:
        assert 0 == given.held
    active = sum(host.active for host in it.memory.cluster.hosts)
    assert active == (upstream is not None)


@given(HISTORIES)
@settings(max_examples=400, deadline=None)
def test_no_order_of_events_leaves_anything_stuck_or_charged(events: Events) -> None:
    """Whatever happens in whatever order: a pause has somebody who ends it, and the share returns to zero."""
    with played() as it:
        for event in events:
            it.play(*event)
            check(it)
        it.finish()
        check(it)
        assert OVER is it.connection._state
        assert 0 == it.share.waiting_bytes
        assert (0, {}) == (len(it.memory.headers), it.memory.gateway.connections)


@given(HISTORIES)
@settings(max_examples=200, deadline=None)
def test_states_change_as_the_table_says(events: Events) -> None:
    """Each change that real traffic brings about is in the table."""
    steps: list[tuple[ConnectionState, ConnectionState]] = []

    class Watched(HttpConnection):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "_state" and hasattr(self, "_state"):
                assert isinstance(value, ConnectionState)
                steps.append((self._state, value))
            super().__setattr__(name, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("proxy_rig.HttpConnection", Watched)
        with played() as it:
            for event in events:
                it.play(*event)
            it.finish()
    assert [] == [(one, other) for one, other in steps if other not in TABLE[one].values()]
