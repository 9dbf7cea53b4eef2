"""The program of istio-proxy's container: the agent, with the proxy as its child.

Its life cycle: deliver the intent, start the proxy, listen, wait until the proxy is ready, report that; then deliver
again whenever the pod or the cluster changes, until the agent is asked to end or the proxy ends.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sidelab.lab.errors import SidelabError
from sidelab.lab.net.http_answer import Answer
from sidelab.lab.plan.registry import Context
from sidelab.sidecar.agent import file_events
from sidelab.sidecar.agent.agent_pages import Pages
from sidelab.sidecar.agent.delivery import Delivery, Paths
from sidelab.sidecar.agent.http import merged_metrics
from sidelab.sidecar.agent.http.fetch import fetch
from sidelab.sidecar.agent.http.server import AgentServer
from sidelab.sidecar.agent.probes import probers
from sidelab.sidecar.agent.probes.probes import Probes
from sidelab.sidecar.agent.proxy_child import ProxyChild
from sidelab.sidecar.config.agent_settings import Settings
from sidelab.sidecar.config.contract import READY_PATH
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

if TYPE_CHECKING:
    from sidelab.sidecar.agent.dns.resolver import Resolver

_NICE = 10
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.002, 0.1
_SETTLE_S = 0.05
_DRAIN_MARGIN_S = 1.0


def main(context: Context) -> None:
    """Run a pod's agent until the proxy ends, and raise `SystemExit` with the exit status.

    Raises `InputError` for settings, annotations or probers that are wrong, `PodError` for what the pod lacks.
    """
    agent = Agent(context, Paths())
    agent.run()
    raise SystemExit(agent.status)


class Agent:
    """A running agent; `status` is its exit status."""

    def __init__(self, context: Context, paths: Paths) -> None:
        """Deliver the intent, start the proxy and listen."""
        self._started_s = time.monotonic()
        self._ready_s = 0.0
        self._env = context.env
        self._say_ready = context.ready
        settings = Settings.of(context.env)
        known = probers.read(context.env)
        self._delivery = Delivery(paths, settings)
        self._child = ProxyChild(settings.proxy, paths.intent, paths.home, context.env)
        os.nice(_NICE)  # the proxy, already started, must not wait while the agent makes a page
        self.status = 0
        self._loop = ProxyLoop()
        self._watch_signals()
        self._ending = self._quitting = self._untold = self._news = self._settling = False
        pod = self._delivery.pod
        port = self._delivery.intent.ports.agent
        probes = Probes(pod.ipv4 or pod.ipv6, port)
        self._pages = Pages(self._loop, self, known, probes.begin)
        self._server = AgentServer(self._loop, port, self._pages.handle)
        self._resolver = self._resolve(pod.namespace) if settings.dns else None
        directories = [str(Path(each).parent) for each in (paths.state, paths.podinfo)]
        self._source = file_events.watch(self._loop, directories, self._changed)
        self._look(_FIRST_LOOK_S)

    def run(self) -> None:
        """Serve until the proxy has ended."""
        self._loop.run()

    def ports(self) -> tuple[int, int, int]:
        """See `agent_pages.AgentView`."""
        ports = self._delivery.intent.ports
        return ports.admin, ports.health, ports.stats

    def application(self) -> tuple[int, str] | None:
        """See `agent_pages.AgentView`."""
        return merged_metrics.application(self._env, self._delivery.pod.annotations, self._delivery.intent.ports.agent)

    def counts(self) -> bytes:
        """See `agent_pages.AgentView`."""
        resident_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        rows = (
            (
                "startup_duration_seconds",
                "gauge",
                "Time from the agent's start to the proxy's readiness",
                self._ready_s,
            ),
            ("intents_total", "counter", "Intents delivered to the proxy", self._delivery.count),
            (
                "generation",
                "gauge",
                "Generation of what the lab has published and the proxy has",
                self._delivery.generation,
            ),
            ("max_resident_memory_bytes", "gauge", "The agent's largest resident memory", resident_bytes),
        )
        return "".join(
            f"# HELP istio_agent_{name} {text}.\n# TYPE istio_agent_{name} {kind}\nistio_agent_{name} {value}\n"
            for name, kind, text, value in rows
        ).encode()

    def quit(self) -> None:
        """See `agent_pages.AgentView`."""
        self._quitting = True
        self._end()

    def _resolve(self, namespace: str) -> "Resolver":
        from sidelab.sidecar.agent.dns import resolver  # noqa: PLC0415  # few pods capture DNS

        names = resolver.Resolver(self._loop, self._delivery.intent.ports.dns, namespace)
        names.learn(self._delivery.state)
        return names

    def _watch_signals(self) -> None:
        calls = {signal.SIGTERM: self._end, signal.SIGINT: self._end, signal.SIGCHLD: self._reap}
        for number in calls:
            signal.signal(number, lambda number, _frame: self._loop.call_threadsafe(calls[signal.Signals(number)]))
        self._loop.call_soon(self._reap)  # it may have ended before the handler was set

    def _look(self, delay_s: float) -> None:
        """Check whether the proxy is ready, at growing intervals."""

        def told(found: Answer | None) -> None:
            if found is not None and found.status == 200:
                self._serving()
            elif self._child.status is None:
                self._loop.call_later(delay_s, lambda: self._look(min(2 * delay_s, _LONGEST_LOOK_S)))

        fetch(self._loop, self._delivery.intent.ports.health, READY_PATH, 1.0, told)

    def _serving(self) -> None:
        self._ready_s = time.monotonic() - self._started_s
        self._tell()
        self._say_ready()

    def _changed(self) -> None:
        """Deliver at once, and then not again for a while: when a lab starts, many changes come together."""
        self._news = True
        if not self._settling:
            self._settled()

    def _settled(self) -> None:
        self._settling = self._news
        if self._news:
            self._news = False
            self._loop.call_later(_SETTLE_S, self._settled)
            self._deliver()

    def _deliver(self) -> None:
        try:
            renewed = self._delivery.renew()
        except SidelabError as error:
            sys.stderr.write(f"sidelab: the proxy keeps its last intent: {error}\n")
            sys.stderr.flush()
            return
        if self._resolver is not None:
            self._resolver.learn(self._delivery.state)
        if renewed:
            self._untold = True
            self._tell()

    def _tell(self) -> None:
        """Signal a new intent to the proxy, but only once it is ready: before, it may not handle signals."""
        if self._untold and self._ready_s:
            self._untold = False
            self._child.signal(signal.SIGHUP)

    def _end(self) -> None:
        """Let the proxy drain, and make sure that it ends."""
        if self._ending:
            return
        self._ending = True
        self._child.stop(self._loop.call_later, self._delivery.intent.drain_s + _DRAIN_MARGIN_S)

    def _reap(self) -> None:
        if self._child.reap():
            self.status = 0 if self._quitting else self._child.status or 0
            self._loop.stop()
