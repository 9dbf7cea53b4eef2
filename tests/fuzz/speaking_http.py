"""HTTP at the bundled proxy, from both sides, and at the agent: connections in memory."""

import re
from collections.abc import Iterable

from mutating import pieces
from proxy_rig import MemoryGateway, MemoryWire, Notes

from sidelab.lab.net.http_answer import Answer, AnswerError
from sidelab.lab.net.http_request import AskedRequest, RequestError, read_request, request_head
from sidelab.sidecar.agent.http.server import Exchange, Reply, Request
from sidelab.sidecar.proxy.http.detect import Detection
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

REQUEST = b"GET / HTTP/1.1\r\nHost: nginx\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
REQUESTS = (
    *(REQUEST, REQUEST * 3, b"GET http://u@nginx:80/a/../b?c HTTP/1.1\r\nHost: a\r\n\r\n"),
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nUser-Agent: c\r\n\r\nhello",
    b"PUT /%41/..;x/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nt: 1\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly",
    b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close, x\r\nX: 1\r\nTE: trailers\r\n\r\n",
    b"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\nHost: a\nX: 1\n 2\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
)
RESPONSES = (
    *(RESPONSE, RESPONSE * 2, b"HTTP/1.1 200 OK\r\n\r\nuntil close", b"HTTP/1.0 304 Not Modified\r\nETag: a\r\n\r\n"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 ;x\r\nhi\r\n0\r\nt: 1\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\ndata",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + RESPONSE,
    b"HTTP/1.1 204 No\nX: 1\n 2\nServer: a\nConnection: close\n\n",
    b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\nX: " + b"x" * 3000 + b"\r\n\r\n",
)
WORDS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b";", b"\0", b"0\r\n\r\n", b"5\r\n", b"ffffffffffffffff\r\n", b"%00"),
    *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"/../"),
    *(b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: upgrade\r\n", b"HTTP/1.1", b"HTTP/1.0", b"#"),
    *(b"GET ", b"HEAD ", b"CONNECT ", b"http://", b"[::1]", b"@", b"\xff", b"\x16\x03\x01", b"-1", b"99999999999"),
)
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-9]\d\d ?[^\r\n]*\r\n")


class Proxy:
    """The HTTP side of a proxy in memory, which every input must leave unchanged."""

    def __init__(self) -> None:
        self._memory = MemoryGateway()

    def close(self) -> None:
        """Give back what it has."""
        self._memory.close()

    def requests(self, data: bytes, number: int) -> None:
        """Let a client send `data`, and a server answer whatever arrives."""
        client = self._memory.connect()
        for piece in pieces(data, number):
            client.say(piece)
            for server in self._memory.cluster.dialled:
                server.say(RESPONSE)
            client.deliver()
        if number % 2:
            client.hang_up()
        self._leave(client)
        assert not client.sent or _STATUS_LINE.match(client.sent), bytes(client.sent[:80])

    def responses(self, data: bytes, number: int) -> None:
        """Let a server answer a request with `data`."""
        client = self._memory.connect()
        client.say(REQUESTS[number % 5])
        server = self._memory.cluster.dialled[-1] if self._memory.cluster.dialled else None
        if server is not None:
            for piece in pieces(data, number):
                server.say(piece)
            if number % 2:
                server.hang_up()
        self._leave(client)
        assert not client.sent or _STATUS_LINE.match(client.sent), bytes(client.sent[:80])

    def _leave(self, client: MemoryWire) -> None:
        """Break all connections, and check that nothing is left."""
        memory = self._memory
        client.break_down(ConnectionResetError(104, "Connection reset by peer"))
        for server in memory.cluster.dialled:
            server.break_down(ConnectionResetError(104, "Connection reset by peer"))
        memory.cluster.dialled.clear()
        left = (len(memory.gateway.connections), len(memory.headers), client.share.waiting_bytes)
        assert left == (0, 0, 0), left
        assert not any(host.active or host.idle for host in memory.cluster.hosts)
        memory.notes = Notes(wants_outcomes=bool(len(client.sent) % 2))
        memory.gateway.tell(memory.notes)


class _Said:
    """A receiver that records what it gets."""

    idle = False

    def __init__(self) -> None:
        self.data = b""

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        """Nothing to do; so for the following."""

    def drained(self) -> None:
        """Nothing."""

    def lost(self, _error: OSError) -> None:
        """Nothing."""


class Detecting:
    """The detection of a protocol: no byte is lost, and pieces give the same result as the whole, or later."""

    def __init__(self) -> None:
        self._loop = ProxyLoop()
        self._deadlines = Deadlines(self._loop, 60.0)

    def close(self) -> None:
        """Give back what it has."""
        self._loop.close()

    def check(self, data: bytes, number: int) -> None:
        """Let a client send `data`."""
        wire, http, tcp = MemoryWire(), _Said(), _Said()
        wire.start(Detection(wire, self._deadlines, lambda: http, lambda: tcp))
        for piece in pieces(data, number):
            wire.say(piece)
        wire.hang_up()
        assert data in (http.data, tcp.data)
        assert not (http.data and tcp.data)
        assert (0, 0) == (len(self._deadlines), wire.share.waiting_bytes)


def server_requests(data: bytes, number: int) -> None:
    """Let a client of the nginx stand-in send `data`: pieces must be read like the whole."""

    def read(parts: Iterable[bytes]) -> AskedRequest | int | None:
        arrived = b""
        for part in parts:
            arrived += part
            try:
                head = request_head(arrived)
                if head is not None:
                    return read_request(head)
            except RequestError as error:
                return error.status
        return None

    found = read([data])
    assert found == read(pieces(data, number))
    assert found is None or isinstance(found, AskedRequest) or found in (400, 431, 501, 505)


class Agent:
    """The agent's server, and the answers that it reads."""

    def __init__(self) -> None:
        self._loop = ProxyLoop()

    def close(self) -> None:
        """Give back what it has."""
        self._loop.close()

    def requests(self, data: bytes, number: int) -> None:
        """Have a client send `data`."""
        wire = MemoryWire()
        wire.closed = False
        wire.start(Exchange(self._loop, wire, "10.244.0.1", self._handle))
        for piece in pieces(data, number):
            wire.say(piece)
        wire.hang_up()
        self._loop.turn(0)
        assert not wire.sent or _STATUS_LINE.match(wire.sent), bytes(wire.sent[:80])

    def _handle(self, request: Request, answer: object) -> None:
        assert request.method.isascii()
        assert callable(answer)
        answer(Reply(200, request.path.encode()))

    def answers(self, data: bytes, number: int) -> None:
        """Have a server answer with `data`."""
        answer = Answer(limit=4096)
        try:
            for piece in (*pieces(data, number), b""):
                if answer.feed(piece):
                    break
        except AnswerError:
            return
        assert len(answer.body) <= 4096
