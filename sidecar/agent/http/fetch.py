"""A GET from the agent's loop to a port of its own pod, for readiness or metrics. Never blocks."""

import errno
import os
import socket
from collections.abc import Callable

from sidelab.lab.net.ask import request_of
from sidelab.lab.net.http_answer import Answer, AnswerError
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.stream import TcpStream

BODY_BYTES = 4 << 20
"""More than the metrics of a proxy or an application need; a longer body is cut off here."""

Done = Callable[[Answer | None], None]
"""Called once, in the loop, with the answer, or with None if there is none in time."""


def fetch(loop: ProxyLoop, port: int, path: str, timeout_s: float, done: Done, method: str = "GET") -> None:
    """Request `path` from 127.0.0.1:`port`; `done` is called later."""
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError:  # no descriptor is left
        loop.call_soon(lambda: done(None))
        return
    status = connection.connect_ex(("127.0.0.1", port))
    if status not in (0, errno.EINPROGRESS):
        connection.close()
        loop.call_soon(lambda: done(None))
        return
    stream = TcpStream(loop, connection)
    stream.connect_within(timeout_s)
    exchange = _Exchange(loop, stream, timeout_s, done)
    stream.start(exchange)
    stream.write(request_of(method, path, f"127.0.0.1:{port}"))


class _Exchange:
    divisible = False
    idle = False

    def __init__(self, loop: ProxyLoop, stream: TcpStream, timeout_s: float, done: Done) -> None:
        self._stream = stream
        self._done: Done | None = done
        self._answer = Answer(limit=BODY_BYTES)
        self._timer = loop.call_later(timeout_s, self._late)

    def received(self, data: bytes) -> None:
        try:
            done = self._answer.feed(data)
        except AnswerError:
            self._finish(None)
            return
        if done:
            self._finish(self._answer)

    def ended(self) -> None:
        self.received(b"")

    def drained(self) -> None:
        """Do nothing: nothing waits to be written."""

    def lost(self, _error: OSError) -> None:
        self._finish(None)

    def _late(self) -> None:
        self.lost(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _finish(self, answer: Answer | None) -> None:
        done, self._done = self._done, None
        self._timer.cancel()
        self._stream.close()
        if done is not None:
            done(answer)
