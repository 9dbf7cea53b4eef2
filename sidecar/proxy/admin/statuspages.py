"""Renders listeners and clusters like Envoy's admin interface, as text and as JSON. Pure."""

from collections.abc import Iterator
from typing import Any

from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, HostStatus, ListenerStatus, socket_address

_GAUGES = ("cx_active", "rq_active")
_THRESHOLDS = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 2**32 - 1)
"""A cluster's limits: Istio's defaults, which apply without a DestinationRule."""


def listener_lines(listener: ListenerStatus) -> Iterator[str]:
    """Yield the lines of `/listeners`."""
    yield f"{listener.name}::{socket_address(listener.address, listener.port)}"


def listener_json(listener: ListenerStatus) -> dict[str, Any]:
    """Return a member of `listener_statuses`."""
    return {"name": listener.name, "local_address": _address_json(listener.address, listener.port)}


def cluster_lines(cluster: ClusterStatus) -> Iterator[str]:
    """Yield the lines of `/clusters`."""
    name = cluster.name
    yield f"{name}::observability_name::{name}"
    for limit, value in _THRESHOLDS.items():
        yield f"{name}::default_priority::{limit}::{value}"
    yield f"{name}::added_via_api::true"
    for host in cluster.hosts:
        prefix = f"{name}::{socket_address(host.address, host.port)}"
        for stat, count in sorted(host.stats.items()):
            yield f"{prefix}::{stat}::{count}"
        yield f"{prefix}::hostname::{host.hostname}"
        yield f"{prefix}::health_flags::healthy"
        yield f"{prefix}::weight::1"
        yield f"{prefix}::priority::0"


def cluster_json(cluster: ClusterStatus) -> dict[str, Any]:
    """Return a member of `cluster_statuses`."""
    return {
        "name": cluster.name,
        "observability_name": cluster.name,
        "added_via_api": True,
        "circuit_breakers": {"thresholds": [_THRESHOLDS]},
        "host_statuses": [_host_json(host) for host in cluster.hosts],
    }


def _host_json(host: HostStatus) -> dict[str, Any]:
    # As in the JSON of protocol buffers: 64-bit numbers are strings.
    return {
        "address": _address_json(host.address, host.port),
        "hostname": host.hostname,
        "stats": [
            {"type": "GAUGE" if name in _GAUGES else "COUNTER", "name": name, "value": str(value)}
            for name, value in sorted(host.stats.items())
        ],
        "health_status": {"eds_health_status": "HEALTHY"},
        "weight": 1,
    }


def _address_json(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}
