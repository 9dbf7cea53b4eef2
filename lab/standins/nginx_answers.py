"""What the nginx stand-in answers: the requests of one connection, one after the other.

Pages: `/` welcomes, `/size/N` sends N bytes (at most 16 MiB), `/whoami` tells what the server sees of the
connection and the request as JSON. Every response says `Server: sidelab-nginx`, the pod's name in `X-Pod` and in
`X-Peer` the address that the connection came from. It knows its server only as what waits for its events.
"""

import select
import socket
from typing import Protocol

from sidelab.lab.net.http_request import RequestError, read_request, request_fields, request_head

DELAY = "SPIN_US"
"""The environment variable that delays every answer by so many microseconds (see `lab.standins.spin`)."""

LARGEST_BYTES = 16 * 1024 * 1024
"""The largest page of `/size/N`."""

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


class ServerView(Protocol):
    """What a connection needs of its server."""

    name: str
    draining: bool

    def watch(self, connection: "Connection", events: int) -> None:
        """Wait for other events of `connection`."""

    def forget(self, connection: "Connection") -> None:
        """Close `connection`."""


class Connection:
    """A client's connection: requests are answered in their order, one at a time."""

    __slots__ = (
        "_close", "_fields", "_out", "_peer", "_received", "_recv", "_send", "_server", "_skip", "_welcome",
        "number", "socket",
    )  # fmt: skip

    def __init__(self, server: ServerView, accepted: socket.socket, address: tuple[str, int]) -> None:
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
            try:
                head = request_head(self._received)
                if head is None:
                    break
                self._received = self._received[len(head) + 4 :]
                self._answer(head)
            except RequestError as error:
                self._refuse(error.status)
                break
        if self._close and not self._out:
            self._last_out()

    def _answer(self, head: bytes) -> None:
        method, target, fields, close, self._skip = read_request(head)
        self._close = close or self._server.draining
        path = target.partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            self._write(self._page(405, b"text/plain", b"only GET and HEAD\n", b"Allow: GET, HEAD\r\n"))
        elif path == b"/" and method == b"GET" and not self._close:
            self._write(self._welcome)
        else:
            self._send_page(path, fields, only_head=method == b"HEAD")

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
        shown = (b"host", *_FORWARDED)
        entries += [(name.lower(), value) for name, value in request_fields(fields) if name.lower() in shown]
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


def _endpoint(address: tuple[str, int]) -> bytes:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{host}:{address[1]}".encode()


def _quoted(value: bytes) -> bytes:
    escaped = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    # What is left outside printable ASCII has no short form in JSON.
    return b'"' + b"".join(bytes((byte,)) if 32 <= byte < 127 else b"\\u%04x" % byte for byte in escaped) + b'"'
