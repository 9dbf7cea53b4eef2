"""The proxy's admin pages, as Envoy's: what they say, and what they refuse."""

import json
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.sidecar.config.intent import Intent, Workload
from sidelab.sidecar.proxy.admin.admin_pages import ProxyPages
from sidelab.sidecar.proxy.admin.commands import PageAnswer, answer
from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, HostStatus, ListenerStatus
from sidelab.sidecar.proxy.stats import memory
from sidelab.sidecar.proxy.stats.prometheus import MetricFamily, MetricSample

NGINX = "outbound|80||nginx.default.svc.cluster.local"


@dataclass
class Running:
    """A proxy that only remembers what it was told to do."""

    intent: Intent = field(default_factory=lambda: Intent(workload=Workload(pod="nginx", app="web")))
    draining: bool = False
    done: list[str] = field(default_factory=list)

    def listeners(self) -> list[ListenerStatus]:
        """Return two; so for what follows."""
        return [ListenerStatus("virtualInbound", "0.0.0.0", 15006), ListenerStatus("virtualInbound", "::", 15006)]

    def clusters(self) -> list[ClusterStatus]:
        """Do as asked."""
        idle = HostStatus("fd00::3", 80, "nginx-2")
        busy = HostStatus("10.244.0.2", 80, "nginx-1", {"cx_total": 3, "cx_active": 1})
        return [ClusterStatus(NGINX, (busy, idle)), ClusterStatus("BlackHoleCluster")]

    def stats(self) -> list[tuple[str, int]]:
        """Do as asked."""
        return [
            (f"cluster.{NGINX}.upstream_cx_total", 3),
            ("cluster.BlackHoleCluster.upstream_cx_total", 0),
            ("istiocustom.istio_requests_total.reporter.source", 5),
        ]

    def families(self) -> list[MetricFamily]:
        """Do as asked."""
        return [MetricFamily("istio_requests_total", "counter", "Requests.", [MetricSample({"reporter": "source"}, 5)])]

    def reset_counters(self) -> None:
        """Remember."""
        self.done.append("reset")

    def drain_listeners(self, *, graceful: bool, inbound_only: bool) -> None:
        """Remember."""
        self.done.append(f"drain graceful={graceful} inbound_only={inbound_only}")

    def quit(self) -> None:
        """Remember."""
        self.done.append("quit")


def _ask(target: str, method: str = "GET", running: Running | None = None) -> PageAnswer:
    return answer(ProxyPages(running or Running()).admin(), method, target)


def _own(text: str) -> list[str]:
    """Return the lines that are not about the process itself, which differ from run to run."""
    return [line for line in text.splitlines() if not re.match(r"server\.|(cluster|listener)_manager\.", line)]


def test_help_lists_every_page() -> None:
    """The first page and /help name each page, and which of them change something."""
    assert _ask("/") == _ask("/help")
    listed = re.findall(r"^  (/\S*)( \(POST\))?: \S", _ask("/help").body, re.MULTILINE)
    assert sorted(ProxyPages(Running()).admin()) == [path for path, _ in listed]
    assert ["/drain_listeners", "/quitquitquit", "/reset_counters"] == [path for path, post in listed if post]


def test_unknown_page_is_404_with_the_list() -> None:
    """A path that is none is told what there is."""
    page = _ask("/nothing")
    assert (404, "invalid path. " + _ask("/help").body) == (page.status, page.body)


@pytest.mark.parametrize("path", ["/drain_listeners", "/quitquitquit", "/reset_counters"])
def test_what_changes_something_needs_post(path: str) -> None:
    """A page that changes something does nothing for a GET, and says so in Envoy's words."""
    running = Running()
    page = _ask(path, running=running)
    assert (405, "Method GET not allowed, POST required.\n", []) == (page.status, page.body, running.done)


def test_what_shows_something_refuses_post() -> None:
    """A page that shows something is not to be posted to."""
    assert 405 == _ask("/stats", "POST").status


