"""What every pod of a lab can read about the others: Services with addresses and endpoints, as one file.

The supervisor writes it, and writes it anew when readiness or a Service changes, always by renaming a complete file
into place, so whoever watches the directory (inotify(7), IN_MOVED_TO) reads either the old or the new. Values only.
"""

import msgspec

STATE = "/run/cluster/state.json"
"""Where a pod finds the file, read-only."""


class Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A port of a Service; `app_protocol` is as the Service's author wrote it, "" for nothing."""

    name: str
    port: int
    protocol: str
    app_protocol: str = ""


class Endpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pod that a Service selects; `targets` are its port numbers in the order of the Service's ports (0: it has none)."""

    pod: tuple[str, str]
    ipv4: str
    ipv6: str
    ready: bool
    targets: tuple[int, ...]


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Service; a headless one has no addresses of its own ("")."""

    namespace: str
    name: str
    ipv4: str
    ipv6: str
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...]


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All Services; `generation` counts the writings."""

    version: int = 1
    generation: int = 0
    services: tuple[Service, ...] = ()
