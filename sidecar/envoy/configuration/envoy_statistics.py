"""Which of Envoy's statistics exist, and their names in Prometheus. Pure.

An Envoy that counts everything has about a hundred counters per cluster and per listener. As in Istio only a selection
exists, which keeps memory and the pages `/stats` and `/stats/prometheus` small: here the totals of where connections
and requests went, how they ended, and how many are in flight.
"""

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy.configuration.typed_parts import Config

_ALWAYS = ("server.", "listener_manager.", "cluster_manager.")
# Without the same counters per worker.
_LISTENER = r"listener\.(admin|[0-9a-fA-F:._\[\]]+_\d+)"
_DRAINING = rf"{_LISTENER}\.downstream_cx_(total|active)"
_TRAFFIC = (
    rf"{_LISTENER}\.(no_filter_chain_match|downstream_pre_cx_timeout|downstream_cx_overflow)",
    r"http\.(in|out)bound_.*\.downstream_cx_(total|active|protocol_error|idle_timeout|drain_close|upgrades_total)",
    r"http\.(in|out)bound_.*\.downstream_cx_[rt]x_bytes_total",
    r"http\.(in|out)bound_.*\.downstream_rq_(total|active|completed|[1-5]xx|[rt]x_reset|too_large|header_timeout|time)",
    r"http\.(in|out)bound_.*\.(no_route|no_cluster|rq_direct_response)",
    r"tcp\..*\.downstream_cx_(total|no_route|rx_bytes_total|tx_bytes_total)",
    r"cluster\..*\.upstream_cx_(total|active|connect_fail|connect_timeout|connect_ms|idle_timeout|protocol_error)",
    r"cluster\..*\.upstream_cx_(overflow|max_requests|none_healthy|destroy_(local|remote)_with_active_rq|[rt]x_bytes_total)",
    r"cluster\..*\.upstream_rq_(total|active|completed|[1-5]xx|[1-5]\d\d|time|timeout|per_try_timeout|[rt]x_reset)",
    r"cluster\..*\.upstream_rq_(cancelled|retry|retry_success|retry_overflow|pending_(total|active|overflow))",
    r"cluster\..*\.membership_(healthy|total)",
    r"cluster\..*\.(circuit_breakers\.default|outlier_detection)\..*",
    r"(tls|http)_inspector\.[a-z0-9_]*found",
)

# A cluster's name may have dots: those of a Service's host.
_CLUSTER = r"outbound\|\d+\|[^|]*\|.+?\.svc\.cluster\.local|[^.]+"
_TAGS = (
    ("cluster_name", rf"^cluster\.(({_CLUSTER})\.)"),
    ("tcp_prefix", rf"^tcp\.(({_CLUSTER})\.)"),
    ("http_conn_manager_prefix", r"^http\.(((?:in|out)bound_[0-9a-fA-F:.]+_\d+|[^.]+)\.)"),
    ("listener_address", r"^listener\.(([0-9a-fA-F:.\[\]]+_\d+|[^.]+)\.)"),
    ("response_code_class", r"_rq(_(\dxx))$"),
    ("response_code", r"_rq(_(\d{3}))$"),
)


def statistics(intent: Intent) -> Config:
    """Return the bootstrap's `stats_config`; without `metrics`, only what is needed to watch a drain remains."""
    expressions = (_DRAINING, *(_TRAFFIC if intent.metrics else ()))
    patterns: list[Config] = [{"prefix": prefix} for prefix in _ALWAYS]
    patterns += [{"safe_regex": {"regex": expression}} for expression in expressions]
    return {
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _TAGS],
            "stats_matcher": {"inclusion_list": {"patterns": patterns}},
        }
    }
