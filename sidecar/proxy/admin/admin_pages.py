"""The pages of the proxy's own ports: administration (15000), metrics (15090) and health (15021).

They are Envoy's pages as far as these make sense here,
https://www.envoyproxy.io/docs/envoy/latest/operations/admin, and are made on request. What they show and do comes from
the `Subject`; they open no socket and know nothing about traffic.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.admin.commands import (
    JSON,
    PageAnswer,
    PageCommand,
    PageQuery,
    choice,
    listing,
    pattern,
    switch,
)
from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, ListenerStatus
from sidelab.sidecar.proxy.admin.statuspages import cluster_json, cluster_lines, listener_json, listener_lines
from sidelab.sidecar.proxy.stats import memory, stats
from sidelab.sidecar.proxy.stats.prometheus import CONTENT_TYPE, MetricFamily, render

VERSION = "sidelab-proxy"

_FILTER = {"filter": "what a name must match somewhere: text, . .* .+ [a-z] (a|b) ? ^ $"}
_FORMAT = {"format": "one of text, json"}


class Subject(Protocol):
    """The running proxy, as its pages see it."""

    intent: Intent
    draining: bool

    def listeners(self) -> Iterable[ListenerStatus]:
        """Return the listeners that are open."""

    def clusters(self) -> Iterable[ClusterStatus]:
        """Return the clusters that traffic goes to."""

    def stats(self) -> Iterable[stats.Stat]:
        """Return every counter and gauge under its name in Envoy."""

    def families(self) -> list[MetricFamily]:
        """Return Istio's metrics."""

    def reset_counters(self) -> None:
        """Set all counters to zero."""

    def drain_listeners(self, *, graceful: bool, inbound_only: bool) -> None:
        """Close listeners but keep running; if `graceful`, first close connections after responses, for `drain_s`."""

    def quit(self) -> None:
        """Stop at the end of this turn."""


