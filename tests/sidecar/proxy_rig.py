"""Rigs for tests of the proxy: memory in place of connections, or a separate thread with real sockets."""

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from tools import PATIENCE_S

from sidelab.sidecar.config.intent import Intent, Protocol
from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.http_connection import HttpConnection
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import Limits
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.listener import listen
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.share import Share
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.io.stream_interface import Receiver
from sidelab.sidecar.proxy.proxy import Proxy
from sidelab.sidecar.proxy.routing.routes import Route
from sidelab.sidecar.proxy.stats.outcome import RequestKey, TrafficOutcome
from sidelab.sidecar.proxy.stats.proxy_counters import ClusterCounters, HttpCounters
from sidelab.sidecar.proxy.upstreams.cluster import OriginalDestinations, UpstreamCluster
from sidelab.sidecar.proxy.upstreams.cluster_settings import ClusterSettings
from sidelab.sidecar.proxy.upstreams.host import UpstreamHost

DESTINATION = ("10.0.0.1", 80)


class MemoryWire:
    """A connection whose peer is the test: `sent` is what was written to it; `say` and `hang_up` act as the peer."""

    def __init__(self) -> None:
        self.connecting = False
        self.idle = True
        self.sent = bytearray()
        self.open = True
        self.ended = False
        self.full = False
        self.paused = False
        self.share = Share()
        self._receiver: Receiver | None = None
        self._waiting: deque[Callable[[Receiver], None]] = deque()

    def local(self) -> Destination:
        """See `Wire`, also for the methods that follow."""
        return ("10.0.0.9", 40000)

    def charge(self, share: Share) -> None:
        """Do as asked."""
        self.share = share

    def start(self, receiver: Receiver) -> None:
        """Do as asked."""
        self._receiver = receiver

    def redirect(self, receiver: Receiver) -> None:
        """Do as asked."""
        self._receiver = receiver

    def write(self, data: bytes) -> bool:
        """Do as asked."""
        if self.open:
            self.sent += data
        return not self.full

    def pause(self) -> None:
        """Do as asked."""
        self.paused = True

    def resume(self) -> None:
        """Do as asked."""
        self.paused = False

    def end(self) -> None:
        """Do as asked."""
        self.ended = True

    def close(self) -> None:
        """Close; lingering and aborting are the same in memory."""
        self.open = False
        self._receiver = None

    linger = abort = close

    def drop(self) -> None:
        """Do as asked."""
        self.break_down(ConnectionAbortedError())

    def say(self, data: bytes) -> None:
        """Let the peer send `data`."""
        self._tell(lambda receiver: receiver.received(data))

    def hang_up(self) -> None:
        """Let the peer send FIN."""
        self._tell(lambda receiver: receiver.ended())

    def drain(self) -> None:
        """Let the peer read everything."""
        self.full = False
        if self._receiver is not None:
            self._receiver.drained()
        self.deliver()

    def break_down(self, error: OSError) -> None:
        """Let the connection fail."""
        receiver = self._receiver
        self.close()
        if receiver is not None:
            receiver.lost(error)

    def deliver(self) -> None:
        """Hand over what the peer did while the wire was paused."""
        while self._waiting and not self.paused and self._receiver is not None:
            self._waiting.popleft()(self._receiver)

    def _tell(self, event: Callable[[Receiver], None]) -> None:
        self._waiting.append(event)
        self.deliver()


class MemoryCluster(OriginalDestinations):
    """A cluster whose every destination is the test; `dialled` are the connections to it, oldest first."""

    def __init__(self, loop: ProxyLoop) -> None:
        settings = ClusterSettings(Limits(head_bytes=4096, headers=20), own_server=True)
        super().__init__(loop, "memory", ClusterCounters(), settings, direction="inbound")
        self.dialled: list[MemoryWire] = []
        self.failure: OSError | None = None

    def dial(self, host: UpstreamHost) -> MemoryWire:  # type: ignore[override]  # a stream has no need to be one here
        """Return a new connection, or fail as the test requires."""
        assert DESTINATION == host.address
        self.counters.upstream_cx_total += 1
        if self.failure is not None:
            host.unreachable(self.failure)
            raise self.failure
        self.dialled.append(MemoryWire())
        return self.dialled[-1]