def test_commands_are_carried_out() -> None:
    """POST carries out, and answers OK."""
    running = Running()
    targets = ("/reset_counters", "/drain_listeners?graceful&inboundonly", "/drain_listeners", "/quitquitquit")
    assert ["OK\n"] * 4 == [_ask(target, "POST", running).body for target in targets]
    assert [
        "reset",
        "drain graceful=True inbound_only=True",
        "drain graceful=False inbound_only=False",
        "quit",
    ] == running.done


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("/stats?filter=(", "not a filter"),
        ("/stats?filter=" + "(" * 5000, "not a filter"),
        ("/stats?format=xml", "give one of text, json, prometheus"),
        ("/stats?fliter=a", "no parameter 'fliter'"),
        ("/stats?usedonly=perhaps", "true or false"),
        ("/clusters?format=yaml", "give one of text, json"),
        ("/memory?format=json", "no parameter"),
    ],
)
def test_bad_query_is_400_with_a_sentence(target: str, word: str) -> None:
    """A query that makes no sense is refused, with what is wrong about it."""
    page = _ask(target)
    assert (400, True) == (page.status, word in page.body)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(["GET", "HEAD", "POST", "BREW"]),
    st.sampled_from([*ProxyPages(Running()).admin(), "", "*"]),
    st.text(st.characters(min_codepoint=33, max_codepoint=255), max_size=20),
)
def test_no_request_breaks_the_server(method: str, path: str, query: str) -> None:
    """Whatever is asked, the answer has one of the five statuses that there are."""
    assert _ask(f"{path}?{query}", method).status in (200, 400, 404, 405)


def test_stats_are_text() -> None:
    """Counters are `name: value`, sorted."""
    expected = [
        "cluster.BlackHoleCluster.upstream_cx_total: 0",
        f"cluster.{NGINX}.upstream_cx_total: 3",
        "istiocustom.istio_requests_total.reporter.source: 5",
    ]
    lines = _ask("/stats").body.splitlines()
    assert (expected, sorted(lines)) == (_own(_ask("/stats").body), lines)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("filter=^cluster.*nginx", [f"cluster.{NGINX}.upstream_cx_total: 3"]),
        ("filter=%5Ecluster%5C.&usedonly", [f"cluster.{NGINX}.upstream_cx_total: 3"]),
        ("filter=nothing_like_this", []),
    ],
)
def test_stats_can_be_filtered(query: str, expected: list[str]) -> None:
    """A filter matches somewhere in a name; `usedonly` leaves out what is zero."""
    assert expected == _ask(f"/stats?{query}").body.splitlines()


def test_stats_are_json() -> None:
    """The same as JSON."""
    page = _ask("/stats?format=json&filter=BlackHole")
    assert {"stats": [{"name": "cluster.BlackHoleCluster.upstream_cx_total", "value": 0}]} == json.loads(page.body)
    assert "application/json" == page.content_type


def test_stats_are_prometheus() -> None:
    """Prometheus' page has Envoy's counters and Istio's metrics, each once, on both of its paths and its own port."""
    expected = [
        "# TYPE envoy_cluster_upstream_cx_total counter",
        'envoy_cluster_upstream_cx_total{cluster_name="BlackHoleCluster"} 0',
        f'envoy_cluster_upstream_cx_total{{cluster_name="{NGINX}"}} 3',
        "# HELP istio_requests_total Requests.",
        "# TYPE istio_requests_total counter",
        'istio_requests_total{reporter="source"} 5',
    ]
    for page in (
        _ask("/stats/prometheus"),
        _ask("/stats?format=prometheus"),
        answer(ProxyPages(Running()).metrics(), "GET", "/stats/prometheus"),
    ):
        lines = [
            line for line in page.body.splitlines() if not re.search("envoy_(server|(cluster|listener)_man)", line)
        ]
        assert (expected, "text/plain; version=0.0.4; charset=utf-8") == (lines, page.content_type)


def test_prometheus_can_be_filtered() -> None:
    """The filter goes for Istio's metrics as well."""
    expected = ["# HELP istio_requests_total Requests.", "# TYPE istio_requests_total counter"]
    lines = _ask("/stats/prometheus?filter=istio").body.splitlines()
    assert [*expected, 'istio_requests_total{reporter="source"} 5'] == lines


def test_port_of_metrics_has_nothing_else() -> None:
    """The port that the network reaches runs no regular expression and no command."""
    commands = ProxyPages(Running()).metrics()
    targets = ("/stats/prometheus?filter=a", "/quitquitquit", "/config_dump")
    assert [400, 404, 404] == [answer(commands, "GET", target).status for target in targets]


def test_clusters_are_as_envoys() -> None:
    """Each host of a cluster has its statistics and `health_flags`, in Envoy's form."""
    expected = f"""\
BlackHoleCluster::observability_name::BlackHoleCluster
BlackHoleCluster::default_priority::max_connections::4294967295
BlackHoleCluster::default_priority::max_pending_requests::4294967295
BlackHoleCluster::default_priority::max_requests::4294967295
BlackHoleCluster::default_priority::max_retries::4294967295
BlackHoleCluster::added_via_api::true
{NGINX}::observability_name::{NGINX}
{NGINX}::default_priority::max_connections::4294967295
{NGINX}::default_priority::max_pending_requests::4294967295
{NGINX}::default_priority::max_requests::4294967295
{NGINX}::default_priority::max_retries::4294967295
{NGINX}::added_via_api::true
{NGINX}::10.244.0.2:80::cx_active::1
{NGINX}::10.244.0.2:80::cx_total::3
{NGINX}::10.244.0.2:80::hostname::nginx-1
{NGINX}::10.244.0.2:80::health_flags::healthy
{NGINX}::10.244.0.2:80::weight::1
{NGINX}::10.244.0.2:80::priority::0
{NGINX}::[fd00::3]:80::hostname::nginx-2
{NGINX}::[fd00::3]:80::health_flags::healthy
{NGINX}::[fd00::3]:80::weight::1
{NGINX}::[fd00::3]:80::priority::0
"""
    assert expected == _ask("/clusters").body
    assert "" == _ask("/clusters?filter=inbound").body


