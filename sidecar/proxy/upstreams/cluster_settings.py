"""What the clusters of one direction have in common."""

from dataclasses import dataclass

from sidelab.sidecar.proxy.http.message import Limits


@dataclass(slots=True)
class ClusterSettings:
    """How clusters connect, and what they accept; it may change while they are in use.

    `own_server`: responses lose their `server` field, because the proxy sets its own.
    """

    limits: Limits
    connect_timeout_s: float = 10.0
    own_server: bool = False
