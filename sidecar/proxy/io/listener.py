"""A port at which captured connections arrive: accept them, find their destination, and hand them on.

Knows no protocol. A source with too many connections loses its idle ones, and then gets no new ones; see
`lab.net.admission`. A connection whose destination is this very port was dialled directly (or redirected in a circle)
and would come back here endlessly: it is closed and counted, like by Envoy's blackhole filter chains.
"""

import errno
import socket
from collections.abc import Callable
from typing import NamedTuple

from sidelab.lab.net.admission import Admission
from sidelab.lab.net.node_addresses import ADDRESSES
from sidelab.sidecar.proxy.io.destination import Destination, FindDestination
from sidelab.sidecar.proxy.io.proxy_loop import READ, ProxyLoop
from sidelab.sidecar.proxy.io.share import CONNECTION_BYTES, Shares
from sidelab.sidecar.proxy.io.stream import TcpStream
from sidelab.sidecar.proxy.io.transparent import make_transparent
from sidelab.sidecar.proxy.stats.proxy_counters import ListenerCounters, TcpCounters

BACKLOG = 4096
"""Bounded by net.core.somaxconn."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_PAUSE_S = 0.1


class Bounds(NamedTuple):
    """The bounds for one or several listeners: on the number of connections, and on the memory of each source."""

    opened: Admission[TcpStream]
    shares: Shares


Serve = Callable[[TcpStream, Destination, Destination], None]
"""Called with an accepted stream, not yet started, its destination, and its source."""


class _Plain(socket.socket):
    """A listening socket with constant family and type: otherwise `accept` makes enums of them on every call."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM


class _Plain6(_Plain):
    family = socket.AF_INET6


def listen(family: socket.AddressFamily, host: str, port: int, *, transparent: bool = False) -> socket.socket:
    """Return a listening socket; port 0 means any free port. Raises `OSError`.

    `transparent`: it also accepts connections to addresses that are not this pod's, which TPROXY delivers.
    """
    kind = _Plain6 if family == socket.AF_INET6 else _Plain
    listening = kind(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit this option.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            make_transparent(listening)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def admission(most_of_one: int, most: int) -> Admission[TcpStream]:
    """Return an admission with these bounds; the node's connections, such as probes, are always accepted."""
    return Admission(
        most_of_one, most, silent=lambda stream: stream.idle, drop=lambda stream: stream.drop(), always=ADDRESSES
    )


class Listener:
    """Accepts on `listening`, one connection per turn, so that open connections get their share of the time."""

    def __init__(
        self,
        loop: ProxyLoop,
        listening: socket.socket,
        counters: ListenerCounters,
        serve: Serve,
        *,
        find_destination: FindDestination,
        blackhole: TcpCounters,
        bounds: Bounds,
        on_closed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._counters = counters
        self._serve = serve
        self._find_destination = find_destination
        self._blackhole = blackhole
        self._opened, self._shares = bounds
        self._on_closed = on_closed
        self._port: int = listening.getsockname()[1]
        self._watched = False
        self.closed = False
        self._watch()

    def close(self) -> None:
        """Stop accepting; open connections stay."""
        self.closed = True
        if self._watched:
            self._loop.forget(self._listening.fileno())
            self._watched = False
        self._listening.close()

    def _watch(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.watch(self._listening.fileno(), READ, self._accept)
            self._watched = True

    def _accept(self, _events: int) -> None:
        try:
            connection, client = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                return  # an error that is already pending on the new connection: accept(2)
            # The connection stays in the queue, and epoll would report it again at once: wait for others to close.
            self._counters.downstream_cx_overload_reject += 1
            self._loop.forget(self._listening.fileno())
            self._watched = False
            self._loop.call_later(_EXHAUSTED_PAUSE_S, self._watch)
            return
        source = client[0]
        share = self._shares.of(source)
        if not self._opened.has_room(source, crowded=not share.has_room(CONNECTION_BYTES)):
            self._counters.downstream_cx_overload_reject += 1
            connection.close()
            return
        connection.settimeout(0)
        self._counters.downstream_cx_total += 1
        try:
            destination = self._find_destination(connection)
        except OSError:
            # The connection was reset before it was accepted.
            connection.close()
            return
        if destination[1] == self._port:
            self._blackhole.downstream_cx_total += 1
            connection.close()
            return
        self._counters.downstream_cx_active += 1
        share.connections += 1
        stream = TcpStream(self._loop, connection, self._closed, share)
        self._opened.add(source, stream)
        self._serve(stream, destination, client)

    def _closed(self, stream: TcpStream) -> None:
        share = stream.share
        share.connections -= 1
        self._opened.gone(share.source, stream)
        self._counters.downstream_cx_active -= 1
        self._on_closed()
