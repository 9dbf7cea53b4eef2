"""A way out of the proxy: connections to original destinations, from a given source address, counted.

What Envoy calls an ORIGINAL_DST cluster; it knows no listener and no protocol.
"""

import socket
from typing import Protocol

from sidecar.proxy.counters import ClusterCounters, Registry
from sidecar.proxy.destination import Destination
from sidecar.proxy.loop import Loop
from sidecar.proxy.stream import Stream
from sidecar.proxy.wire import Wire

IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h; Python's socket module does not name it. The port is then chosen at connect, per destination."""


class Cluster(Protocol):
    """What an exchange needs of a cluster; tests put memory there."""

    counters: ClusterCounters

    def dial(self, destination: Destination) -> Wire:
        """Return a stream that is still to be started; raises `OSError`, already counted."""

    def unreachable(self, error: OSError) -> None:
        """Count a stream that was lost while it was connecting."""


class OriginalDestinations:
    """Dials where the traffic was going; `sources` are the addresses to come from, IPv4 then IPv6, if any."""

    def __init__(
        self,
        loop: Loop,
        name: str,
        registry: Registry,
        connect_timeout_s: float,
        sources: tuple[str, str] | None = None,
    ) -> None:
        self.name = name
        self.counters = registry.cluster(name)
        self._loop = loop
        self._connect_timeout_s = connect_timeout_s
        self._sources = sources

    def dial(self, destination: Destination) -> Stream:
        """Return a stream that is still to be started; raises `OSError`, already counted."""
        source = self._sources[":" in destination[0]] if self._sources else None
        counters = self.counters
        counters.upstream_cx_total += 1
        try:
            connection, connected = _connect(destination, source)
        except OSError as error:
            self.unreachable(error)
            raise
        counters.upstream_cx_active += 1
        stream = Stream(self._loop, connection, self._closed)
        if not connected:
            stream.connect_within(self._connect_timeout_s)
        return stream

    def unreachable(self, error: OSError) -> None:
        """Count a connection that was not made."""
        if isinstance(error, TimeoutError):
            self.counters.upstream_cx_connect_timeout += 1
        self.counters.upstream_cx_connect_fail += 1

    def _closed(self) -> None:
        self.counters.upstream_cx_active -= 1


def _connect(destination: Destination, source: str | None) -> tuple[socket.socket, bool]:
    """Return a non-blocking socket and whether it is connected, else it is about to be; raises `OSError`."""
    family = socket.AF_INET6 if ":" in destination[0] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            connection.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        connection.connect(destination)
    except BlockingIOError:
        return connection, _is_connected(connection)
    except OSError:
        connection.close()
        raise
    return connection, True


def _is_connected(connection: socket.socket) -> bool:
    """Whether the handshake ended within the call to connect, as it does between namespaces of one machine.

    To ask costs less than to wait for the loop to tell.
    """
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
