"""The application's probes as the agent makes them: from where, with what, and what their answers become."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from agent_rig import answering, ok
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from tools import PATIENCE_S

from sidelab.lab.errors import InputError
from sidelab.lab.net.get import BODY_BYTES
from sidelab.lab.net.node_addresses import NODE_IPV4, NODE_IPV6
from sidelab.sidecar.agent.http.server import Reply, Request
from sidelab.sidecar.agent.probes import probers
from sidelab.sidecar.agent.probes.probers import AppProber, GrpcProber, HttpProber, TcpProber
from sidelab.sidecar.agent.probes.probes import MOST_AT_ONCE, MOST_OF_OTHERS, Probes, ask

LOCAL = "127.0.0.1"
CERTIFICATE = Path(__file__).parents[2] / "data" / "self-signed.pem"


def get(port: int, **more: object) -> AppProber:
    """Return a prober that gets."""
    return AppProber(http_get=HttpProber(port=port, **more))  # type: ignore[arg-type]  # the fields of HTTPGet


def test_istios_variable_is_understood():
    """What the injector writes is read, whatever else is in it."""
    text = {
        "/app-health/hello/livez": {"httpGet": {"path": "/x", "port": 80, "scheme": "HTTPS", "foo": 1}},
        "/app-health/hello/readyz": {"grpc": {"port": 90, "service": None}, "timeoutSeconds": 5},
        "/app-lifecycle/hello/poststartz": {"tcpSocket": {"port": 93}},
    }
    found = probers.read({probers.VARIABLE: json.dumps(text)})
    assert {
        "/app-health/hello/livez": (get(80, path="/x", scheme="HTTPS"), 1.0),
        "/app-health/hello/readyz": (AppProber(grpc=GrpcProber(port=90), timeout_seconds=5), 5.0),
        "/app-lifecycle/hello/poststartz": (AppProber(tcp_socket=TcpProber(port=93)), 60.0),
    } == {path: (prober, prober.timeout_s(path)) for path, prober in found.items()}
    assert {} == probers.read({})


@pytest.mark.parametrize(
    "text",
    ["[]", '{"/app-health/a/b/livez": {"tcpSocket": {"port": 1}}}', '{"/app-health/a/livez": {}}', "{"],
)
def test_a_variable_nobody_would_write_is_refused(text: str):
    """The variable is named."""
    with pytest.raises(InputError, match=probers.VARIABLE):
        probers.read({probers.VARIABLE: text})


def test_the_application_sees_127_0_0_6():
    """The rules leave that source alone, so a probe passes no proxy."""
    with answering(ok(b"fine", "content-type: text/x")) as (port, asked, peers):
        reply = ask(get(port, path="/healthz?deep=1"), LOCAL, PATIENCE_S)
    assert (Reply(200, b"fine", "text/x"), ["127.0.0.6"]) == (reply, peers)
    assert asked[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert asked[0].endswith(b"Connection: close\r\n\r\n")


def test_the_application_gets_the_fields_of_who_asks():
    """Host has the application's port in the agent's place; what concerns one connection is not passed on."""
    head = (
        b"GET / HTTP/1.1\r\nHost: 10.0.0.1:15020\r\nx-own: 2\r\nUser-Agent: kube-probe/sidelab\r\nX-Own: 1\r\n"
        b"Connection: keep-alive\r\n\r\n"
    )
    with answering(ok()) as (port, asked, _):
        ask(get(port), LOCAL, PATIENCE_S, head)
    lines = asked[0].decode().strip().split("\r\n")[1:]
    own = ["User-Agent: kube-probe/sidelab", "X-Own: 2", "X-Own: 1", "Connection: close"]
    assert [f"Host: 10.0.0.1:{port}", *own] == lines


@pytest.mark.parametrize("host", ["web.local", "web.local:8443", "[fd00::1]"])
def test_a_host_without_the_agents_port_stays(host: str):
    """The manifest's own Host field."""
    with answering(ok()) as (port, asked, _):
        ask(get(port), LOCAL, PATIENCE_S, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert f"Host: {host}" == asked[0].decode().split("\r\n")[1]


def test_a_failing_status_and_a_part_of_its_body_are_told():
    """The status is the application's, and no more than 10 KiB of what it says."""
    with answering(ok(b"x" * (BODY_BYTES + 1), status="503 No")) as (port, _, _):
        reply = ask(get(port), LOCAL, PATIENCE_S)
    assert (503, BODY_BYTES) == (reply.status, len(reply.body))


def test_redirects_on_the_same_host_are_followed():
    """A relative one, as a browser would."""
    with answering(ok(b"", "location: /there", status="302 F"), ok(b"here")) as (port, asked, _):
        reply = ask(get(port), LOCAL, PATIENCE_S)
    assert (Reply(200, b"here"), b"GET /there ") == (reply, asked[1][:11])


def test_a_redirect_to_another_host_passes():
    """It is an answer, and the other host's would not be the application's."""
    with answering(ok(b"", "location: http://example.com/", status="301 M")) as (port, _, _):
        assert Reply(200) == ask(get(port), LOCAL, PATIENCE_S)


def test_redirects_in_a_circle_fail():
    """After ten of them."""
    with answering(*[ok(b"", "location: /", status="302 F")] * 10) as (port, asked, _):
        reply = ask(get(port), LOCAL, PATIENCE_S)
    assert (Reply(500, b"stopped after 10 redirects\n"), 10) == (reply, len(asked))


def test_nobody_there_is_500():
    """A refused connection is a failed probe with its reason, by whichever handler."""
    with socket.create_server((LOCAL, 0)) as free:
        port = free.getsockname()[1]
    handlers = (get(port), AppProber(tcp_socket=TcpProber(port=port)), AppProber(grpc=GrpcProber(port=port)))
    assert [Reply(500, b"Connection refused\n")] * 3 == [ask(each, LOCAL, PATIENCE_S) for each in handlers]


def test_an_application_that_hangs_is_500_when_time_is_up():
    """It accepts and says nothing."""
    with socket.create_server((LOCAL, 0)) as hanging:
        reply = ask(get(hanging.getsockname()[1]), LOCAL, 0.05)
    assert Reply(500, b"no answer within 0.05 s\n") == reply


def test_no_http_is_500():
    """Something else listens on the port."""
    with answering(b"SSH-2.0-x\r\n\r\n") as (port, _, _):
        assert Reply(500, b"it is not an HTTP answer\n") == ask(get(port), LOCAL, PATIENCE_S)


def test_an_open_port_is_enough_for_tcp():
    """A connection that opens passes."""
    with socket.create_server((LOCAL, 0)) as server:
        assert Reply(200) == ask(AppProber(tcp_socket=TcpProber(port=server.getsockname()[1])), LOCAL, PATIENCE_S)


def test_certificates_are_not_verified():
    """HTTPS passes with a certificate that nobody has signed, asked for or redirected to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with socket.create_server((LOCAL, 0)) as listening:
        secure = listening.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with context.wrap_socket(connection, server_side=True) as secured:
                    secured.recv(65536)
                    secured.sendall(ok(b"safe"))

        thread = threading.Thread(target=serve)
        thread.start()
        redirect = ok(b"", f"location: https://{LOCAL}:{secure}/", status="301 M")
        with answering(redirect) as (port, _, _):
            replies = [ask(each, LOCAL, PATIENCE_S) for each in (get(secure, scheme="HTTPS"), get(port))]
        thread.join(PATIENCE_S)
    assert [Reply(200, b"safe")] * 2 == replies


@contextmanager
def health_service(message: bytes, trailers: list[tuple[str, str]]) -> Iterator[tuple[int, list[bytes]]]:
    """Serve one call of gRPC; yields the port and the messages that arrive."""
    received: list[bytes] = []
    with socket.create_server((LOCAL, 0)) as listening:

        def serve() -> None:
            link, _ = listening.accept()
            with link:
                connection = H2Connection(H2Configuration(client_side=False))
                connection.initiate_connection()
                while not received:
                    for event in connection.receive_data(link.recv(65536)):
                        if isinstance(event, DataReceived):
                            received.append(event.data or b"")
                            connection.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
                            connection.send_data(1, message)
                            connection.send_headers(1, trailers, end_stream=True)
                    link.sendall(connection.data_to_send())
                link.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1], received
        thread.join(PATIENCE_S)


@pytest.mark.parametrize(
    ("message", "code", "status"),
    [(b"\0\0\0\0\2\x08\1", "0", 200), (b"\0\0\0\0\2\x08\2", "0", 500), (b"", "5", 500), (b"", "0", 500)],
)
def test_grpc_passes_with_serving_alone(message: bytes, code: str, status: int):
    """Another status, an error, or no message fails; the service's name is sent along."""
    with health_service(message, [("grpc-status", code)]) as (port, received):
        reply = ask(AppProber(grpc=GrpcProber(port=port, service="api")), LOCAL, PATIENCE_S)
    assert (status, [b"\0\0\0\0\5\x0a\3api"]) == (reply.status, received)


def asked_by(peer: str) -> Request:
    """Return a request for a probe from `peer`."""
    return Request("GET", "/", b"", peer)


@pytest.mark.parametrize(("peer", "most"), [(NODE_IPV4, MOST_AT_ONCE - MOST_OF_OTHERS), ("10.244.0.9", MOST_OF_OTHERS)])
def test_one_that_hangs_blocks_no_other_and_many_are_refused(peer: str, most: int):
    """Probes run beside each other, up to a bound, and a place is free again after each."""
    request = asked_by(peer)
    probes = Probes(LOCAL)
    replies: list[Reply] = []
    heard = threading.Semaphore(0)

    def tell(reply: Reply) -> None:
        replies.append(reply)
        heard.release()

    with socket.create_server((LOCAL, 0), backlog=most) as hanging, socket.create_server((LOCAL, 0)) as quick:
        for _ in range(most - 1):
            probes.begin(get(hanging.getsockname()[1]), PATIENCE_S, request, lambda _reply: heard.release())
        for _ in range(3):
            probes.begin(AppProber(tcp_socket=TcpProber(port=quick.getsockname()[1])), PATIENCE_S, request, tell)
            assert heard.acquire(timeout=PATIENCE_S)
        blocking = get(hanging.getsockname()[1])
        probes.begin(blocking, PATIENCE_S, request, lambda _reply: heard.release())
        probes.begin(blocking, PATIENCE_S, request, tell)
        assert [Reply(200)] * 3 + [Reply(500, b"too many probes are under way already\n")] == replies
        hanging.settimeout(PATIENCE_S)
        for _ in range(most):
            hanging.accept()[0].close()
    for _ in range(most):
        assert heard.acquire(timeout=PATIENCE_S)


def test_nobody_but_the_node_can_use_up_the_nodes_probes():
    """A pod that asks for as many probes as it can leaves the kubelet its own."""
    probes = Probes(LOCAL)
    heard = threading.Semaphore(0)
    replies: list[Reply] = []

    def tell(reply: Reply) -> None:
        replies.append(reply)
        heard.release()

    with socket.create_server((LOCAL, 0), backlog=MOST_AT_ONCE) as hanging, socket.create_server((LOCAL, 0)) as quick:
        for _ in range(2 * MOST_AT_ONCE):
            probes.begin(get(hanging.getsockname()[1]), PATIENCE_S, asked_by("10.244.0.9"), lambda _reply: None)
        probes.begin(
            AppProber(tcp_socket=TcpProber(port=quick.getsockname()[1])), PATIENCE_S, asked_by(NODE_IPV6), tell
        )
        assert heard.acquire(timeout=PATIENCE_S)
    assert [Reply(200)] == replies


def test_without_a_thread_a_probe_fails_and_costs_no_place(monkeypatch: pytest.MonkeyPatch):
    """Where no more processes may be made the probe is answered with the reason, as often as it is asked."""
    probes = Probes(LOCAL)
    replies: list[Reply] = []

    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2 * MOST_AT_ONCE):
        probes.begin(get(1), PATIENCE_S, asked_by(NODE_IPV4), replies.append)
    assert {Reply(500, b"no thread can be started\n")} == set(replies)
