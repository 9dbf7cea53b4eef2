"""The agent's port 15020: probes, readiness, merged metrics, and the two deeds, from where they may be asked."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from agent_rig import answering, ask, meanwhile, ok, until
from tools import PATIENCE_S

from sidelab.sidecar.agent.agent_pages import Pages
from sidelab.sidecar.agent.http import merged_metrics
from sidelab.sidecar.agent.http.server import AgentServer, Reply, Request
from sidelab.sidecar.agent.probes.probers import AppProber, TcpProber
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

PROBER = AppProber(tcp_socket=TcpProber(port=1), timeout_seconds=3)
READYZ = "/app-health/web/readyz"


class Agent:
    """What the pages see of an agent whose proxy listens on the ports given."""

    def __init__(self, *ports: int, application: tuple[int, str] | None = None) -> None:
        self._ports = (*ports, 1, 1, 1)[:3]
        self._application = application
        self.ended = False

    def ports(self) -> tuple[int, int, int]:
        """Return the proxy's ports."""
        return self._ports

    def application(self) -> tuple[int, str] | None:
        """Return where the application's metrics are."""
        return self._application

    def counts(self) -> bytes:
        """Return metrics."""
        return b"# TYPE own counter\nown 1\n"

    def quit(self) -> None:
        """Take note."""
        self.ended = True


Tell = Callable[[Reply], None]


@contextmanager
def served(agent: Agent, told: list[Tell] | None = None) -> Iterator[tuple[ProxyLoop, int]]:
    """Serve an agent's pages on a free port; whoever asks for a probe is put into `told`."""
    loop = ProxyLoop()

    def probe(prober: AppProber, timeout_s: float, request: Request, tell: Tell) -> None:
        assert (PROBER, 3.0) == (prober, timeout_s)
        assert request.raw.startswith(b"GET /app-health/web/readyz")
        if told is None:
            tell(Reply(418, b"teapot"))
        else:
            told.append(tell)

    pages = Pages(loop, agent, {READYZ: PROBER}, probe)
    server = AgentServer(loop, 0, pages.handle)
    try:
        yield loop, server.port
    finally:
        server.close()
        loop.turn(0)
        loop.close()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", READYZ, 418),
        ("GET", "/app-health/web/livez", 400),
        ("GET", "/app-health/other", 400),
        ("GET", "/elsewhere", 404),
        ("POST", "/healthz/ready", 405),
        ("GET", "/quitquitquit", 405),
    ],
)
def test_each_path_has_its_answer(method: str, path: str, status: int):
    """A known probe is the application's answer, an unknown one 400, another page 404, another method 405."""
    agent = Agent()
    with served(agent) as (loop, port):
        assert status == meanwhile(loop, lambda: ask(port, path, method))[0]
    assert not agent.ended


def test_a_probe_that_hangs_holds_up_no_other_page():
    """While one waits for the application others are answered."""
    told: list[Tell] = []
    with served(Agent(), told) as (loop, port):

        def work() -> tuple[int, int]:
            first: list[int] = []

            thread = threading.Thread(target=lambda: first.append(ask(port, READYZ)[0]))
            thread.start()
            second = ask(port, "/app-health/web/livez")[0]
            while not told:
                ask(port, "/app-health/web/livez")
            told[0](Reply(204))
            thread.join(10)
            return first[0], second

        assert (204, 400) == meanwhile(loop, work)


@pytest.mark.parametrize(("answer", "status"), [(ok(b"LIVE\n"), 200), (ok(b"", status="503 No"), 503)])
def test_it_is_ready_when_the_proxy_is(answer: bytes, status: int):
    """What the proxy's health port says is the agent's answer."""
    with answering(answer) as (health, asked, _), served(Agent(1, health)) as (loop, port):
        assert status == meanwhile(loop, lambda: ask(port, "/healthz/ready"))[0]
    assert asked[0].startswith(b"GET /healthz/ready HTTP/1.1\r\n")


def test_without_a_proxy_it_is_not_ready():
    """A health port that nobody listens on is 503."""
    with served(Agent()) as (loop, port):
        assert (503, b"the proxy is not ready\n") == meanwhile(loop, lambda: ask(port, "/healthz/ready"))


def test_metrics_are_merged():
    """The agent's own, the proxy's and the application's, each TYPE line once."""
    proxy, application = b"# TYPE a counter\na 1\n", b"# TYPE a counter\na 2\n"
    with answering(ok(proxy)) as (stats, _, _), answering(ok(application)) as (app, asked, _):
        agent = Agent(1, 1, stats, application=(app, "/m"))
        with served(agent) as (loop, port):
            found = meanwhile(loop, lambda: ask(port, "/stats/prometheus"))
    assert (200, b"# TYPE own counter\nown 1\n# TYPE a counter\na 1\na 2\n") == found
    assert asked[0].startswith(b"GET /m HTTP/1.1\r\n")


