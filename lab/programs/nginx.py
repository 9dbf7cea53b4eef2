"""The nginx stand-in: an HTTP/1.1 server that answers quickly, evenly, and says who answered whom.

One thread, one epoll loop, responses made in advance. It imports next to nothing: a thousand pods fork from it.

Pages: `/` welcomes, `/size/N` sends N bytes (at most 16 MiB), `/whoami` tells what the server sees of the
connection and the request as JSON. Every response says `Server: sidelab-nginx`, the pod's name in `X-Pod` and in
`X-Peer` the address that the connection came from.
"""

import os
import select
import signal
import socket
from typing import TYPE_CHECKING

from lab.errors import PodError

if TYPE_CHECKING:
    from lab.program import Context

HEAD_BYTES = 16 * 1024
"""A longer request head is answered with 431."""

LARGEST_BYTES = 16 * 1024 * 1024
"""The largest page of `/size/N`."""

DRAIN_S = 5.0
"""Responses under way have this long after SIGTERM."""

_BACKLOG = 4096
_EXHAUSTED_PAUSE_S = 0.1
_FILLING = memoryview(b"sidelab\n" * (64 * 1024 // 8))
_WELCOME = b"""<!DOCTYPE html>
<html>
<head><title>Welcome to nginx!</title></head>
<body>
<h1>Welcome to nginx!</h1>
<p>This is sidelab's stand-in for nginx: a small HTTP server in a pod of the lab.</p>
<p>/whoami tells what it sees of you, /size/N sends N bytes.</p>
</body>
</html>
"""
_PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    505: b"HTTP Version Not Supported",
}
_FORWARDED = (b"x-forwarded-for", b"x-forwarded-proto", b"x-request-id", b"x-envoy-attempt-count")


def main(context: "Context") -> None:
    """Serve on the ports named in `context.args`, or in `PORT`, or on 80, until SIGTERM; then finish and return.

    Raises `PodError` for a port that is none or cannot be had.
    """
    ports = [_port(text) for text in context.args or (context.env.get("PORT", "80"),)]
    server = Server([listening for port in ports for listening in _listen(port)], os.uname().nodename)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: server.stop())
    context.ready()
    server.run()


class Server:
    """Serves on `listening` as the pod `name` until `stop`, which may come from a signal handler or a thread."""

    def __init__(self, listening: list[socket.socket], name: str) -> None:
        self.name = name
        self.draining = False
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._listening = {sock.fileno(): sock for sock in listening}
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._accepting = True
        for number in (*self._listening, self._wake_reader.fileno()):
            self._epoll.register(number, select.EPOLLIN)

    def stop(self) -> None:
        """Stop to accept, finish the responses under way, and have `run` return."""
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

    def watch(self, connection: "Connection", events: int) -> None:
        """Wait for other events of `connection`."""
        self._epoll.modify(connection.number, events)

    def forget(self, connection: "Connection") -> None:
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
        connection = Connection(self, accepted, address)
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


