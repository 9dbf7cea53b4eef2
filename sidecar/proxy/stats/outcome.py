"""The outcome of a connection or a request, from which metrics are counted and access logs written.

Values only. Response flags are Envoy's, documented with %RESPONSE_FLAGS% in its access log's command operators.
"""

from dataclasses import dataclass
from typing import Protocol

OK = "-"
CONNECT_FAILED = "UF"
CONNECTION_ENDED = "UC"
UPSTREAM_PROTOCOL_ERROR = "UPE"
NO_ROUTE = "NR"
NO_HEALTHY_UPSTREAM = "UH"
DOWNSTREAM_ENDED = "DC"
DOWNSTREAM_PROTOCOL_ERROR = "DPE"
IDLE_TIMEOUT = "SI"
ATTEMPTS_EXHAUSTED = "URX,UF"
"""The last of several attempts to connect failed, or the only one that a TCP connection has; in Envoy's order."""

BLACK_HOLE = "BlackHoleCluster"
"""The cluster, and in metrics the service, of traffic that `outbound_policy` blocks."""


@dataclass(slots=True)
class TrafficOutcome:
    """One request, or one TCP connection (then `method` is empty and `status` 0).

    Text is as received, "" if absent; addresses are `address:port`. Times: `started_s` is a time.time(), `duration_us`
    lasts to the last byte, `upstream_us` is the part until the upstream began its response (-1: it never did). Byte
    counts are of bodies for HTTP, of everything for TCP. `service` is the full name of the destination's Service,
    `workload` the pod behind its endpoint.
    """

    direction: str
    started_s: float
    duration_us: int = 0
    upstream_us: int = -1
    method: bytes = b""
    path: bytes = b""
    protocol: str = ""
    status: int = 0
    flags: str = OK
    details: str = ""
    transport_failure: str = ""
    bytes_received: int = 0
    bytes_sent: int = 0
    authority: bytes = b""
    user_agent: bytes = b""
    request_id: bytes = b""
    forwarded_for: bytes = b""
    upstream_host: str = ""
    upstream_local: str = ""
    cluster: str = ""
    downstream_local: str = ""
    downstream_remote: str = ""
    route: str = ""
    service: str = ""
    workload: str = ""


class Observer(Protocol):
    """The interface through which the data path reports; without an observer, nothing is built."""

    wants_outcomes: bool
    """Whether `observed` is to be called with whole outcomes, for an access log."""

    def requested(self, key: "RequestKey", duration_us: int, received_bytes: int, sent_bytes: int) -> None:
        """Count a request that ended: the cheap path, with metrics on and the access log off."""

    def connected(self, key: "RequestKey") -> None:
        """Count a TCP connection that began."""

    def disconnected(self, key: "RequestKey", received_bytes: int, sent_bytes: int) -> None:
        """Count a TCP connection that ended."""

    def observed(self, outcome: TrafficOutcome) -> None:
        """Handle the whole outcome of a request or connection that ended."""


RequestKey = tuple[str, str, str, int, str]
"""The key by which metrics count: direction, service, workload, status (0 for TCP), flags."""