def test_a_proxy_without_a_metrics_port_is_asked_at_its_admin_pages():
    """And an application that does not answer is left out."""
    with (
        answering(ok(b"b 1\n")) as (admin, asked, _),
        served(Agent(admin, 1, 1, application=(1, "/metrics"))) as (loop, port),
    ):
        found = meanwhile(loop, lambda: ask(port, "/stats/prometheus"))
    assert (200, b"# TYPE own counter\nown 1\nb 1\n") == found
    assert asked[0].startswith(b"GET /stats/prometheus HTTP/1.1\r\n")


def test_quitquitquit_ends_proxy_and_agent():
    """Asked by POST, from this pod, it says OK first."""
    agent = Agent()
    with served(agent) as (loop, port):
        assert (200, b"OK\n") == meanwhile(loop, lambda: ask(port, "/quitquitquit", "POST"))
        until(loop, lambda: agent.ended)


def test_drain_is_passed_on_to_the_proxy():
    """Its listeners are drained by its admin page, and the agent goes on."""
    agent = Agent(1)
    with answering(ok(b"OK\n")) as (admin, asked, _):
        agent = Agent(admin)
        with served(agent) as (loop, port):
            assert (200, b"OK\n") == meanwhile(loop, lambda: ask(port, "/drain", "POST"))
    assert asked[0].startswith(b"POST /drain_listeners?inboundonly&graceful HTTP/1.1\r\n")
    assert not agent.ended


@pytest.mark.parametrize("path", ["/quitquitquit", "/drain"])
@pytest.mark.parametrize(("peer", "status"), [("10.244.0.1", 403), ("fd00::1", 403), ("::1", 405)])
def test_deeds_are_for_the_pod_itself(path: str, peer: str, status: int):
    """From another address they are forbidden, whatever the method."""
    replies: list[Reply] = []
    pages = Pages(ProxyLoop(), Agent(), {}, lambda *_: None)
    pages.handle(Request("GET", path, b"", peer), replies.append)
    assert [status] == [each.status for each in replies]
    pages._loop.close()


@pytest.mark.parametrize(
    ("env", "annotations", "expected"),
    [
        ({}, {}, None),
        ({}, {"prometheus.io/scrape": "true"}, (80, "/metrics")),
        ({}, {"prometheus.io/scrape": "true", "prometheus.io/port": "9", "prometheus.io/path": "m"}, (9, "/m")),
        ({}, {"prometheus.io/scrape": "false", "prometheus.io/port": "9"}, None),
        ({}, {"prometheus.io/scrape": "true", "prometheus.io/port": "15020"}, None),
        (
            {merged_metrics.VARIABLE: '{"scrape":"true","path":"","port":"8"}'},
            {"prometheus.io/port": "9"},
            (8, "/metrics"),
        ),
        ({merged_metrics.VARIABLE: "{"}, {"prometheus.io/scrape": "true"}, None),
    ],
)
def test_the_applications_metrics_are_where_its_pod_says(
    env: dict[str, str], annotations: dict[str, str], expected: tuple[int, str] | None
):
    """By what the injector has kept, else by the annotations, unless these lead to the agent itself."""
    assert expected == merged_metrics.application(env, annotations, 15020)


def test_silent_connections_keep_nobody_out():
    """However many connections a source holds open in silence, its oldest ones go, and everybody is answered."""
    with served(Agent()) as (loop, port):

        def work() -> tuple[int, int, bytes]:
            held = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) for _ in range(300)]
            try:
                own = ask(port, READYZ)[0]
                other = ask_from("127.0.0.7", port)
                try:
                    oldest = held[0].recv(1)
                except ConnectionResetError:
                    oldest = b"reset"
            finally:
                for each in held:
                    each.close()
            return own, other, oldest

        assert (418, 418, b"reset") == meanwhile(loop, work)


def test_pods_that_scrape_at_once_cost_one_page():
    """The proxy is asked once for all who ask meanwhile."""
    agent = Agent()
    replies: list[Reply] = []
    with answering(ok(b"proxy 1\n")) as (port, asked, _), served(Agent(1, 1, port)) as (loop, _):
        agent = Agent(1, 1, port)
        pages = Pages(loop, agent, {}, lambda *_: None)
        for _ in range(20):
            pages.handle(Request("GET", "/stats/prometheus", b"", "10.244.0.9"), replies.append)
        until(loop, lambda: replies)
    assert (1, 20, 1) == (len(asked), len(replies), len(set(replies)))


def ask_from(source: str, port: int) -> int:
    """Return the status of the answer to a probe from the address `source`."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S, source_address=(source, 0)) as link:
        link.sendall(b"GET " + READYZ.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        return int(link.recv(65536).split(b" ", 2)[1])
