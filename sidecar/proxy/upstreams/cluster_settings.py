"""What the clusters of one direction have in common."""

from dataclasses import dataclass

from sidelab.sidecar.proxy.http.message import Limits


@dataclass(slots=True)
class ClusterSettings:
    """How clusters connect and what they accept; this may change while they are in use.

    `own_server`: the `server` field of responses is removed, because the proxy sets its own.
    """

    limits: Limits
    connect_timeout_s: float = 10.0
    own_server: bool = False
