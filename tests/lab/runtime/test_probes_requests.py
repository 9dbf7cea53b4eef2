import contextlib
import importlib.util
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools import PATIENCE_S

from sidelab.lab.base.loop import Loop
from sidelab.lab.manifest import GRPC, HTTPGet, HTTPHeader, Sleep, TCPSocket
from sidelab.lab.plan.blueprint import PlannedCheck
from sidelab.lab.runtime.probes import ProbeOutcome, begin
from sidelab.lab.runtime.probes.grpc import GrpcCheck
from sidelab.lab.runtime.probes.http_get import HttpCheck

DATA = Path(__file__).parents[2] / "data"
CERTIFICATE = str(DATA / "self-signed.pem")
HOST = "127.0.0.1"
PASSED = ProbeOutcome(passed=True)
OK = b"HTTP/1.1 200 OK\r\n\r\n"


def _failed(reason: str) -> ProbeOutcome:
    return ProbeOutcome(passed=False, reason=reason)


@contextlib.contextmanager
def _serving(*serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection after the other, each by its function, in a thread; yield the port."""
    with socket.create_server((HOST, 0)) as listening:
        listening.settimeout(PATIENCE_S)

        def run() -> None:
            for each in serve:
                accepted, _ = listening.accept()
                with accepted:
                    accepted.settimeout(PATIENCE_S)
                    each(accepted)

        thread = threading.Thread(target=run)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def _answering(answer: bytes, seen: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    def serve(accepted: socket.socket) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += accepted.recv(65536)
        if seen is not None:
            seen.append(request)
        accepted.sendall(answer)

    return serve


def _outcome(check: PlannedCheck, *, any_answer: bool = False) -> ProbeOutcome:
    """Carry out one check to its end."""
    loop, outcomes = Loop(), list[ProbeOutcome]()

    def execute(_argv: tuple[str, ...], _done: Callable[[int], None]) -> Callable[[], None]:
        raise NotImplementedError

    begin(loop, check, execute, outcomes.append, any_answer=any_answer)
    loop.after(10, lambda: pytest.fail("nothing came of it"))
    while not outcomes:
        loop.turn()
    loop.close()
    return outcomes[0]


def _http(get: HTTPGet, port: int) -> PlannedCheck:
    return PlannedCheck(get, (HOST, port))


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (OK, PASSED),
        (b"HTTP/1.0 204 No Content\r\n\r\n", PASSED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, PASSED),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", PASSED),
        (b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", PASSED),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", _failed("status 404")),
        (b"HTTP/1.1 503 \r\nLocation: /\r\n\r\n", _failed("status 503")),
        (b"HTTP/1.1 200 OK\r\nX: ", _failed("it ended without an HTTP answer")),
        (b"", _failed("it ended without an HTTP answer")),
        (b"SSH-2.0-x\r\n\r\n", _failed("it is not an HTTP answer")),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", _failed("it is not an HTTP answer")),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", PASSED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", _failed("its body ends 8 bytes early")),
    ],
)
def test_an_answers_status_decides(answer: bytes, outcome: ProbeOutcome):
    """From 200 to 399 is well; what is no complete answer is not."""

    def serve(accepted: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):  # the prober may have heard enough
            _answering(answer)(accepted)

    with _serving(serve) as port:
        found = _outcome(_http(HTTPGet(port=port), port))
    assert outcome == found


def test_a_request_is_the_kubelets_with_the_manifests_headers():
    """A header of the manifest replaces one of ours with the same name, in any case."""
    seen: list[bytes] = []
    headers = (HTTPHeader(name="host", value="shop.example"), HTTPHeader(name="X-A", value="1"))
    with _serving(_answering(OK, seen)) as port:
        _outcome(_http(HTTPGet(port=port, path="/a?b", http_headers=headers), port))
    lines = ["GET /a?b HTTP/1.1", "Host: shop.example", "User-Agent: kube-probe/sidelab", "Accept: */*", "X-A: 1"]
    assert seen == ["\r\n".join((*lines, "Connection: close", "", "")).encode()]


def _redirect(to: str, code: int = 302) -> Callable[[socket.socket], None]:
    return _answering(f"HTTP/1.1 {code} Go\r\nlocation:  {to}\r\n\r\n".encode())


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_host_is_followed(code: int):
    """What counts is the last answer; paths may be relative, and other ports are still the same host."""
    seen: list[bytes] = []
    with (
        _serving(_answering(b"HTTP/1.1 500 No\r\n\r\n", seen)) as other,
        _serving(_redirect("b c?d", code), _redirect(f"http://{HOST}:{other}/e", code)) as port,
    ):
        found = _outcome(_http(HTTPGet(port=port, path="/a/"), port))
    assert _failed("status 500") == found
    assert seen[0].startswith(b"GET /e HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % other)


def test_a_redirect_to_another_host_passes_with_a_warning():
    """As the kubelet, which does not let a container vouch for others."""
    with _serving(_redirect("https://elsewhere.example/")) as port:
        found = _outcome(_http(HTTPGet(port=port), port))
    assert (
        ProbeOutcome(passed=True, reason="it redirects to 'https://elsewhere.example/', which is not followed") == found
    )


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/", "http://[", "http://127.0.0.1:99999/"])
def test_a_redirect_to_what_is_no_url_fails(target: str):
    """The reason shows it."""
    with _serving(_redirect(target)) as port:
        found = _outcome(_http(HTTPGet(port=port), port))
    assert found.reason.startswith(f"it redirects to {target!r}, which is not a URL")


def test_redirects_in_a_circle_end():
    """The tenth is one too many."""
    with _serving(*[_redirect("/again")] * 10) as port:
        found = _outcome(_http(HTTPGet(port=port), port))
    assert _failed("stopped after 10 redirects") == found


def _tls(answer: bytes) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def serve(accepted: socket.socket) -> None:
        with context.wrap_socket(accepted, server_side=True) as secured:
            _answering(answer)(secured)

    return serve


def test_https_verifies_no_certificate():
    """A self-signed certificate for another name will do, as it does for the kubelet."""
    with _serving(_tls(OK), _tls(b"HTTP/1.1 401 No\r\n\r\n")) as port:
        get = HTTPGet(port=port, scheme="HTTPS")
        found = [_outcome(_http(get, port)) for _ in range(2)]
    assert found == [PASSED, _failed("status 401")]


def test_https_to_what_speaks_no_tls_fails_with_openssls_word():
    """The reason says that it is about TLS."""
    with _serving(lambda accepted: accepted.sendall(b"HTTP/1.1 400 Bad\r\n\r\n")) as port:
        found = _outcome(_http(HTTPGet(port=port, scheme="HTTPS"), port))
    assert not found.passed
    assert found.reason.startswith("TLS: ")


def test_a_connection_that_opens_passes():
    """And one that is refused does not."""
    with _serving(lambda _: None) as port:
        assert PASSED == _outcome(PlannedCheck(TCPSocket(port=port), (HOST, port)))
    assert _failed("Connection refused") == _outcome(PlannedCheck(TCPSocket(port=port), (HOST, port)))


def test_a_host_that_is_a_name_is_refused_with_the_reason():
    """The node resolves no names, and waiting for a resolver would hold up the lab."""
    with pytest.raises(OSError, match="'web' is no address, and the node resolves no names"):
        _outcome(PlannedCheck(TCPSocket(port=80, host="web"), ("web", 80)))


def test_a_hook_by_https_makes_do_with_http():
    """As the kubelet, where the server answers TLS with plain HTTP; credentials are not sent then."""
    seen: list[bytes] = []
    headers = (HTTPHeader(name="authorization", value="secret"), HTTPHeader(name="X-A", value="1"))

    def refuse(accepted: socket.socket) -> None:
        accepted.recv(65536)
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with _serving(refuse, _answering(OK, seen)) as port:
        found = _outcome(_http(HTTPGet(port=port, scheme="HTTPS", http_headers=headers), port), any_answer=True)
    lines = [f"Host: {HOST}:{port}", "User-Agent: kube-lifecycle/sidelab", "Accept: */*", "X-A: 1", "Connection: close"]
    assert (PASSED, ["GET / HTTP/1.1", *lines]) == (found, seen[0].decode().split("\r\n")[:-2])


def test_a_hook_follows_redirects_and_needs_no_body():
    """What counts is that there is an answer: the last one, however it breaks off."""
    with _serving(_redirect("/b"), _answering(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\n\r\n")) as port:
        assert PASSED == _outcome(_http(HTTPGet(port=port), port), any_answer=True)


def test_a_hook_passes_with_any_answer():
    """As the kubelet, which looks at no status after a hook."""
    with _serving(_answering(b"HTTP/1.1 500 No\r\n\r\n")) as port:
        assert _outcome(_http(HTTPGet(port=port), port), any_answer=True).passed


def test_a_sleep_passes_when_it_is_over():
    """Of no seconds, at once."""
    assert PASSED == _outcome(PlannedCheck(Sleep(seconds=0), ("", 0)))


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grpc_health", DATA / "grpc_health.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("service", "outcome"),
    [
        ("up", PASSED),
        ("", PASSED),
        ("down", _failed("NOT_SERVING")),
        ("other", _failed("gRPC status NOT_FOUND")),
        ("a" * 300, _failed("gRPC status NOT_FOUND")),
    ],
)
def test_a_grpc_health_check_passes_when_the_service_serves(service: str, outcome: ProbeOutcome):
    """Another status, or a service that is not known, is told by its name."""
    with _serving(_module().serve) as port:
        assert outcome == _outcome(PlannedCheck(GRPC(port=port, service=service), (HOST, port)))


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_speaks_no_grpc_fails(said: bytes):
    """Be it silence or another protocol."""

    def serve(accepted: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            accepted.recv(65536)
            accepted.sendall(said)

    with _serving(serve) as port:
        found = _outcome(PlannedCheck(GRPC(port=port), (HOST, port)))
    assert found in (_failed("no HTTP/2 answer"), _failed("no gRPC answer"), _failed("Connection reset by peer"))


class _Heard:
    """Stands in for a stream: what is sent goes nowhere, and what arrives is what the test says."""

    def __init__(self, *_: object, **__: object) -> None:
        self.closed = False

    def send(self, data: bytes) -> None:
        """Take it."""

    def close(self) -> None:
        """Take note."""
        self.closed = True


PIECES = [OK, b"HTTP/1.1 302 Go\r\n", b"Location: ", b"//[", b"http://127.0.0.1:1/", b"\r\n", b"\0\0\0\4\0", b"\0" * 4]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.binary(min_size=1, max_size=40) | st.sampled_from(PIECES), max_size=8), st.booleans())
def test_whatever_arrives_finishes_once_or_waits(parts: list[bytes], is_grpc: bool):  # hypothesis gives it
    """Nothing that a container says gets out as an exception: it would end the lab."""
    outcomes: list[ProbeOutcome] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sidelab.lab.runtime.probes.http_get.Stream", _Heard)
        patch.setattr("sidelab.lab.runtime.probes.grpc.Stream", _Heard)
        loop, address = Loop(), (HOST, 80)
        asked: HttpCheck | GrpcCheck = (
            GrpcCheck(loop, GRPC(port=80), address, outcomes.append)
            if is_grpc
            else HttpCheck(loop, HTTPGet(port=80), address, outcomes.append)
        )
        asked.opened()
        for part in parts:
            if not outcomes:
                asked.received(part)
        if not outcomes:
            asked.ended("")
        loop.close()
    assert len(outcomes) == 1