class OneRoute:
    """Routes that all lead to one cluster, or nowhere."""

    def __init__(self, cluster: UpstreamCluster | None) -> None:
        self.cluster = cluster

    def route(self, destination: Destination, host: bytes) -> Route[UpstreamCluster]:
        """Return the route."""
        assert DESTINATION == destination
        assert isinstance(host, bytes)
        return Route("default", self.cluster)


class Notes:
    """An observer that records its calls."""

    def __init__(self, *, wants_outcomes: bool = False) -> None:
        self.wants_outcomes = wants_outcomes
        self.requests: list[tuple[RequestKey, int, int]] = []
        self.connections: list[RequestKey] = []
        self.ends: list[tuple[RequestKey, int, int]] = []
        self.outcomes: list[TrafficOutcome] = []

    def requested(self, key: RequestKey, duration_us: int, received_bytes: int, sent_bytes: int) -> None:
        """Record the call, as do the methods that follow."""
        assert duration_us >= 0
        self.requests.append((key, received_bytes, sent_bytes))

    def connected(self, key: RequestKey) -> None:
        """Note."""
        self.connections.append(key)

    def disconnected(self, key: RequestKey, received_bytes: int, sent_bytes: int) -> None:
        """Note."""
        self.ends.append((key, received_bytes, sent_bytes))

    def observed(self, outcome: TrafficOutcome) -> None:
        """Note."""
        self.outcomes.append(outcome)


class MemoryGateway:
    """A gateway without sockets; `late` makes the time-out of connections without a complete head expire."""

    def __init__(self) -> None:
        self.loop = ProxyLoop()
        self.cluster = MemoryCluster(self.loop)
        self.counters = HttpCounters()
        self.notes = Notes(wants_outcomes=True)
        self.routes = OneRoute(self.cluster)
        self.headers = Deadlines(self.loop, 60.0)
        self.gateway = Gateway(
            "inbound", self.routes, self.cluster.settings, self.counters, self.headers, server_name="proxy"
        )
        self.gateway.tell(self.notes)

    def connect(self) -> MemoryWire:
        """Return a new client's connection."""
        wire = MemoryWire()
        wire.start(HttpConnection(self.gateway, wire, ServedRequest(DESTINATION, ("10.0.0.7", 50000))))
        return wire

    def drain(self) -> None:
        """Drain as a proxy does."""
        self.cluster.close()
        self.gateway.drain()

    def late(self) -> None:
        """Expire the time-out of all connections that wait for the end of a head."""
        for who in tuple(self.headers._waiting):
            self.headers.met(who)
            who.late()

    def close(self) -> None:
        """Close the loop."""
        self.loop.close()

    @property
    def upstream(self) -> MemoryWire:
        """The newest upstream connection."""
        return self.cluster.dialled[-1]


Script = Callable[[socket.socket], None]