class ProxyPages:
    """The commands of a proxy's ports; `now_s` is a monotonic clock."""

    def __init__(self, subject: Subject, now_s: Callable[[], float] = time.monotonic) -> None:
        self._subject = subject
        self._now_s = now_s
        self._started_s = now_s()

    def admin(self) -> dict[str, PageCommand]:
        """Return the commands of port 15000."""
        selection = {**_FILTER, "usedonly": "only what is not zero"}
        drain = {
            "graceful": "accept for the intent's drain_s still, and close connections after their responses",
            "inboundonly": "the inbound listener only",
            "skip_exit": "the proxy stays in any case",
        }
        sections = {"resource": "one of intent, listeners, clusters", "include_eds": "endpoints are there anyway"}
        commands = {
            "/certs": PageCommand("certificates in use", _certs),
            "/clusters": PageCommand("upstream clusters and their hosts", self._clusters, {**_FORMAT, **_FILTER}),
            "/config_dump": PageCommand("the intent, and what was made of it", self._config_dump, sections),
            "/drain_listeners": PageCommand("close the listeners", self._drain_listeners, drain, mutates=True),
            "/listeners": PageCommand("open listeners", self._listeners, _FORMAT),
            "/memory": PageCommand("memory of this process, by the kernel's account", _memory),
            "/quitquitquit": PageCommand("exit at once", self._quit, mutates=True),
            "/ready": PageCommand("print the state; 200 if LIVE, otherwise 503", self._ready),
            "/reset_counters": PageCommand("set all counters to zero", self._reset_counters, mutates=True),
            "/server_info": PageCommand("version, state and uptime", self._server_info),
            "/stats": PageCommand(
                "counters and gauges", self._stats, {**selection, "format": "one of text, json, prometheus"}
            ),
            "/stats/prometheus": PageCommand("all metrics in Prometheus' format", self._prometheus, selection),
        }
        home = PageCommand("this list", lambda _query: PageAnswer(listing(commands)))
        commands["/"] = commands["/help"] = home
        return commands

    def metrics(self) -> dict[str, PageCommand]:
        """Return the commands of port 15090, which is open to the network: therefore it accepts no filters."""
        return {"/stats/prometheus": PageCommand("all metrics in Prometheus' format", self._prometheus)}

    def health(self) -> dict[str, PageCommand]:
        """Return the commands of port 15021."""
        return {"/healthz/ready": PageCommand("200 if LIVE, otherwise 503", self._ready)}

    def _stats(self, query: PageQuery) -> PageAnswer:
        form = choice(query, "format", ("text", "json", "prometheus"))
        if form == "prometheus":
            return self._prometheus(query)
        kept = _selected(query, (*self._subject.stats(), *self._own_stats()))
        return PageAnswer(stats.to_json(kept), content_type=JSON) if form == "json" else PageAnswer(stats.to_text(kept))

    def _prometheus(self, query: PageQuery) -> PageAnswer:
        found = pattern(query, "filter")
        # Istio's metrics have labels here; as plain counters they have long names.
        plain = (stat for stat in self._subject.stats() if not stat[0].startswith("istiocustom."))
        families = stats.to_families(_selected(query, (*plain, *self._own_stats())))
        families += [family for family in self._subject.families() if found is None or found.matches(family.name)]
        return PageAnswer(render(families), content_type=CONTENT_TYPE)

    def _own_stats(self) -> list[stats.Stat]:
        used = memory.usage()
        names = {
            "allocated": "server.memory_allocated",
            "heap_size": "server.memory_heap_size",
            "total_physical_bytes": "server.memory_physical_size",
        }
        return [
            ("cluster_manager.active_clusters", len(tuple(self._subject.clusters()))),
            ("listener_manager.total_listeners_active", len(tuple(self._subject.listeners()))),
            ("server.concurrency", self._subject.intent.concurrency),
            ("server.live", int(not self._subject.draining)),
            # Envoy's numbers: 0 is LIVE, 1 DRAINING.
            ("server.state", int(self._subject.draining)),
            ("server.uptime", self._uptime_s()),
            *((names[name], value) for name, value in used.items() if name in names),
        ]

    def _clusters(self, query: PageQuery) -> PageAnswer:
        form = choice(query, "format", ("text", "json"))
        found = pattern(query, "filter")
        clusters = sorted(
            (cluster for cluster in self._subject.clusters() if found is None or found.matches(cluster.name)),
            key=lambda cluster: cluster.name,
        )
        if form == "json":
            return _json({"cluster_statuses": [cluster_json(cluster) for cluster in clusters]})
        return _lines(line for cluster in clusters for line in cluster_lines(cluster))

    def _listeners(self, query: PageQuery) -> PageAnswer:
        listeners = list(self._subject.listeners())
        if choice(query, "format", ("text", "json")) == "json":
            return _json({"listener_statuses": [listener_json(listener) for listener in listeners]})
        return _lines(line for listener in listeners for line in listener_lines(listener))

    def _config_dump(self, query: PageQuery) -> PageAnswer:
        sections: dict[str, Any] = {
            "intent": json.loads(self._subject.intent.to_json()),
            "listeners": [listener_json(listener) for listener in self._subject.listeners()],
            "clusters": [cluster_json(cluster) for cluster in self._subject.clusters()],
        }
        wanted = query.get("resource")
        if wanted is not None and wanted not in sections:
            return PageAnswer(f"{wanted} not found in config dump: there are {', '.join(sections)}\n", 404)
        return _json(
            {
                # Types of our own, because the content differs from that of Envoy's types.
                "configs": [
                    {"@type": f"sidelab.io/{name}_dump.v1", name: value}
                    for name, value in sections.items()
                    if wanted in (None, name)
                ]
            }
        )

    def _server_info(self, _query: PageQuery) -> PageAnswer:
        intent = self._subject.intent
        workload = intent.workload
        uptime = f"{self._uptime_s()}s"
        options = {
            "concurrency": intent.concurrency,
            "mode": "Serve",
            "drain_time": f"{intent.drain_s:g}s",
            "disable_hot_restart": True,
        }
        return _json(
            {
                "version": VERSION,
                "state": self._state(),
                "uptime_current_epoch": uptime,
                "uptime_all_epochs": uptime,
                "hot_restart_version": "disabled",
                "command_line_options": options,
                "node": {
                    "id": f"sidecar~{workload.pod}.{workload.namespace}",
                    "cluster": f"{workload.app or workload.pod}.{workload.namespace}",
                },
            }
        )

    def _ready(self, _query: PageQuery) -> PageAnswer:
        return PageAnswer(f"{self._state()}\n", 503 if self._subject.draining else 200)

    def _drain_listeners(self, query: PageQuery) -> PageAnswer:
        switch(query, "skip_exit")
        self._subject.drain_listeners(graceful=switch(query, "graceful"), inbound_only=switch(query, "inboundonly"))
        return PageAnswer("OK\n")

    def _reset_counters(self, _query: PageQuery) -> PageAnswer:
        self._subject.reset_counters()
        return PageAnswer("OK\n")

    def _quit(self, _query: PageQuery) -> PageAnswer:
        self._subject.quit()
        return PageAnswer("OK\n")

    def _state(self) -> str:
        return "DRAINING" if self._subject.draining else "LIVE"

    def _uptime_s(self) -> int:
        return int(self._now_s() - self._started_s)


def _selected(query: PageQuery, found: Iterable[stats.Stat]) -> list[stats.Stat]:
    wanted = pattern(query, "filter")
    used_only = switch(query, "usedonly")
    return [
        (name, value) for name, value in found if (value or not used_only) and (wanted is None or wanted.matches(name))
    ]


def _memory(_query: PageQuery) -> PageAnswer:
    used = memory.usage()
    if not used:
        return PageAnswer("the kernel gives no account of this process' memory\n", 503)
    # As in the JSON of protocol buffers: 64-bit numbers are strings.
    return _json({**{name: str(value) for name, value in used.items()}, "meanings": memory.MEANINGS})


def _certs(_query: PageQuery) -> PageAnswer:
    return _json({"certificates": []})


def _json(value: Mapping[str, Any]) -> PageAnswer:
    return PageAnswer(json.dumps(value, indent=1) + "\n", content_type=JSON)


def _lines(lines: Iterable[str]) -> PageAnswer:
    return PageAnswer("".join(f"{line}\n" for line in lines))
