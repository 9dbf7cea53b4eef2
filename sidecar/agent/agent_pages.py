"""The agent's pages on port 15020: the application's probes, the proxy's readiness and metrics, and ways to end it.

Source: istio/istio pilot/cmd/pilot-agent/status/server.go.
"""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Protocol

from sidelab.lab.net.http_answer import Answer
from sidelab.sidecar.agent.http import merged_metrics
from sidelab.sidecar.agent.http.fetch import fetch
from sidelab.sidecar.agent.http.server import Reply, Request
from sidelab.sidecar.agent.probes.probers import AppProber
from sidelab.sidecar.config.contract import READY_PATH
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

_PROBE_PREFIXES = ("/app-health/", "/app-lifecycle/")
_READY_S, _SCRAPE_S = 1.0, 5.0
_DRAIN_PATH = "/drain_listeners?inboundonly&graceful"

Answering = Callable[[Reply], None]


class AgentView(Protocol):
    """The part of the agent that the pages need."""

    def ports(self) -> tuple[int, int, int]:
        """Return the proxy's ports for admin pages, health and metrics."""

    def application(self) -> tuple[int, str] | None:
        """Return the port and path of the application's metrics, None if it has none."""

    def counts(self) -> bytes:
        """Return the agent's own metrics as text."""

    def quit(self) -> None:
        """End proxy and agent, with status 0."""


class Pages:
    """Answers requests; `probe` sends a probe to the application, in a thread."""

    def __init__(
        self,
        loop: ProxyLoop,
        agent: AgentView,
        probers: Mapping[str, AppProber],
        probe: Callable[[AppProber, float, Request, Answering], None],
    ) -> None:
        self._loop = loop
        self._agent = agent
        self._probers = probers
        self._probe = probe
        self._pages: dict[str, Callable[[Answering], None]] = {
            "/healthz/ready": self._ready,
            "/stats/prometheus": self._stats,
            "/metrics": self._stats,
        }
        self._awaiting: list[Answering] = []
        self._scraping: list[Answering] = []
        self._deeds: dict[str, Callable[[Answering], None]] = {"/quitquitquit": self._quit, "/drain": self._drain}

    def handle(self, request: Request, answer: Answering) -> None:
        """Answer a request, now or later."""
        path, method = request.path, request.method
        if path.startswith(_PROBE_PREFIXES):
            self._application(request, answer)
        elif path in self._pages:
            if method in ("GET", "HEAD"):
                self._pages[path](answer)
            else:
                answer(_said(405, "only GET is answered here"))
        elif path not in self._deeds:
            answer(_said(404, "no such page; there are: " + " ".join((*sorted(self._pages), *sorted(self._deeds)))))
        elif not _is_local(request.peer):
            answer(_said(403, "Only requests from localhost are allowed"))
        elif method != "POST":
            answer(_said(405, "only POST is answered here"))
        else:
            self._deeds[path](answer)

    def _application(self, request: Request, answer: Answering) -> None:
        prober = self._probers.get(request.path)
        if prober is None:
            answer(_said(400, f"no probe of the application is known as {request.path}"))
            return

        def tell(reply: Reply) -> None:
            self._loop.call_threadsafe(lambda: answer(reply))

        self._probe(prober, prober.timeout_s(request.path), request, tell)

    def _ready(self, answer: Answering) -> None:
        """Fetch the proxy's readiness; requests that arrive meanwhile get the same answer."""
        self._awaiting.append(answer)
        if len(self._awaiting) > 1:
            return
        _, health, _ = self._agent.ports()

        def told(found: Answer | None) -> None:
            ready = found is not None and found.status == 200
            waiting, self._awaiting = self._awaiting, []
            for each in waiting:
                each(Reply(200) if ready else _said(503, "the proxy is not ready"))

        fetch(self._loop, health, READY_PATH, _READY_S, told)

    def _stats(self, answer: Answering) -> None:
        """Fetch the proxy's metrics, from its metrics port or else from its admin pages, and the application's.

        Requests that arrive meanwhile get the same page.
        """
        self._scraping.append(answer)
        if len(self._scraping) > 1:
            return
        admin, _, stats = self._agent.ports()
        application = self._agent.application()
        pages: dict[str, bytes] = {"agent": self._agent.counts()}

        def told(name: str, found: Answer | None) -> None:
            pages[name] = found.body if found is not None and found.status == 200 else b""
            if len(pages) == 3:
                reply = Reply(
                    200, merged_metrics.merged(pages[each] for each in ("agent", "proxy", "app")), merged_metrics.KIND
                )
                waiting, self._scraping = self._scraping, []
                for each in waiting:
                    each(reply)

        def told_of_proxy(found: Answer | None) -> None:
            if found is not None and found.status == 200:
                told("proxy", found)
            else:
                fetch(self._loop, admin, "/stats/prometheus", _SCRAPE_S, lambda again: told("proxy", again))

        fetch(self._loop, stats, "/stats/prometheus", _SCRAPE_S, told_of_proxy)
        if application is None:
            told("app", None)
        else:
            fetch(self._loop, *application, _SCRAPE_S, lambda found: told("app", found))

    def _quit(self, answer: Answering) -> None:
        answer(_said(200, "OK"))
        self._agent.quit()

    def _drain(self, answer: Answering) -> None:
        admin, _, _ = self._agent.ports()

        def told(found: Answer | None) -> None:
            drained = found is not None and found.status == 200
            answer(_said(200, "OK") if drained else _said(500, "the proxy has no such admin page"))

        fetch(self._loop, admin, _DRAIN_PATH, _READY_S, told, method="POST")


def _said(status: int, text: str) -> Reply:
    return Reply(status, f"{text}\n".encode())


def _is_local(peer: str) -> bool:
    return ip_address(peer.partition("%")[0]).is_loopback
