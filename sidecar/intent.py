"""What a sidecar's proxy must do, as one versioned value that every proxy is configured from.

The bundled proxy reads it as JSON from its environment, Envoy's configuration is generated from it. It knows no
proxy: a field says what is wanted, never how some proxy spells it.
"""

from ipaddress import ip_address
from typing import Literal

import msgspec

from lab.errors import InputError

ENVIRONMENT = "SIDELAB_INTENT"
"""The environment variable that carries an intent's JSON to the bundled proxy."""

Protocol = Literal["tcp", "http"]


class Ports(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a proxy listens; the defaults are Istio's."""

    outbound: int = 15001
    inbound: int = 15006
    admin: int = 15000
    health: int = 15021

    def __post_init__(self) -> None:
        """Refuse ports out of range or used twice; raises `InputError`."""
        ports = {name: getattr(self, name) for name in self.__struct_fields__}
        for name, port in ports.items():
            if not 1 <= port <= 65535:
                raise InputError(f"intent: ports.{name}: {port} is no port: give 1 to 65535")
        if len(set(ports.values())) < len(ports):
            listing = ", ".join(f"{name} {port}" for name, port in ports.items())
            raise InputError(f"intent: ports: each must be different, got {listing}")


class Intent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One proxy's orders: captured connections go on to their original destination, as bytes or as HTTP/1.1.

    `inbound_bind_*` are the source addresses of the connection to the application, which the rules let pass;
    `max_header_bytes` and `max_headers` bound a message's head (Envoy's defaults); `server_name` is what inbound
    responses say in `server`.
    """

    version: Literal[1] = 1
    protocol: Protocol = "http"
    ports: Ports = Ports()
    inbound_bind_ipv4: str = "127.0.0.6"
    inbound_bind_ipv6: str = "::6"
    concurrency: int = 1
    connect_timeout_s: float = 10.0
    drain_s: float = 5.0
    max_header_bytes: int = 60 * 1024
    max_headers: int = 100
    server_name: str = "sidelab-proxy"

    def __post_init__(self) -> None:
        """Refuse what no proxy could do; raises `InputError`."""
        for name, version in (("inbound_bind_ipv4", 4), ("inbound_bind_ipv6", 6)):
            _check_address(name, getattr(self, name), version)
        for name in ("concurrency", "connect_timeout_s", "max_header_bytes", "max_headers"):
            if getattr(self, name) <= 0:
                raise InputError(f"intent: {name}: {getattr(self, name)} must be greater than 0")
        if self.drain_s < 0:
            raise InputError(f"intent: drain_s: {self.drain_s} must not be negative")
        if not (self.server_name.isascii() and self.server_name.isprintable()):
            raise InputError(f"intent: server_name: {self.server_name!r} must be printable ASCII")

    def to_json(self) -> str:
        """Return the value as JSON, defaults spelt out, fields in the order of their definition."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "Intent":
        """Return the value that `text` holds; raises `InputError` naming the field that is wrong."""
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
