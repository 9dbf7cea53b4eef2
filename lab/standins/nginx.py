"""The nginx stand-in: an HTTP/1.1 server that answers quickly and evenly, and reports both ends of the connection.

One thread and one epoll loop over the connections, which `nginx_answers` serves. It imports next to nothing: a thousand
pods fork from it.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidelab.lab.errors import PodError
from sidelab.lab.standins.nginx_answers import DELAY, Connection

if TYPE_CHECKING:
    from sidelab.lab.plan.registry import Context

Connect = Callable[["NginxServer", socket.socket, tuple[str, int]], Connection]
"""Makes the connection of an accepted socket and its peer's address."""


DRAIN_S = 5.0
"""Responses under way have this long after SIGTERM."""

_BACKLOG = 4096
_EXHAUSTED_PAUSE_S = 0.1


def main(context: "Context") -> None:
    """Serve on the ports named in `context.args`, or in `PORT`, or on 80, until SIGTERM; then finish and return.

    `SPIN_US` in the environment delays every answer (see `lab.standins.spin`). Raises `PodError` for a port that is
    none or cannot be had, and for a delay that is none.
    """
    ports = [_port(text) for text in context.args or (context.env.get("PORT", "80"),)]
    listening = [each for port in ports for each in _listen(port)]
    server = NginxServer(listening, os.uname().nodename, _connections(context))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.stop())
    context.ready()
    server.run()


def _connections(context: "Context") -> Connect:
    """Choose once how accepted sockets are served: a server without a delay pays nothing for the feature."""
    text = context.env.get(DELAY)
    if not text:
        return Connection
    from sidelab.lab.standins.spin import Spinning, spin_ns  # noqa: PLC0415  # a thousand pods do without it

    late_ns = spin_ns(text)
    return lambda server, accepted, address: Spinning(server, accepted, address, late_ns)


class NginxServer:
    """Serves on `listening` as the pod `name` until `stop`, which may come from a signal handler or a thread."""

    def __init__(self, listening: list[socket.socket], name: str, connect: Connect = Connection) -> None:
        self.name = name
        self._connect = connect
        self.draining = False
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._listening = {sock.fileno(): sock for sock in listening}
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._accepting = True
        for number in (*self._listening, self._wake_reader.fileno()):
            self._epoll.register(number, select.EPOLLIN)

    def stop(self) -> None:
        """Stop accepting, finish the responses under way, and make `run` return."""
        if not self.draining:
            self._wake_writer.send(b"\0")

    def run(self) -> None:
        """Serve; returns after `stop`, with every socket closed."""
        connections = self._connections
        poll = self._epoll.poll
        timeout_s = -1.0
        while not self.draining or connections:
            events = poll(timeout_s)
            if not events and self.draining:
                break
            for number, happened in events:
                connection = connections.get(number)
                if connection is not None:
                    connection.happened(happened)
                elif number in self._listening:
                    self._accept(self._listening[number])
                elif number == self._wake_reader.fileno():
                    self._drain()
                    # From here on, only the time since the last progress is bounded: a response in flight moves.
                    timeout_s = DRAIN_S
            if not self._accepting and not self.draining:
                self._rest()
        self._close()

    def watch(self, connection: Connection, events: int) -> None:
        """Wait for other events of `connection`."""
        self._epoll.modify(connection.number, events)

    def forget(self, connection: Connection) -> None:
        """Close `connection`."""
        del self._connections[connection.number]
        connection.socket.close()

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:
            # No descriptor is left. The connection stays in the queue: look at it again after a rest.
            self._accepting = False
            return
        accepted.settimeout(0)
        connection = self._connect(self, accepted, address)
        self._connections[connection.number] = connection
        self._epoll.register(connection.number, select.EPOLLIN)

    def _rest(self) -> None:
        for number in self._listening:
            self._epoll.unregister(number)
        select.select((self._wake_reader,), (), (), _EXHAUSTED_PAUSE_S)
        for number in self._listening:
            self._epoll.register(number, select.EPOLLIN)
        self._accepting = True

    def _drain(self) -> None:
        self.draining = True
        self._epoll.unregister(self._wake_reader.fileno())
        for sock in self._listening.values():
            sock.close()
        self._listening.clear()
        for connection in tuple(self._connections.values()):
            connection.close_if_idle()

    def _close(self) -> None:
        for connection in tuple(self._connections.values()):
            self.forget(connection)
        self._epoll.close()
        self._wake_reader.close()
        self._wake_writer.close()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise PodError(f"nginx: {text!r} is no port: give 1 to 65535 as argument or in PORT")
    return int(text)


def _listen(port: int) -> list[socket.socket]:
    """Return listening sockets for IPv4 and, where the pod has it, IPv6; raises `PodError`."""
    try:
        sockets = [listen(socket.AF_INET, "0.0.0.0", port)]
    except OSError as error:
        raise PodError(f"nginx: port {port}: {error.strerror}: let no other container of the pod use it") from error
    try:
        sockets.append(listen(socket.AF_INET6, "::", port))
    except OSError:
        # No IPv6 in this pod, or in this kernel.
        return sockets
    return sockets


def listen(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections send without delay; port 0 takes a free one. Raises `OSError`."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
