"""Filter chains and listener filters: how a listener handles a connection. Pure."""

from collections.abc import Collection

from sidelab.sidecar.config.intent import Intent, Protocol
from sidelab.sidecar.envoy.configuration.access import access_log
from sidelab.sidecar.envoy.configuration.typed_parts import HTTP_FIRST_BYTES, Config, extension, seconds


def tcp(intent: Intent, cluster: str) -> Config:
    """Return the filter that forwards bytes to `cluster`."""
    kind = "filters.network.tcp_proxy.v3.TcpProxy"
    return extension(
        "envoy.filters.network.tcp_proxy", kind, stat_prefix=cluster, cluster=cluster, **access_log(intent)
    )


def chain(name: str, filter_: Config, *, port: int = 0, sniffed: bool = False) -> Config:
    """Return a filter chain for connections to `port` (0: any); `sniffed`: only those that begin like HTTP."""
    match: Config = {}
    if port:
        match["destination_port"] = port
    if sniffed:
        match["application_protocols"] = list(HTTP_FIRST_BYTES)
    return {"name": name, **({"filter_chain_match": match} if match else {}), "filters": [filter_]}


def by_protocol(protocol: Protocol, name: str, http: Config, tcp_: Config, *, port: int = 0) -> list[Config]:
    """Return the chains for traffic of `protocol`: `auto` has one for HTTP and one for everything else."""
    if protocol == "tcp":
        return [chain(name, tcp_, port=port)]
    if protocol == "http":
        return [chain(name, http, port=port)]
    return [chain(name, http, port=port, sniffed=True), chain(name, tcp_, port=port)]


def wanted(intent: Intent, protocol: Protocol) -> Protocol:
    """Return the protocol to assume for a port: where it says `auto`, the intent's protocol decides."""
    return intent.protocol if protocol == "auto" else protocol


def inspectors(but: Collection[int] = ()) -> list[Config]:
    """Return the listener filters that inspect a connection's first bytes, except on connections to the ports `but`."""
    off: Config = {"filter_disabled": _ports(but)} if but else {}
    return [
        {**extension(f"envoy.filters.listener.{name}_inspector", f"filters.listener.{name}_inspector.v3.{kind}"), **off}
        for name, kind in (("tls", "TlsInspector"), ("http", "HttpInspector"))
    ]


def detection(intent: Intent) -> Config:
    """Return how long a listener's inspectors wait; then the connection goes on, as its server may speak first."""
    return {
        "listener_filters_timeout": seconds(intent.detection_timeout_s),
        "continue_on_listener_filters_timeout": True,
    }


def _ports(ports: Collection[int]) -> Config:
    rules: list[Config] = [{"destination_port_range": {"start": port, "end": port + 1}} for port in sorted(set(ports))]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}
