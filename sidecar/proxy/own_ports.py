"""The ports of the proxy's own pages; they stay open during a drain, so that it can be watched."""

import socket
from collections.abc import Mapping

from sidelab.sidecar.proxy.admin.admin_connection import HEAD_S, AdminConnection
from sidelab.sidecar.proxy.admin.admin_pages import ProxyPages, Subject
from sidelab.sidecar.proxy.admin.commands import PageCommand
from sidelab.sidecar.proxy.admin.pace import Pace
from sidelab.sidecar.proxy.admin.proxy_status import ListenerStatus
from sidelab.sidecar.proxy.admin.proxy_view import listener_status
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.listener import Bounds, Listener, admission
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.share import Shares
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.io.stream import TcpStream
from sidelab.sidecar.proxy.stats.proxy_counters import ListenerCounters, TcpCounters

_OF_ONE, _ALL = 64, 256
"""How many connections to each of these ports one source may have, and all sources together."""


class OwnPorts:
    """Listeners on a proxy's `sockets` for pages about `subject`."""

    def __init__(self, loop: ProxyLoop, sockets: ListeningSockets, subject: Subject, shares: Shares) -> None:
        self._loop = loop
        self._shares = shares
        self._asking = Deadlines(loop, HEAD_S)
        pages = ProxyPages(subject)
        self._listeners = [
            *self._listen("admin", sockets.admin, pages.admin()),
            *self._listen("prometheus", sockets.stats, pages.metrics(), Pace(loop)),
            *self._listen("health", sockets.health, pages.health(), Pace(loop)),
        ]

    def statuses(self) -> list[ListenerStatus]:
        """Return the listeners that are open."""
        return [status for status, listener in self._listeners if not listener.closed]

    def close(self) -> None:
        """Stop accepting."""
        for _, listener in self._listeners:
            listener.close()

    def _listen(
        self,
        name: str,
        sockets: tuple[socket.socket, ...],
        commands: Mapping[str, PageCommand],
        pace: Pace | None = None,
    ) -> list[tuple[ListenerStatus, Listener]]:
        """Serve pages; the original destination is not looked up, so no connection is taken for a circle."""
        counters = ListenerCounters()
        bounds = Bounds(admission(_OF_ONE, _ALL), self._shares)

        def serve(stream: TcpStream, _destination: Destination, _client: Destination) -> None:
            stream.start(AdminConnection(stream, commands, self._asking, pace))

        return [
            (
                listener_status(name, listening),
                Listener(
                    self._loop,
                    listening,
                    counters,
                    serve,
                    find_destination=lambda _connection: ("", 0),
                    blackhole=TcpCounters(),
                    bounds=bounds,
                    on_closed=lambda: None,
                ),
            )
            for listening in sockets
        ]