class Rig:
    """A proxy with real sockets in a thread; all its captured connections were going to `destination`."""

    def __init__(self, stack: ExitStack, intent: Intent, destination: Destination) -> None:
        sockets = ListeningSockets(*((listen(socket.AF_INET, "127.0.0.1", 0),) for _ in range(5)))
        self.inbound: int = sockets.inbound[0].getsockname()[1]
        self.outbound: int = sockets.outbound[0].getsockname()[1]
        self.admin: int = sockets.admin[0].getsockname()[1]
        self.health: int = sockets.health[0].getsockname()[1]
        self.stats: int = sockets.stats[0].getsockname()[1]
        self.destination = destination
        self.intent = intent
        self._stack = stack
        self._loop = ProxyLoop()
        self._proxy = Proxy(self._loop, intent, sockets, lambda _connection: self.destination)
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    def dial(self, port: int | None = None) -> socket.socket:
        """Return a client's connection, by default to the inbound listener; it is closed with the rig."""
        client = socket.create_connection(("127.0.0.1", port or self.inbound), timeout=PATIENCE_S)
        self._stack.callback(client.close)
        return client

    def ask(self, request: bytes, port: int | None = None) -> bytes:
        """Send `request` and FIN from a new client, and return everything that it gets."""
        with self.dial(port) as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def do(self, call: Callable[[], None]) -> None:
        """Run `call` in the proxy's thread, and wait until it has returned."""
        done = threading.Event()

        def doing() -> None:
            call()
            done.set()

        self._loop.call_threadsafe(doing)
        assert done.wait(PATIENCE_S)

    def update(self, intent: Intent) -> None:
        """Give the proxy another intent."""
        self.do(lambda: self._proxy.update(intent))

    def counters(self) -> dict[str, int]:
        """Return what the proxy counted; final once `stop` has returned."""
        return dict(self._proxy._observation.registry)

    def drain(self) -> None:
        """Make the proxy drain, as SIGTERM does."""
        self._loop.call_threadsafe(self._proxy.drain)

    def stop(self) -> dict[str, int]:
        """Drain, wait until the proxy has returned, and return its counters."""
        if self._thread.is_alive():
            self.drain()
            self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.counters()

    def close(self) -> None:
        """Stop, and close what is left; connections to pages may still see their client's end after the proxy's."""
        self.stop()
        self._proxy.close()
        end_s = time.monotonic() + PATIENCE_S
        while self._wakers() != set(self._loop._handlers) and time.monotonic() < end_s:
            self._loop.turn(1)
        self._loop.close()

    def check_nothing_leaked(self) -> None:
        """Stop, and check that nothing is open or counted as open."""
        counters = self.stop()
        while any(value for name, value in self.counters().items() if name.endswith("_cx_active")):
            # What closed in the very last turn is released in the next.
            self._loop.turn(1)
        assert 0 == sum(value for name, value in counters.items() if name.endswith("downstream_cx_active"))
        assert 0 == sum(host.active for cluster in self._proxy._traffic.clusters for host in cluster.hosts)
        assert (0, 0) == (len(self._proxy._traffic.headers), len(self._proxy._traffic.detections))
        own = {listener._listening.fileno() for _, listener in self._proxy._own_ports._listeners}
        assert self._wakers() | own == set(self._loop._handlers)

    def _wakers(self) -> set[int]:
        """Return the loop's own descriptors."""
        return {self._loop._wake_reader.fileno(), self._loop._alarm.fileno()}

    def watch(self) -> Notes:
        """Return notes that record, from now on and instead of the metrics, what the proxy reports."""
        notes = Notes(wants_outcomes=True)

        def tell() -> None:
            for direction in (self._proxy._traffic.inbound, self._proxy._traffic.outbound):
                direction.gateway.tell(notes)
                direction.byte_service.tell(notes)

        self.do(tell)
        return notes


@contextmanager
def server(script: Script) -> Iterator[Destination]:
    """Yield the address of a server that runs `script` in a thread for each connection."""
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(PATIENCE_S)
            # The server ignores what a client does to its connection; that is for the proxy to handle.
            with suppress(ConnectionError):
                script(connection)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=run, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listening.getsockname()
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for thread in threads:
            thread.join()
        listening.close()


@contextmanager
def serving(intent: Intent, destination: Destination) -> Iterator[Rig]:
    """Yield a proxy whose connections were going to `destination`."""
    with ExitStack() as stack:
        proxy = Rig(stack, intent, destination)
        stack.callback(proxy.close)
        yield proxy


@contextmanager
def rig(protocol: Protocol, script: Script, **fields: Any) -> Iterator[Rig]:
    """Yield a proxy, with `fields` of its intent, in front of a `server` that runs `script`."""
    intent = Intent(protocol=protocol, **{"drain_s": 20.0, **fields})
    with server(script) as address, serving(intent, address) as proxy:
        yield proxy


def read_all(connection: socket.socket) -> bytes:
    """Return everything up to FIN or RST."""
    data = bytearray()
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        return bytes(data)
    return bytes(data)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Return what comes up to and including `end`."""
    data = b""
    while not data.endswith(end):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data
