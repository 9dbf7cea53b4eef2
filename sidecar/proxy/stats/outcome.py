"""What became of a connection or of a request: what metrics are counted from and access logs are written from.

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
"""The cluster, and in metrics the service, of what goes nowhere because `outbound_policy` says so."""


@dataclass(slots=True)
class TrafficOutcome:
    """One request, or one TCP connection (then `method` is empty and `status` 0).

    Text is as it came, "" for nothing; addresses are `address:port`. Times: `started_s` is a time.time(),
    `duration_us` to the last byte, `upstream_us` the part that the upstream took to begin its response (-1: it never
    did). Byte counts are of bodies for HTTP, of everything for TCP. `service` is the full name of the destination's
    Service, `workload` the pod behind its endpoint.
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
    """Whom the data path tells; nothing is built where nobody listens."""

    wants_outcomes: bool
    """Whether `observed` is to be called with the whole of it: for an access log."""

    def requested(self, key: "RequestKey", duration_us: int, received_bytes: int, sent_bytes: int) -> None:
        """Count a request that ended: the cheap path, with metrics on and the access log off."""

    def connected(self, key: "RequestKey") -> None:
        """Count a TCP connection that began."""

    def disconnected(self, key: "RequestKey", received_bytes: int, sent_bytes: int) -> None:
        """Count a TCP connection that ended."""

    def observed(self, outcome: TrafficOutcome) -> None:
        """Take note of the whole of a request or connection that ended."""


RequestKey = tuple[str, str, str, int, str]
"""What metrics tell apart: direction, service, workload, status (0 for TCP), flags."""
