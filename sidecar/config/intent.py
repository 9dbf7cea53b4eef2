"""What a sidecar's proxy must do, as one versioned value that every proxy is configured from.

The contract (see `sidecar.config.contract`) passes it to a proxy as a JSON file. It depends on no particular proxy: a
field says what is wanted, never how some proxy spells it.
"""

from ipaddress import ip_address
from typing import Literal

import msgspec

from sidelab.lab.errors import InputError
from sidelab.sidecar import istio_ports

Protocol = Literal["auto", "tcp", "http"]
"""The protocol of a port: `auto` is detected from the first bytes; ports of HTTP/2 and gRPC are `tcp`."""


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a sidecar listens; the defaults are Istio's. `agent` and `dns` are the agent's, all others the proxy's."""

    outbound: int = istio_ports.OUTBOUND
    inbound: int = istio_ports.INBOUND
    admin: int = istio_ports.ADMIN
    agent: int = istio_ports.AGENT
    health: int = istio_ports.HEALTH
    dns: int = istio_ports.DNS
    stats: int = istio_ports.STATS

    def __post_init__(self) -> None:
        """Raise `InputError` for ports out of range or used twice."""
        ports = {name: getattr(self, name) for name in self.__struct_fields__}
        for name, port in ports.items():
            if not 1 <= port <= 65535:
                raise InputError(f"intent: ports.{name}: {port} is no port: give 1 to 65535")
        if len(set(ports.values())) < len(ports):
            listing = ", ".join(f"{name} {port}" for name, port in ports.items())
            raise InputError(f"intent: ports: each must be different, got {listing}")


class Workload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whose sidecar it is: what metrics and node names say; `app` and `version` are the labels of these names."""

    pod: str = "pod"
    namespace: str = "default"
    service_account: str = "default"
    app: str = ""
    version: str = ""


class IntentEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An address (IPv4 or IPv6) and port that serve, and the name of the pod behind it."""

    address: str
    port: int
    pod: str = ""


class IntentServicePort(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A port of a Service with its ready endpoints; `name` "" where the Service gives none."""

    port: int
    name: str = ""
    protocol: Protocol = "auto"
    endpoints: tuple[IntentEndpoint, ...] = ()


class IntentService(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A destination of outbound traffic: `host` is its full DNS name.

    `addresses` are its virtual ones; a headless Service has none, and is known by its endpoints' addresses.
    """

    host: str
    addresses: tuple[str, ...] = ()
    ports: tuple[IntentServicePort, ...] = ()

    def __post_init__(self) -> None:
        """Raise `InputError` for addresses that cannot be dialled: 0.0.0.0 and :: would match every listener's."""
        for text in self.addresses:
            try:
                unusable = ip_address(text).is_unspecified
            except ValueError as error:
                raise InputError(f"intent: service {self.host}: {error}: give an IPv4 or IPv6 address") from error
            if unusable:
                raise InputError(f"intent: service {self.host}: {text} is no Service's address: give a virtual one")

    def names(self, namespace: str) -> tuple[str, ...]:
        """Return the names by which a Host field from a pod in `namespace` may refer to it, the full one first.

        They are the domains that istiod gives it (`generateVirtualHostDomains` in pilot/pkg/networking/core): the full
        name, the same with a dot at its end, and the shorter ones that a resolver's search list completes. A headless
        Service also has each of them after `*.`, for any name with this suffix, because its pods have names below it.
        """
        qualified, in_cluster, _ = self.host.partition(".svc.")
        name, _, own = qualified.partition(".")
        shorter = (qualified, f"{qualified}.svc", *((name,) if own == namespace else ())) if in_cluster else ()
        names = (self.host, f"{self.host}.", *shorter)
        return names if self.addresses else (*names, *(f"*.{each}" for each in names))


class InboundPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A port of the application; `service` is the full name of a Service that leads to it, "" for none."""

    port: int
    protocol: Protocol = "auto"
    service: str = ""


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One proxy's orders.

    Inbound connections go on to their original destination from `inbound_bind_*`, which the rules let pass (with
    `mode` tproxy: from the client's own address). Outbound ones go to an endpoint of the Service that was dialled, or
    whose port and Host field say so; to their original destination where no Service is meant and `outbound_policy` is
    ALLOW_ANY; nowhere with REGISTRY_ONLY.

    `protocol` is for connections that neither `services` nor `inbound` describe. `detection_timeout_s` is how long
    `auto` waits for a client's first bytes before it takes the connection for one whose server speaks first.
    `max_header_bytes` and `max_headers` bound a message's head (Envoy's defaults), `header_timeout_s` the time until it
    is complete; `idle_timeout_s` closes upstream connections that wait for the next request. `server_name` is what
    inbound responses say in `server`. `access_log` goes to standard output, "" is none.
    """

    version: Literal[1] = 1
    workload: Workload = Workload()
    protocol: Protocol = "auto"
    mode: Literal["redirect", "tproxy"] = "redirect"
    ipv6: bool = True
    outbound_policy: Literal["ALLOW_ANY", "REGISTRY_ONLY"] = "ALLOW_ANY"
    services: tuple[IntentService, ...] = ()
    inbound: tuple[InboundPort, ...] = ()
    ports: Ports = Ports()
    inbound_bind_ipv4: str = "127.0.0.6"
    inbound_bind_ipv6: str = "::6"
    concurrency: int = 1
    connect_timeout_s: float = 10.0
    detection_timeout_s: float = 0.1
    header_timeout_s: float = 60.0
    idle_timeout_s: float = 3600.0
    drain_s: float = 5.0
    max_header_bytes: int = 60 * 1024
    max_headers: int = 100
    server_name: str = "sidelab-proxy"
    access_log: Literal["", "text", "json"] = ""
    metrics: bool = True

    def __post_init__(self) -> None:
        """Raise `InputError` for an intent that no proxy could carry out."""
        for name, version in (("inbound_bind_ipv4", 4), ("inbound_bind_ipv6", 6)):
            _check_address(name, getattr(self, name), version)
        positive = (
            *("concurrency", "connect_timeout_s", "detection_timeout_s", "header_timeout_s", "idle_timeout_s"),
            *("max_header_bytes", "max_headers"),
        )
        for name in positive:
            if getattr(self, name) <= 0:
                raise InputError(f"intent: {name}: {getattr(self, name)} must be greater than 0")
        if self.drain_s < 0:
            raise InputError(f"intent: drain_s: {self.drain_s} must not be negative")
        if not (self.server_name.isascii() and self.server_name.isprintable()):
            raise InputError(f"intent: server_name: {self.server_name!r} must be printable ASCII")

    def to_json(self) -> str:
        """Return the value as JSON, with defaults, and with fields in the order of their definition."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "Intent":
        """Return the value in `text`; raises `InputError` naming the field that is wrong."""
        try:
            return _DECODER.decode(text)
        except msgspec.DecodeError as error:
            raise InputError(f"intent: {error}: give the JSON of a version 1 intent") from error


def _check_address(name: str, text: str, version: int) -> None:
    try:
        found = ip_address(text).version
    except ValueError as error:
        raise InputError(f"intent: {name}: {error}: give an IPv{version} address") from error
    if found != version:
        raise InputError(f"intent: {name}: {text} is IPv{found}: give an IPv{version} address")


_DECODER = msgspec.json.Decoder(Intent)
