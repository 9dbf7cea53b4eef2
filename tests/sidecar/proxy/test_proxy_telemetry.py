"""Counters and Istio's metrics, and their pages in Prometheus' format, read back by a small parser of its own."""

import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.sidecar.config.intent import Workload
from sidelab.sidecar.proxy.stats.buckets import DURATIONS_MS, SIZES_BYTES
from sidelab.sidecar.proxy.stats.outcome import TrafficOutcome
from sidelab.sidecar.proxy.stats.prometheus import MetricFamily, MetricSample, name_of, render
from sidelab.sidecar.proxy.stats.proxy_counters import CounterRegistry
from sidelab.sidecar.proxy.stats.stats import to_families, to_json, to_text
from sidelab.sidecar.proxy.stats.telemetry import Telemetry

INBOUND = ("inbound", "nginx.shop.svc.cluster.local", "", 200, "-")
OUTBOUND = ("outbound", "nginx.shop.svc.cluster.local", "nginx-1", 503, "UF")
WORKLOAD = Workload(pod="nginx-1", namespace="shop", app="nginx", version="v2")


@dataclass
class Parsed:
    """A family as a scraper sees it."""

    kind: str
    help: str = ""
    samples: list[tuple[str, dict[str, str], float]] = field(default_factory=list)

    def value(self, name: str, **labels: str) -> float:
        """Return the one sample of this name that has these labels among its own."""
        found = [value for each, has, value in self.samples if each == name and labels.items() <= has.items()]
        assert 1 == len(found), (name, labels, found)
        return found[0]


def parse_page(text: str) -> dict[str, Parsed]:
    """Return the families of a page; asserts what the format demands: a type once, before samples that are together."""
    families: dict[str, Parsed] = {}
    help_text: dict[str, str] = {}
    current = ""
    assert text.endswith("\n") or not text
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            _, _, name, told = line.split(" ", 3)
            assert name not in help_text
            assert name not in families
            help_text[name] = told.replace("\\n", "\n").replace("\\\\", "\\")
        elif line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current not in families
            families[current] = Parsed(kind, help_text.get(current, ""))
        else:
            name, labels, value = _parse_sample(line)
            suffix = name.removeprefix(current)
            assert name.startswith(current)
            assert suffix in (("_bucket", "_sum", "_count") if families[current].kind == "histogram" else ("",))
            assert not any(name == each and labels == has for each, has, _ in families[current].samples)
            families[current].samples.append((name, labels, value))
    return families


def _parse_sample(line: str) -> tuple[str, dict[str, str], float]:
    found = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line)
    assert found, line
    labels: dict[str, str] = {}
    rest = line[found.end() :]
    assert rest[0] == "{"
    at = 1
    while rest[at] != "}":
        key, _, _ = rest[at:].partition('="')
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", key), line
        at += len(key) + 2
        value = ""
        while rest[at] != '"':
            if rest[at] == "\\":
                at += 1
                value += {"n": "\n", "\\": "\\", '"': '"'}[rest[at]]
            else:
                value += rest[at]
            at += 1
        assert key not in labels
        labels[key] = value
        at += 1
        if rest[at] == ",":
            at += 1
    return found[0], labels, float(rest[at + 1 :])


def _page(telemetry: Telemetry) -> dict[str, Parsed]:
    return parse_page(render(telemetry.families()))


def test_requests_are_counted_with_labels_of_istio() -> None:
    """A request that came in has Istio's labels: the peer unknown without mutual TLS, the destination this workload."""
    telemetry = Telemetry(WORKLOAD)
    telemetry.requested(INBOUND, 1500, 0, 612)
    telemetry.requested(INBOUND, 1500, 0, 612)
    ((_, labels, value),) = _page(telemetry)["istio_requests_total"].samples
    assert 2 == value
    expected = {
        "reporter": "destination",
        "source_workload": "unknown",
        "source_workload_namespace": "unknown",
        "source_principal": "unknown",
        "source_app": "unknown",
        "source_version": "unknown",
        "source_canonical_service": "unknown",
        "source_canonical_revision": "latest",
        "destination_workload": "nginx-1",
        "destination_workload_namespace": "shop",
        "destination_principal": "unknown",
        "destination_app": "nginx",
        "destination_version": "v2",
        "destination_canonical_service": "nginx",
        "destination_canonical_revision": "v2",
        "destination_service": "nginx.shop.svc.cluster.local",
        "destination_service_name": "nginx",
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "connection_security_policy": "none",
    }
    assert expected == labels


def test_requests_out_name_the_endpoint() -> None:
    """A request that went out has this workload as its source and the endpoint's pod as its destination."""
    telemetry = Telemetry(Workload(pod="client"))
    telemetry.requested(OUTBOUND, 10, 5, 0)
    ((_, labels, _),) = _page(telemetry)["istio_requests_total"].samples
    chosen = ("reporter", "source_workload", "destination_workload", "destination_workload_namespace")
    assert ["source", "client", "nginx-1", "shop"] == [labels[name] for name in chosen]
    assert ("503", "UF", "unknown") == (
        labels["response_code"],
        labels["response_flags"],
        labels["connection_security_policy"],
    )


