"""What the proxy's tests run it in: memory in place of connections, or a thread of its own with real sockets."""

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from sidecar.intent import Intent, Protocol
from sidecar.proxy.counters import ClusterCounters, HttpCounters
from sidecar.proxy.destination import Destination
from sidecar.proxy.downstream import Gateway
from sidecar.proxy.listener import listen
from sidecar.proxy.loop import Loop
from sidecar.proxy.main import Proxy, Sockets
from sidecar.proxy.message import Limits
from sidecar.proxy.upstream import Pool
from sidecar.proxy.wire import Receiver

DESTINATION = ("10.0.0.1", 80)


class MemoryWire:
    """A connection whose peer is the test: `sent` is what was written to it, `say` and `hang_up` act as the peer."""

    def __init__(self) -> None:
        self.connecting = False
        self.sent = bytearray()
        self.open = True
        self.ended = False
        self.full = False
        self.paused = False
        self._receiver: Receiver | None = None
        self._waiting: deque[Callable[[Receiver], None]] = deque()

    def start(self, receiver: Receiver) -> None:
        """See `Wire`; so for the following."""
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
        """Do as asked; lingering and aborting are the same in memory."""
        self.open = False
        self._receiver = None

    linger = abort = close

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


class MemoryCluster:
    """A cluster whose every destination is the test; `dialled` are the connections to it, oldest first."""

    def __init__(self) -> None:
        self.counters = ClusterCounters()
        self.dialled: list[MemoryWire] = []
        self.failure: OSError | None = None

    def dial(self, destination: Destination) -> MemoryWire:
        """Return a new connection, or fail as the test wants it."""
        assert DESTINATION == destination
        self.counters.upstream_cx_total += 1
        if self.failure is not None:
            raise self.failure
        self.dialled.append(MemoryWire())
        return self.dialled[-1]

    def unreachable(self, _error: OSError) -> None:
        """Count."""
        self.counters.upstream_cx_connect_fail += 1


class MemoryGateway:
    """A gateway without sockets."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.counters = HttpCounters()
        self.pool = Pool(self.cluster, Limits(head_bytes=4096, headers=20), own_server=True)
        self.gateway = Gateway(self.pool, self.counters, "proxy")

    def connect(self) -> MemoryWire:
        """Return a new client's connection."""
        wire = MemoryWire()
        self.gateway.serve(wire, DESTINATION)
        return wire

    @property
    def upstream(self) -> MemoryWire:
        """The newest upstream connection."""
        return self.cluster.dialled[-1]


Script = Callable[[socket.socket], None]


class Rig:
    """A proxy with real sockets in a thread, all of whose captured connections were going to `destination`."""

    def __init__(self, stack: ExitStack, intent: Intent, destination: Destination) -> None:
        sockets = Sockets(*((listen(socket.AF_INET, "127.0.0.1", 0),) for _ in range(4)))
        self.inbound: int = sockets.inbound[0].getsockname()[1]
        self.outbound: int = sockets.outbound[0].getsockname()[1]
        self.admin: int = sockets.admin[0].getsockname()[1]
        self.health: int = sockets.health[0].getsockname()[1]
        self.destination = destination
        self._stack = stack
        self._loop = Loop()
        self._proxy = Proxy(self._loop, intent, sockets, lambda _connection: self.destination)
        self._thread = threading.Thread(target=self._loop.run)
        self._thread.start()

    def dial(self, port: int | None = None) -> socket.socket:
        """Return a client's connection, by default to the inbound listener; it is closed with the rig."""
        client = socket.create_connection(("127.0.0.1", port or self.inbound), timeout=10)
        self._stack.callback(client.close)
        return client

    def counters(self) -> dict[str, int]:
        """Return what the proxy counted; final once `stop` has returned."""
        return dict(self._proxy._registry)

    def drain(self) -> None:
        """Have the proxy drain, as SIGTERM does."""
        self._loop.call_threadsafe(self._proxy.drain)

    def stop(self) -> dict[str, int]:
        """Drain, wait until the proxy has returned, and return its counters."""
        if self._thread.is_alive():
            self.drain()
            self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.counters()

    def close(self) -> None:
        """Stop, and close what is left."""
        self.stop()
        self._proxy.close()
        self._loop.close()


@contextmanager
def rig(protocol: Protocol, script: Script, *, drain_s: float = 20.0, connect_timeout_s: float = 10.0) -> Iterator[Rig]:
    """Yield a proxy in front of a server that runs `script` in a thread for each connection."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threads: list[threading.Thread] = []

        def run(connection: socket.socket) -> None:
            with connection:
                connection.settimeout(10)
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

        def stop_server() -> None:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()

        stack.callback(stop_server)
        intent = Intent(protocol=protocol, drain_s=drain_s, connect_timeout_s=connect_timeout_s)
        proxy = Rig(stack, intent, listening.getsockname())
        stack.callback(proxy.close)
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
