"""The building blocks of Envoy's configuration: addresses, durations, typed extensions. Pure.

Field names are those of Envoy's v3 API, as JSON (proto3's mapping).
"""

from typing import Any

Config = dict[str, Any]
"""A message of Envoy's v3 API, as JSON values."""

_TYPES = "type.googleapis.com"

PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
ADMIN = "prometheus_stats"
AGENT = "agent"
HTTP_FIRST_BYTES = ("http/1.0", "http/1.1", "h2c")
"""The application protocols that Envoy's http_inspector reports for HTTP in clear text."""


def inbound_cluster(port: int) -> str:
    """Return the name of the cluster behind the application's `port`."""
    return f"inbound|{port}||"


def outbound_cluster(port: int, host: str) -> str:
    """Return the name of the cluster behind a Service's port; the empty part is a subset's."""
    return f"outbound|{port}||{host}"


def typed(kind: str, **fields: Any) -> Config:
    """Return a `google.protobuf.Any` of message `kind` (`envoy.…`)."""
    return {"@type": f"{_TYPES}/{kind}", **fields}


def extension(name: str, kind: str, **fields: Any) -> Config:
    """Return an extension by its name and its configuration's message `kind` below `envoy.extensions`."""
    return {"name": name, "typed_config": typed(f"envoy.extensions.{kind}", **fields)}


def socket_address(host: str, port: int) -> Config:
    """Return the address of a listener or an endpoint; IPv6 without brackets."""
    return {"socket_address": {"address": host, "port_value": port}}


def seconds(duration_s: float) -> str:
    """Return a duration in proto3's JSON."""
    return f"{duration_s:.3f}s"


def everywhere(port: int, *, ipv6: bool) -> Config:
    """Return a listener's addresses: `port` on all addresses of the pod."""
    return at(("0.0.0.0", "::") if ipv6 else ("0.0.0.0",), port)


def at(addresses: tuple[str, ...], port: int) -> Config:
    """Return a listener's addresses; its statistics are named by the first."""
    first, *others = (socket_address(each, port) for each in addresses)
    return {"address": first, **({"additional_addresses": [{"address": each} for each in others]} if others else {})}


def discovery(folder: str, name: str) -> Config:
    """Return the source of a dynamic resource: file `name` in `folder`, read again when another is renamed over it."""
    return {"path_config_source": {"path": f"{folder}/{name}"}, "resource_api_version": "V3"}