def test_clusters_are_json() -> None:
    """As JSON, numbers are strings, as Envoy has it."""
    (cluster,) = json.loads(_ask("/clusters?format=json&filter=nginx").body)["cluster_statuses"]
    assert NGINX == cluster["name"]
    busy, _ = cluster["host_statuses"]
    assert {"socket_address": {"address": "10.244.0.2", "port_value": 80}} == busy["address"]
    assert [
        {"type": "GAUGE", "name": "cx_active", "value": "1"},
        {"type": "COUNTER", "name": "cx_total", "value": "3"},
    ] == busy["stats"]
    assert {"eds_health_status": "HEALTHY"} == busy["health_status"]


def test_listeners_are_named() -> None:
    """Listeners have Istio's names and where they listen."""
    assert "virtualInbound::0.0.0.0:15006\nvirtualInbound::[::]:15006\n" == _ask("/listeners").body
    statuses = json.loads(_ask("/listeners?format=json").body)["listener_statuses"]
    assert ["0.0.0.0", "::"] == [each["local_address"]["socket_address"]["address"] for each in statuses]


def test_config_dump_is_the_intent() -> None:
    """The dump holds the intent whole, listeners and clusters; one section can be asked for."""
    running = Running()
    configs = json.loads(_ask("/config_dump?include_eds", running=running).body)["configs"]
    assert running.intent == Intent.from_json(json.dumps(configs[0]["intent"]))
    assert ["sidelab.io/intent_dump.v1", "sidelab.io/listeners_dump.v1", "sidelab.io/clusters_dump.v1"] == [
        config["@type"] for config in configs
    ]
    assert configs[2:] == json.loads(_ask("/config_dump?resource=clusters").body)["configs"]
    missing = _ask("/config_dump?resource=routes")
    assert (404, True) == (missing.status, missing.body.startswith("routes not found in config dump"))


def test_server_info_has_state_and_uptime() -> None:
    """The state and how long it has been up, by the clock that the pages were given."""
    now_s = [100.0]
    running = Running()
    pages = ProxyPages(running, lambda: now_s[0])
    now_s[0] += 75.9
    running.draining = True
    info = json.loads(answer(pages.admin(), "GET", "/server_info").body)
    assert ("DRAINING", "75s", "sidecar~nginx.default") == (
        info["state"],
        info["uptime_current_epoch"],
        info["node"]["id"],
    )


def test_readiness_follows_the_state() -> None:
    """Ready is 200 until the proxy drains, on the admin port and on the health port."""
    for draining, expected in ((False, (200, "LIVE\n")), (True, (503, "DRAINING\n"))):
        pages = ProxyPages(Running(draining=draining))
        for page in (answer(pages.admin(), "GET", "/ready"), answer(pages.health(), "GET", "/healthz/ready")):
            assert expected == (page.status, page.body)


def test_no_certificates() -> None:
    """Without TLS there are no certificates, in Envoy's form."""
    assert {"certificates": []} == json.loads(_ask("/certs").body)


def test_memory_is_the_kernels_account() -> None:
    """Each figure of memory is in bytes, and says what it is."""
    page = json.loads(_ask("/memory").body)
    meanings = page.pop("meanings")
    assert meanings.keys() == page.keys()
    assert 0 < int(page["allocated"]) <= int(page["total_physical_bytes"])


def test_memory_is_read_from_smaps_rollup() -> None:
    """Private pages are allocated, anonymous ones the heap; kilobytes become bytes."""
    rollup = "00400000-7fff0000 ---p 00000000 00:00 0 [rollup]\nRss: 100 kB\nPss: 50 kB\n"
    rollup += "Shared_Clean: 30 kB\nShared_Dirty: 10 kB\nPrivate_Clean: 20 kB\nPrivate_Dirty: 40 kB\nAnonymous: 45 kB\n"
    expected = {"allocated": 60, "heap_size": 45, "shared": 40, "proportional": 50, "total_physical_bytes": 100}
    assert {name: kilobytes * 1024 for name, kilobytes in expected.items()} == memory.parse(rollup)