@pytest.mark.parametrize(
    ("pod", "expected"),
    [("", ("unknown", "unknown")), ("web-1", ("web-1", "shop")), ("other/web-1", ("web-1", "other"))],
)
def test_endpoint_is_in_the_services_namespace_unless_it_says_so(pod: str, expected: tuple[str, str]) -> None:
    """An endpoint's pod may name its namespace; where no pod is known, nothing is."""
    telemetry = Telemetry(WORKLOAD)
    telemetry.requested(("outbound", "nginx.shop.svc.cluster.local", pod, 200, "-"), 1, 0, 0)
    ((_, labels, _),) = _page(telemetry)["istio_requests_total"].samples
    assert expected == (labels["destination_workload"], labels["destination_workload_namespace"])


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (("inbound", "", "", 200, "-"), "InboundPassthroughCluster"),
        (("outbound", "", "", 200, "-"), "PassthroughCluster"),
        (("outbound", "BlackHoleCluster", "", 502, "-"), "BlackHoleCluster"),
    ],
)
def test_traffic_to_no_service_names_its_cluster(key: tuple[str, str, str, int, str], name: str) -> None:
    """What no Service is behind has the cluster that took it as its service's name, as in Istio."""
    telemetry = Telemetry(WORKLOAD)
    telemetry.requested(key, 1, 0, 0)
    ((_, labels, _),) = _page(telemetry)["istio_requests_total"].samples
    assert (name, "unknown") == (labels["destination_service_name"], labels["destination_service"])


def test_tcp_connections_are_counted() -> None:
    """Connections count when they begin and when they end, their bytes at the end, and have no response code."""
    telemetry = Telemetry(WORKLOAD)
    key = ("inbound", "nginx.shop.svc.cluster.local", "", 0, "-")
    telemetry.connected(key)
    telemetry.connected(key)
    telemetry.disconnected(key, 7, 11)
    page = _page(telemetry)
    assert {
        "istio_tcp_connections_opened_total": 2,
        "istio_tcp_connections_closed_total": 1,
        "istio_tcp_sent_bytes_total": 11,
        "istio_tcp_received_bytes_total": 7,
    } == {name: family.value(name, request_protocol="tcp") for name, family in page.items()}
    assert not any("response_code" in labels for family in page.values() for _, labels, _ in family.samples)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 4_000_000_000), st.integers(0, 2**34), st.integers(0, 2**34)), min_size=1, max_size=30
    )
)
def test_histograms_agree_with_what_was_counted(requests: list[tuple[int, int, int]]) -> None:
    """Each bucket holds the values up to its bound, whatever they are; sum and count are those of the values."""
    telemetry = Telemetry(WORKLOAD)
    for request in requests:
        telemetry.requested(INBOUND, *request)
    page = _page(telemetry)
    for name, column, bounds, unit in (
        ("istio_request_duration_milliseconds", 0, DURATIONS_MS, 1000),
        ("istio_request_bytes", 1, SIZES_BYTES, 1),
        ("istio_response_bytes", 2, SIZES_BYTES, 1),
    ):
        values = [request[column] / unit for request in requests]
        family = page[name]
        buckets = {has["le"]: value for each, has, value in family.samples if each.endswith("_bucket")}
        expected = {f"{bound:.10g}": sum(value <= bound for value in values) for bound in bounds}
        assert {**expected, "+Inf": len(values)} == buckets
        assert len(values) == family.value(f"{name}_count")
        assert sum(values) == pytest.approx(family.value(f"{name}_sum"))


KEYS = st.tuples(
    st.sampled_from(["inbound", "outbound"]),
    st.sampled_from(["", "InboundPassthroughCluster", "PassthroughCluster", "nginx.shop.svc.cluster.local"]),
    st.sampled_from(["", "unknown", "nginx-1"]),
    st.sampled_from([0, 200, 503]),
    st.sampled_from(["-", "UF"]),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(KEYS, min_size=1, max_size=20))
def test_each_combination_of_labels_comes_once(keys: list[tuple[str, str, str, int, str]]) -> None:
    """Keys that no label tells apart are one series, and nothing is lost in it."""
    telemetry = Telemetry(WORKLOAD)
    for key in keys:
        telemetry.requested(key, 1, 0, 0)
        telemetry.connected(key)
    page = _page(telemetry)
    for name in ("istio_requests_total", "istio_tcp_connections_opened_total"):
        assert len(keys) == sum(value for _, _, value in page[name].samples)


