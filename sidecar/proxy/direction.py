"""A direction of traffic, inbound or outbound: every captured connection gets what its destination asks for."""

from typing import Protocol

from sidecar.proxy.cluster import Cluster
from sidecar.proxy.deadlines import Deadlines
from sidecar.proxy.destination import Destination
from sidecar.proxy.detect import Detection
from sidecar.proxy.gateway import Gateway
from sidecar.proxy.routes import Plan
from sidecar.proxy.stream import Stream
from sidecar.proxy.tcp import ByteService


class Plans(Protocol):
    """What becomes of connections: what a direction needs of the tables in `routes`."""

    def plan(self, destination: Destination) -> Plan[Cluster]:
        """Return the plan for a connection that was going to `destination`."""


class Direction:
    """Serves captured connections by `plans`, which may change: for those that arrive afterwards."""

    def __init__(self, plans: Plans, gateway: Gateway, byte_service: ByteService, detections: Deadlines) -> None:
        self.plans = plans
        self.gateway = gateway
        self.byte_service = byte_service
        self._detections = detections

    def serve(self, stream: Stream, destination: Destination, client: Destination) -> None:
        """Take an accepted connection."""
        plan = self.plans.plan(destination)
        if plan.protocol == "http":
            stream.start(self.gateway.connect(stream, destination, client))
        elif plan.protocol == "tcp":
            receiver = self.byte_service.connect(stream, destination, client, plan.cluster)
            if receiver is not None:
                stream.start(receiver)
        else:
            stream.start(
                Detection(
                    stream,
                    self._detections,
                    lambda: self.gateway.connect(stream, destination, client),
                    lambda: self.byte_service.connect(stream, destination, client, plan.cluster),
                )
            )
