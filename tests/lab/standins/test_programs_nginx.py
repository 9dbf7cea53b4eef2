import json
import socket
import threading
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import PATIENCE_S

from sidelab.lab.errors import PodError
from sidelab.lab.standins import nginx
from sidelab.lab.standins.nginx_answers import LARGEST_BYTES

LARGE_BYTES = 1_000_003


class Pod:
    """The stand-in in a thread, as the pod `nginx`."""

    def __init__(self) -> None:
        listening = nginx.listen(socket.AF_INET, "127.0.0.1", 0)
        self.address = listening.getsockname()
        self.server = nginx.NginxServer([listening], "nginx")
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()

    def dial(self) -> socket.socket:
        """Return a client's connection."""
        return socket.create_connection(self.address, timeout=PATIENCE_S)

    def ask(self, request: bytes) -> bytes:
        """Return everything that comes back on a connection that sends `request` and then FIN."""
        with self.dial() as client:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            data = b""
            while piece := client.recv(65536):
                data += piece
            return data

    def stop(self) -> None:
        """Stop, and wait until it has returned."""
        self.server.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    """Yield a running stand-in."""
    running = Pod()
    yield running
    running.stop()


def _get(path: str, fields: str = "", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: nginx\r\nConnection: close\r\n{fields}\r\n".encode()


def _body(response: bytes) -> bytes:
    head, _, body = response.partition(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
    assert len(body) == int(length[16:])
    return body


def test_every_response_says_who_answers_whom(pod: Pod) -> None:
    """Server, pod and the peer's address are in the head of each response."""
    with pod.dial() as client:
        client.sendall(_get("/"))
        head = client.recv(65536).partition(b"\r\n\r\n")[0]
        host, port = client.getsockname()
        expected = f"Server: sidelab-nginx\r\nX-Pod: nginx\r\nX-Peer: {host}:{port}\r\n".encode()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n" + expected)


def test_welcome(pod: Pod) -> None:
    """The root page is nginx's welcome."""
    assert b"<h1>Welcome to nginx!</h1>" in _body(pod.ask(_get("/?query=1")))


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, LARGE_BYTES])
def test_sizes(pod: Pod, size: int) -> None:
    """/size/N has N bytes."""
    assert size == len(_body(pod.ask(_get(f"/size/{size}"))))


def test_whoami(pod: Pod) -> None:
    """/whoami tells what was seen of the connection and the request."""
    fields = 'X-Forwarded-For: 10.0.0.1, "me"\r\nCookie: secret\r\n'
    seen = json.loads(_body(pod.ask(_get("/whoami", fields))))
    peer = seen.pop("peer")
    assert peer.startswith("127.0.0.1:")
    host, port = pod.address
    expected = {"pod": "nginx", "local": f"{host}:{port}", "host": "nginx", "x-forwarded-for": '10.0.0.1, "me"'}
    assert expected == seen


def test_head_is_get_without_body(pod: Pod) -> None:
    """HEAD gives the length and no body."""
    for path in ("/", "/whoami", "/size/5", "/size/1000000", "/nothing"):
        head, _, body = pod.ask(_get(path, method="HEAD")).partition(b"\r\n\r\n")
        assert b"\r\nContent-Length: " in head
        assert b"" == body


def test_requests_in_one_piece_are_answered_in_order(pod: Pod) -> None:
    """Pipelined requests, bodies among them, have their answers in order, also behind one that takes long."""
    request = b"GET %b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    data = pod.ask(b"".join(request % path for path in (b"/size/1", b"/size/1000003", b"/size/3")) + _get("/size/4"))
    lengths = [line.partition(b"\r\n")[0] for line in data.split(b"Content-Length: ")[1:]]
    assert [b"1", b"1000003", b"3", b"4"] == lengths


def test_request_in_pieces(pod: Pod) -> None:
    """A request is waited for until its end."""
    with pod.dial() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in _get("/size/2"):
            client.sendall(bytes((byte,)))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (404, _get("/nothing")),
        (404, _get("/size/x")),
        (404, _get(f"/size/{LARGEST_BYTES + 1}")),
        (405, _get("/", method="POST")),
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\nHost: a\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        (400, b"nonsense\r\n\r\n"),
        (400, b"GET example.com HTTP/1.1\r\nHost: a\r\n\r\n"),
        (431, b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000),
        (501, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\n".replace(b"*", b"/")),
    ],
)
def test_refusals(pod: Pod, status: int, request_bytes: bytes) -> None:
    """What is not served has the status that says why."""
    assert f"HTTP/1.1 {status} ".encode() == pod.ask(request_bytes)[:13]


@settings(deadline=None, max_examples=150)
@given(
    data=st.binary(max_size=80)
    | st.from_regex(rb"(GET|POST) /[a-z/]{0,6} HTTP/1\.[01]\r\n([A-Za-z]{1,6}: ?\w*\r\n){0,3}\r\n")
)
def test_any_bytes_get_http_or_nothing(pod: Pod, data: bytes) -> None:
    """Whatever a client sends, it gets responses or FIN, and the next client is served."""
    assert pod.ask(data)[:9] in (b"", b"HTTP/1.1 ")
    assert pod.ask(_get("/")).startswith(b"HTTP/1.1 200 ")


def test_stop_finishes_what_is_under_way() -> None:
    """Stopping closes idle connections, completes a response in flight and refuses new connections."""
    pod = Pod()
    with pod.dial() as idle, pod.dial() as busy:
        busy.sendall(b"GET /size/%d HTTP/1.1\r\nHost: a\r\n\r\n" % LARGEST_BYTES)
        # The response is larger than the buffers between: with its first byte here, it is under way.
        received = len(busy.recv(1))
        pod.server.stop()
        assert b"" == idle.recv(1)
        while piece := busy.recv(1 << 20):
            received += len(piece)
        assert received > LARGEST_BYTES
    pod.stop()
    with pytest.raises(ConnectionRefusedError):
        pod.dial()


class _Context:
    def __init__(self, *args: str) -> None:
        self.args: tuple[str, ...] = args
        self.env: Mapping[str, str] = {}

    def ready(self) -> None:
        raise AssertionError("it was to fail before")


@pytest.mark.parametrize("port", ["http", "0", "65536"])
def test_port_must_be_one(port: str) -> None:
    """A port that is none is an error that names it."""
    with pytest.raises(PodError, match=port):
        nginx.main(_Context(port))


def test_taken_port_is_named() -> None:
    """A port that is taken is an error that names it."""
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(PodError, match=port):
            nginx.main(_Context(port))
