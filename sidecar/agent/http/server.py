"""The agent's HTTP server: one request per connection, answered whenever the answer is ready.

It knows no pages: a handler gets each request, and a function to answer it.
"""

import errno
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

from sidelab.lab.errors import PodError
from sidelab.sidecar.agent.http.connection import Guest
from sidelab.sidecar.proxy.http.message import Limits, parse_request
from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.io.listener import admission, listen
from sidelab.sidecar.proxy.io.proxy_loop import READ, ProxyLoop
from sidelab.sidecar.proxy.io.stream import TcpStream

TEXT = "text/plain; charset=utf-8"

_LIMITS = Limits(head_bytes=16 * 1024, headers=100)
_HEAD_S = 10.0
_MOST_OF_ONE, _MOST = 64, 256
"""How many connections one source may have, and all together; beyond that, those without a request are dropped."""

_PAUSE_S = 0.1


@dataclass(frozen=True)
class Request:
    """A request: `path` is without its query, `raw` is the head as received, `peer` is the client's address."""

    method: str
    path: str
    raw: bytes
    peer: str


class Reply(NamedTuple):
    """An answer: a status from 200 on, a body, and its content type."""

    status: int
    body: bytes = b""
    kind: str = TEXT


Handle = Callable[[Request, Callable[[Reply], None]], None]
"""Called with a request and a function to call once, in the loop, with the answer."""


class AgentServer:
    """Serves a port on all addresses, IPv6 included if the pod has it."""

    def __init__(self, loop: ProxyLoop, port: int, handle: Handle) -> None:
        """Listen; raises `PodError` for a port that is taken."""
        self._loop = loop
        self._handle = handle
        self._open = admission(_MOST_OF_ONE, _MOST)
        with ExitStack() as opened:
            try:
                sockets = [opened.enter_context(listen(socket.AF_INET, "0.0.0.0", port))]
            except OSError as error:
                raise PodError(f"agent: port {port}: {error.strerror}: let nothing else in the pod use it") from error
            try:
                sockets.append(opened.enter_context(listen(socket.AF_INET6, "::", port)))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PodError(f"agent: [::]:{port}: {error.strerror}: let nothing else use it") from error
            opened.pop_all()
        self._sockets = sockets
        for each in sockets:
            self._watch(each)

    @property
    def port(self) -> int:
        """The port, chosen by the kernel if 0 was requested."""
        number: int = self._sockets[0].getsockname()[1]
        return number

    def close(self) -> None:
        """Stop accepting."""
        for each in self._sockets:
            self._loop.forget(each.fileno())
            each.close()

    def _watch(self, listening: socket.socket) -> None:
        self._loop.watch(listening.fileno(), READ, lambda _events: self._accept(listening))

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, address = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: the connection waits, and epoll would report it at once
            self._loop.forget(listening.fileno())
            self._loop.call_later(_PAUSE_S, lambda: self._watch(listening))
            return
        source = address[0]
        if not self._open.has_room(source):
            connection.close()
            return
        connection.settimeout(0)
        stream = TcpStream(self._loop, connection, partial(self._open.gone, source))
        self._open.add(source, stream)
        stream.start(Exchange(self._loop, stream, source, self._handle))


class Exchange(Guest):
    """The receiver of a connection: one request, one answer."""

    def __init__(self, loop: ProxyLoop, stream: TcpStream, peer: str, handle: Handle) -> None:
        super().__init__(loop, stream, _HEAD_S)
        self._peer = peer
        self._handle = handle
        self._buffer = b""

    def received(self, data: bytes) -> None:
        """Pass on the request once its head is complete; a body is ignored."""
        self._buffer += data
        try:
            head = parse_request(self._buffer, _LIMITS)
        except BadMessageError as error:
            self._answer(Reply(error.status, f"{error}\n".encode()))
            return
        if head is None:
            return
        target = head.forward.split(b" ", 2)[1].decode("latin-1")
        request = Request(head.method.decode(), target.partition("?")[0], head.forward, self._peer)
        self._timer.cancel()
        self.idle = False
        self._stream.pause()
        self._handle(request, self._answer)

    def _answer(self, reply: Reply) -> None:
        self._timer.cancel()
        self.idle = False
        if self._stream.closed:
            return  # the client has gone meanwhile
        head = (
            f"HTTP/1.1 {reply.status} {_phrase(reply.status)}\r\ncontent-type: {reply.kind}\r\n"
            f"content-length: {len(reply.body)}\r\nconnection: close\r\n\r\n"
        )
        self._stream.write(head.encode() + reply.body)
        self._stream.linger()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # an application may use statuses of its own
        return "Unknown"