def test_duration_bounds_are_as_envoy_writes_them() -> None:
    """The bounds of durations are those of Envoy's page, in its spelling."""
    telemetry = Telemetry(WORKLOAD)
    telemetry.requested(INBOUND, 1, 0, 0)
    text = render(telemetry.families())
    family = re.findall(r'duration_milliseconds_bucket\{.*le="([^"]+)"', text)
    envoy = "0.5 1 5 10 25 50 100 250 500 1000 2500 5000 10000 30000 60000 300000 600000 1800000 3600000 +Inf"
    assert envoy.split() == family


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.sampled_from(["a", "b_2", "c"]), st.text()), st.text())
def test_labels_survive(labels: dict[str, str], description: str) -> None:
    """Label values and descriptions come out of the page as they went in, whatever characters they hold."""
    page = parse_page(render([MetricFamily("metric", "gauge", description, [MetricSample(labels, 1)])]))
    assert [("metric", labels, 1.0)] == page["metric"].samples
    assert description == page["metric"].help


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_names_are_allowed_ones(text: str) -> None:
    """Whatever a counter is called, its metric's name is one that Prometheus takes."""
    assert re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name_of(text))


def test_log_is_asked_for_outcomes() -> None:
    """Outcomes are wanted exactly while there is a log, and go to it."""
    logged: list[TrafficOutcome] = []
    telemetry = Telemetry(WORKLOAD)
    wanted = [telemetry.wants_outcomes]
    for log in (logged.append, None):
        telemetry.log_to(log)
        wanted.append(telemetry.wants_outcomes)
        telemetry.observed(TrafficOutcome("inbound", 0.0))
    assert ([False, True, False], 1) == (wanted, len(logged))


def test_reset_begins_anew() -> None:
    """After a reset nothing has been counted."""
    telemetry = Telemetry(WORKLOAD)
    telemetry.requested(INBOUND, 1, 0, 0)
    telemetry.connected(INBOUND)
    telemetry.reset()
    assert [] == telemetry.families()


def test_counters_have_envoys_names() -> None:
    """Envoy's counters become metrics named as Envoy's and labelled as Istio's, a status class one of its labels."""
    registry = CounterRegistry()
    registry.cluster("outbound|80||nginx.shop.svc.cluster.local").upstream_cx_total = 3
    registry.http("inbound_0.0.0.0_15006").downstream_rq_2xx = 4
    registry.listener("0.0.0.0_15006").downstream_cx_active = 5
    page = parse_page(render(to_families([*registry, ("server.uptime", 6)])))
    cluster = page["envoy_cluster_upstream_cx_total"]
    name = "envoy_cluster_upstream_cx_total"
    assert ("counter", 3) == (
        cluster.kind,
        cluster.value(name, cluster_name="outbound|80||nginx.shop.svc.cluster.local"),
    )
    http = page["envoy_http_downstream_rq"]
    assert 4 == http.value(
        "envoy_http_downstream_rq", http_conn_manager_prefix="inbound_0.0.0.0_15006", response_code_class="2xx"
    )
    listener = page["envoy_listener_downstream_cx_active"]
    assert ("gauge", 5) == (
        listener.kind,
        listener.value("envoy_listener_downstream_cx_active", listener_address="0.0.0.0_15006"),
    )
    assert ("gauge", [("envoy_server_uptime", {}, 6.0)]) == (
        page["envoy_server_uptime"].kind,
        page["envoy_server_uptime"].samples,
    )


def test_own_counters_are_not_envoys() -> None:
    """What Envoy has nothing like does not get Envoy's prefix."""
    page = parse_page(render(to_families([("access_log.lines_dropped", 1), ("access_log.bytes_buffered", 2)])))
    assert {"sidelab_access_log_bytes_buffered": "gauge", "sidelab_access_log_lines_dropped": "counter"} == {
        name: family.kind for name, family in page.items()
    }


def test_reset_of_counters_leaves_what_is_open() -> None:
    """Counters can be set to zero without losing what is open now."""
    registry = CounterRegistry()
    listener = registry.listener("a")
    listener.downstream_cx_total = listener.downstream_cx_active = 2
    registry.reset()
    assert (0, 2) == (listener.downstream_cx_total, listener.downstream_cx_active)


def test_plain_pages_are_sorted() -> None:
    """Text and JSON list counters by name, as Envoy does."""
    stats = [("b.c", 1), ("a.c", 2)]
    assert "a.c: 2\nb.c: 1\n" == to_text(stats)
    assert '{"stats": [{"name": "a.c", "value": 2}, {"name": "b.c", "value": 1}]}\n' == to_json(stats)


def test_text_page_has_istios_counters_by_long_names() -> None:
    """In the plain page Istio's counters have their labels in their names, as Envoy writes them."""
    telemetry = Telemetry(WORKLOAD)
    telemetry.requested(INBOUND, 1, 0, 0)
    ((name, value),) = telemetry.stats()
    assert 1 == value
    assert name.startswith("istiocustom.istio_requests_total.reporter.destination.source_workload.unknown.")
    assert ".response_code.200." in name
