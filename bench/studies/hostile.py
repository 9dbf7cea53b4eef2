"""The attacks of `hostile_peers`: what a client, or the server behind the proxy, does to the proxy between them."""

import select
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from sidelab.lab.net.http_answer import Answer
from sidelab.sidecar import istio_ports

PORT = 8081
"""The port of the attacker's own server, in the application's pod."""

BYSTANDERS_PORT = 8082
"""The port of the application that the bystander uses, in the same pod."""

_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)
_MANY, _SOME = 2000, 200
_LARGE_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 58_000 + b"\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def asked_us(link: socket.socket) -> float:
    """Return how long one request takes on a kept-alive connection."""
    answer = Answer(limit=1 << 20)
    begin_s = time.perf_counter()
    link.sendall(_REQUEST)
    while True:
        data = link.recv(65536)
        end_s = time.perf_counter()
        if not data:
            raise SystemExit("the bystander's connection was closed")
        if answer.feed(data):
            return (end_s - begin_s) * 1e6


def _dial(address: str, port: int) -> socket.socket | None:
    """Return a non-blocking connection; None if it cannot be made."""
    link = socket.socket()
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(1.0)
        link.connect((address, port))
    except OSError:
        link.close()
        return None
    link.setblocking(False)
    return link


def _holds(address: str, port: int, *, count: int, first: bytes = b"", more: bytes = b"") -> None:
    """Keep `count` connections, send `first` on each and then `more` for ever, read nothing, and redial closed ones."""
    poll = select.epoll()
    links: dict[int, socket.socket] = {}
    unsent: dict[int, bytes] = {}
    while True:
        for _ in range(min(20, count - len(links))):
            link = _dial(address, port)
            if link is None:
                break
            links[link.fileno()], unsent[link.fileno()] = link, first
            poll.register(link.fileno(), select.EPOLLOUT if first or more else select.EPOLLRDHUP)
        for descriptor, events in poll.poll(0.01):
            closed = events & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP)
            if not closed:
                closed = not _says_on(links[descriptor], unsent, more)
                if not closed and not unsent[descriptor]:
                    poll.modify(descriptor, select.EPOLLRDHUP)
            if closed:
                poll.unregister(descriptor)
                links.pop(descriptor).close()


def _says_on(link: socket.socket, unsent: dict[int, bytes], more: bytes) -> bool:
    """Send what is unsent, and `more` when it is out; return whether the connection is alive."""
    number = link.fileno()
    unsent[number] = unsent[number] or more
    try:
        unsent[number] = unsent[number][link.send(unsent[number]) :] or more
    except BlockingIOError:
        pass
    except OSError:
        return False
    return True


def _floods(address: str, port: int, *, count: int, request: bytes = _REQUEST) -> None:
    """Send requests on `count` connections as fast as they are answered, and read the answers."""
    poll = select.epoll()
    links: dict[int, socket.socket] = {}
    while True:
        while len(links) < count and (link := _dial(address, port)) is not None:
            links[link.fileno()] = link
            poll.register(link.fileno(), select.EPOLLIN)
            with suppress(OSError):
                link.send(request)
        for descriptor, _ in poll.poll(0.1):
            link = links[descriptor]
            try:
                alive = bool(link.recv(1 << 18))
                link.send(request)
            except BlockingIOError:
                continue
            except OSError:
                alive = False
            if not alive:
                del links[descriptor]
                link.close()


def _churns(address: str, port: int, *, said: bytes = b"") -> None:
    """Dial, send `said`, reset; repeat as fast as possible."""
    while True:
        link = _dial(address, port)
        if link is not None:
            with suppress(OSError):
                link.send(said)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            link.close()


def _serves(port: int, *, says: bytes = b"", more: bytes = b"", reads: bool = True) -> None:
    """Answer every connection with `says` and then `more` for ever, as fast as it is read."""
    poll = select.epoll()
    listening = socket.create_server(("0.0.0.0", port), backlog=1024)
    links: dict[int, socket.socket] = {}
    unsent: dict[int, bytes] = {}
    poll.register(listening.fileno(), select.EPOLLIN)
    while True:
        for descriptor, events in poll.poll():
            if descriptor == listening.fileno():
                link, _ = listening.accept()
                link.setblocking(False)
                links[link.fileno()], unsent[link.fileno()] = link, b""
                poll.register(link.fileno(), select.EPOLLIN if reads else 0)
                continue
            link = links[descriptor]
            alive = not events & (select.EPOLLHUP | select.EPOLLERR)
            if alive and events & select.EPOLLIN:
                try:
                    alive = bool(link.recv(1 << 16))
                except OSError:
                    alive = False
                unsent[descriptor] += says
                if alive and (unsent[descriptor] or more):
                    poll.modify(descriptor, select.EPOLLIN | select.EPOLLOUT)
            if alive and events & select.EPOLLOUT:
                alive = _says_on(link, unsent, more)
                if alive and not unsent[descriptor]:
                    poll.modify(descriptor, select.EPOLLIN)
            if not alive:
                poll.unregister(descriptor)
                links.pop(descriptor).close()