class Connection:
    """A client's connection: requests are answered in their order, one at a time."""

    __slots__ = (
        "_close", "_fields", "_out", "_peer", "_received", "_recv", "_send", "_server", "_skip", "_welcome",
        "number", "socket",
    )  # fmt: skip

    def __init__(self, server: Server, accepted: socket.socket, address: tuple[str, int]) -> None:
        self.socket = accepted
        self.number = accepted.fileno()
        self._server = server
        self._recv = accepted.recv
        self._send = accepted.send
        self._received = b""
        self._skip = 0
        self._out: list[memoryview] = []
        self._close = False
        self._peer = _endpoint(address)
        self._fields = (
            b"Server: sidelab-nginx\r\nX-Pod: " + server.name.encode() + b"\r\nX-Peer: " + self._peer + b"\r\n"
        )
        self._welcome = self._page(200, b"text/html", _WELCOME)

    def happened(self, events: int) -> None:
        """Handle epoll's `events`."""
        if events & select.EPOLLOUT:
            self._flush()
            return
        try:
            data = self._recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._server.forget(self)
            return
        if not self._close:
            self._received = self._received + data if self._received else data
            self._serve()

    def close_if_idle(self) -> None:
        """Close unless a response is under way, which will be the last."""
        if self._out:
            self._close = True
        else:
            self._server.forget(self)

    def _serve(self) -> None:
        """Answer the requests that are complete, until one's response does not go out at once."""
        while self._received and not self._out and not self._close:
            if self._skip:
                skipped = min(self._skip, len(self._received))
                self._skip -= skipped
                self._received = self._received[skipped:]
                continue
            end = self._received.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_BYTES:
                if len(self._received) > HEAD_BYTES:
                    self._refuse(431)
                elif b"\n" in self._received.replace(b"\r\n", b""):
                    self._refuse(400)
                break
            head = self._received[:end]
            self._received = self._received[end + 4 :]
            self._answer(head)
        if self._close and not self._out:
            self._last_out()

    def _answer(self, head: bytes) -> None:
        line, _, rest = head.partition(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3 or not words[1].startswith(b"/") or not words[0].isalpha():
            self._refuse(400)
            return
        if words[2] != b"HTTP/1.1":
            if words[2] != b"HTTP/1.0":
                self._refuse(505 if words[2].startswith(b"HTTP/") else 400)
                return
            self._close = True
        self._close = self._close or self._server.draining
        status = self._read_fields(rest)
        if status:
            self._refuse(status)
            return
        method, path = words[0], words[1].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            self._write(self._page(405, b"text/plain", b"only GET and HEAD\n", b"Allow: GET, HEAD\r\n"))
        elif path == b"/" and method == b"GET" and not self._close:
            self._write(self._welcome)
        else:
            self._send_page(path, rest, only_head=method == b"HEAD")

    def _read_fields(self, fields: bytes) -> int:
        """Take note of a body to skip and of `Connection: close`; return the status of a refusal, or 0."""
        hosts = 0
        length = b""
        for line in fields.split(b"\r\n") if fields else ():
            name, colon, value = line.partition(b":")
            if not colon or not name or name.strip() != name or b"\n" in line or b"\r" in line or b"\0" in line:
                return 400
            name = name.lower()
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                value = value.strip()
                if length or not value.isdigit() or len(value) > 18:
                    return 400
                length = value
            elif name == b"transfer-encoding":
                return 501
            elif name == b"connection" and b"close" in value.lower():
                self._close = True
        if hosts != 1 and not (self._close and not hosts):
            return 400
        self._skip = int(length or b"0")
        return 0

    def _send_page(self, path: bytes, fields: bytes, *, only_head: bool) -> None:
        if path == b"/":
            kind, body = b"text/html", _WELCOME
        elif path == b"/whoami":
            kind, body = b"application/json", self._whoami(fields)
        elif path.startswith(b"/size/") and path[6:].isdigit() and len(path) < 20 and int(path[6:]) <= LARGEST_BYTES:
            self._send_size(int(path[6:]), only_head=only_head)
            return
        else:
            page = self._page(404, b"text/plain", b"not found\n")
            self._write(page[: page.find(b"\r\n\r\n") + 4] if only_head else page)
            return
        page = self._page(200, kind, body)
        self._write(page[: len(page) - len(body)] if only_head else page)

    def _send_size(self, size: int, *, only_head: bool) -> None:
        head = self._head(200, b"application/octet-stream", size)
        if only_head:
            self._write(head)
        elif size <= len(_FILLING):
            self._write(head + _FILLING[:size])
        else:
            whole, part = divmod(size, len(_FILLING))
            self._out = [memoryview(head), *[_FILLING] * whole]
            if part:
                self._out.append(_FILLING[:part])
            self._out.reverse()
            self._server.watch(self, select.EPOLLOUT)

    def _whoami(self, fields: bytes) -> bytes:
        local = _endpoint(self.socket.getsockname())
        entries = [(b"pod", self._server.name.encode()), (b"peer", self._peer), (b"local", local)]
        for line in fields.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() in (b"host", *_FORWARDED):
                entries.append((name.lower(), value.strip()))
        return b"{" + b", ".join(_quoted(name) + b": " + _quoted(value) for name, value in entries) + b"}\n"

    def _head(self, status: int, kind: bytes, length: int, more: bytes = b"") -> bytes:
        if self._close:
            more += b"Connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%bContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
            status,
            _PHRASES[status],
            self._fields,
            kind,
            length,
            more,
        )

    def _page(self, status: int, kind: bytes, body: bytes, more: bytes = b"") -> bytes:
        return self._head(status, kind, len(body), more) + body

    def _refuse(self, status: int) -> None:
        """Answer what cannot be understood; where the next request begins is then unknown, so it is the last."""
        self._close = True
        self._received = b""
        self._write(self._page(status, b"text/plain", _PHRASES[status] + b"\n"))

    def _write(self, data: bytes) -> None:
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The client is gone, which its next event will tell.
            return
        if sent < len(data):
            self._out = [memoryview(data)[sent:]]
            self._server.watch(self, select.EPOLLOUT)

    def _flush(self) -> None:
        out = self._out
        try:
            while out:
                sent = self._send(out[-1])
                if sent < len(out[-1]):
                    out[-1] = out[-1][sent:]
                else:
                    out.pop()
        except BlockingIOError:
            return
        except OSError:
            self._server.forget(self)
            return
        self._server.watch(self, select.EPOLLIN)
        self._serve()

    def _last_out(self) -> None:
        """Send FIN, and leave it to the client to close: closing with bytes unread would reset the response away."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._server.forget(self)


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


def _endpoint(address: tuple[str, int]) -> bytes:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}".encode()


def _quoted(value: bytes) -> bytes:
    escaped = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    # What is left outside printable ASCII has no short form in JSON.
    return b'"' + b"".join(bytes((byte,)) if 32 <= byte < 127 else b"\\u%04x" % byte for byte in escaped) + b'"'
