"""The proxy's plain counters as pages: Envoy's text, its JSON, and Prometheus' families.

Pure: takes names and values, as `sidecar.proxy.stats.proxy_counters.CounterRegistry` yields them. A name is
`<group>.<which>.<counter>`, such as `cluster.PassthroughCluster.upstream_cx_total`, or `<group>.<counter>`, such as
`server.uptime`.
"""

import json
import re
from collections.abc import Iterable

from sidelab.sidecar.proxy.stats.prometheus import MetricFamily, MetricSample, name_of

Stat = tuple[str, int]
"""A full name and its value."""

_LABELS = {
    "cluster": "cluster_name",
    "http": "http_conn_manager_prefix",
    "listener": "listener_address",
    "tcp": "tcp_prefix",
}
"""The label that distinguishes the members of a group: the tag names of Istio's bootstrap configuration."""

_OWN = frozenset(("access_log",))
"""Groups without a counterpart in Envoy: their metrics must not look like Envoy's."""

_CLASS = re.compile(r"_rq_(\dxx)$")
_GAUGES = re.compile(r"(_active|_buffered)$|^server\.(?!dropped)|^cluster_manager\.|^listener_manager\.")


def to_text(stats: Iterable[Stat]) -> str:
    """Return a line for each, like Envoy's `/stats`."""
    return "".join(f"{name}: {value}\n" for name, value in sorted(stats))


def to_json(stats: Iterable[Stat]) -> str:
    """Return them in the form of Envoy's `/stats?format=json`."""
    return json.dumps({"stats": [{"name": name, "value": value} for name, value in sorted(stats)]}) + "\n"


def to_families(stats: Iterable[Stat]) -> list[MetricFamily]:
    """Return them as Prometheus families, named like Envoy's and labelled as in an Istio sidecar, sorted by name.

    `http.a.downstream_rq_2xx` is `envoy_http_downstream_rq{http_conn_manager_prefix="a",response_code_class="2xx"}`.
    """
    samples: dict[str, list[MetricSample]] = {}
    names: dict[str, str] = {}
    for name, value in sorted(stats):
        metric, labels = _tagged(name)
        samples.setdefault(metric, []).append(MetricSample(labels, value))
        names[metric] = name
    return [
        MetricFamily(metric, "gauge" if is_gauge(names[metric]) else "counter", "", found)
        for metric, found in sorted(samples.items())
    ]


def is_gauge(name: str) -> bool:
    """Return whether the value may decrease."""
    return _GAUGES.search(name) is not None


def _tagged(name: str) -> tuple[str, dict[str, str]]:
    group, _, rest = name.partition(".")
    prefix = "sidelab" if group in _OWN else "envoy"
    which, _, counter = rest.rpartition(".")
    labels = {}
    if group in _LABELS and which:
        labels[_LABELS[group]] = which
    elif which:
        group = f"{group}_{which}"
    found = _CLASS.search(counter)
    if found is not None:
        labels["response_code_class"] = found[1]
        counter = counter[: -len(found[1]) - 1]
    return name_of(f"{prefix}_{group}_{counter}"), labels