def serve_bystander() -> None:
    """Answer the bystander's requests."""
    _serves(BYSTANDERS_PORT, says=_OK)


def _rests(*_: object) -> None:
    """Do nothing."""
    while True:
        time.sleep(60)


class Attack(NamedTuple):
    """`client` gets the proxy's address and `port`; `server` listens at `PORT`."""

    client: Callable[[str, int], None] = _rests
    server: Callable[[int], None] = _rests
    port: int = PORT


def _client(work: Callable[..., None], port: int = PORT, *, says: bytes = b"", **arguments: object) -> Attack:
    """Return an attack on a server that reads everything and always answers `says`."""
    return Attack(
        lambda address, where: work(address, where, **arguments), lambda where: _serves(where, says=says), port
    )


def _both(client: Callable[..., None], server: dict[str, object], **arguments: object) -> Attack:
    return Attack(
        lambda address, where: client(address, where, **arguments),
        lambda where: _serves(where, **server),  # type: ignore[arg-type]  # what `_serves` takes
        PORT,
    )


_INTERIM = (b"HTTP/1.1 100 Continue\r\nX: " + b"a" * 4000 + b"\r\n\r\n") * 16
_ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"8000\r\n" + b"a" * 0x8000 + b"\r\n"
_ODD = b"".join(b"HTTP/1.1 %d Odd\r\nContent-Length: 0\r\n\r\n" % status for status in range(200, 1000))

ATTACKS = {
    "nothing": Attack(),
    "silent connections": _client(_holds, count=_MANY),
    "half heads of 58 kB": _client(_holds, count=_MANY, first=_LARGE_HEAD[:-4]),
    "half a trailer": _client(_holds, count=_MANY, first=_POST + b"0\r\nX: " + b"a" * 50_000),
    "chunks of one byte": _client(_holds, count=20, first=_POST, more=b"1\r\na\r\n" * 5000),
    "chunk extensions": _client(_holds, count=20, first=_POST, more=b"1;" + b"a" * 8000 + b"\r\na\r\n"),
    "100,000 requests at once": _client(_holds, says=_OK, count=20, more=_REQUEST * 100_000),
    "paths of 50 kB, for the log": _client(
        _floods, says=_OK, count=20, request=b"GET /" + b'"' * 50_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    ),
    "requests on 50 connections": _client(_floods, says=_OK, count=50),
    "connections that are reset": _client(_churns),
    "requests that are reset": _client(_churns, says=_OK, said=_REQUEST),
    "malformed requests": _client(_churns, said=b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    "large heads, no answer": _both(_holds, {}, count=_MANY, first=_LARGE_HEAD),
    "small heads, no answer": _both(_holds, {}, count=_MANY, first=_REQUEST),
    "bodies that nobody reads": _both(_holds, {"reads": False}, count=_SOME, first=_POST, more=_CHUNK),
    "answers that nobody reads": _both(_holds, {"says": _ENDLESS, "more": _CHUNK}, count=_SOME, first=_REQUEST),
    "downloads on 20 connections": _both(_floods, {"says": _ENDLESS, "more": _CHUNK}, count=20),
    "interim responses, not read": _both(_holds, {"says": _INTERIM, "more": _INTERIM}, count=20, first=_REQUEST),
    "half heads of responses": _both(
        _holds, {"says": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 75_000}, count=_SOME, first=_REQUEST
    ),
    "chunks of one byte, answered": _both(_floods, {"says": _ENDLESS, "more": b"1\r\na\r\n" * 5000}, count=5),
    "800 statuses": _both(_floods, {"says": _ODD}, count=5),
    "health asked for": _client(_floods, says=_OK, port=istio_ports.HEALTH, count=50),
    "metrics asked for": _client(_floods, says=_OK, port=istio_ports.STATS, count=50),
    "silent connections to 15090": _client(_holds, port=istio_ports.STATS, count=_MANY),
    "metrics asked of the agent": _client(_floods, says=_OK, port=istio_ports.AGENT, count=50),
}
