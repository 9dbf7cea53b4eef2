"""What every pod of a lab can read about the others: Services with addresses and endpoints, as one file.

The supervisor writes it, and writes it anew when readiness or a Service changes, always by renaming a complete file
into place, so a watcher of the directory (inotify(7), IN_MOVED_TO) reads either the old or the new. Values only.
"""

import msgspec

from sidelab.lab.keys import PodKey

STATE = "/run/cluster/state.json"
"""Where a pod finds the file, read-only."""


class PublishedPort(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A port of a Service; `app_protocol` is as the Service's author wrote it, "" if not given."""

    name: str
    port: int
    protocol: str
    app_protocol: str = ""


class PublishedEndpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pod that a Service selects; `targets` are its port numbers in the order of the Service's ports (0: none).

    `ready` is true of every pod if the Service publishes addresses that are not ready. `hostname` is the pod's name
    below the Service's, if its `hostname` and `subdomain` give it one.
    """

    pod: PodKey
    ipv4: str
    ipv6: str
    ready: bool
    targets: tuple[int, ...]
    hostname: str = ""


class PublishedService(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A Service of one or both `families`; where it has no address of its own that is "", both if it is headless."""

    namespace: str
    name: str
    ipv4: str
    ipv6: str
    ports: tuple[PublishedPort, ...]
    endpoints: tuple[PublishedEndpoint, ...]
    families: tuple[str, ...] = ("IPv4",)


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All Services, the cluster's DNS first; `generation` counts the writings."""

    version: int = 1
    generation: int = 0
    services: tuple[PublishedService, ...] = ()
