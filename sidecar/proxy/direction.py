"""A direction of traffic, inbound or outbound: serves each captured connection as its destination requires."""

from typing import Protocol

from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.http_connection import HttpConnection
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.detect import Detection
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.stream import TcpStream
from sidelab.sidecar.proxy.io.stream_interface import Receiver, Wire
from sidelab.sidecar.proxy.routing.routes import ConnectionPlan
from sidelab.sidecar.proxy.tcp import ByteService
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster


class Plans(Protocol):
    """The part of the tables in `routes` that a direction needs."""

    def plan(self, destination: Destination) -> ConnectionPlan[UpstreamCluster]:
        """Return the plan for a connection that was going to `destination`."""

    def http2(self, destination: Destination) -> UpstreamCluster | None:
        """Return the cluster for such a connection if its client speaks HTTP/2; None if there is none."""


class TrafficDirection:
    """Serves captured connections by `plans`; a change of these applies to connections that arrive later."""

    def __init__(self, plans: Plans, gateway: Gateway, byte_service: ByteService, detections: Deadlines) -> None:
        self.plans = plans
        self.gateway = gateway
        self.byte_service = byte_service
        self._detections = detections
        gateway.pass_on = self._pass_on

    def serve(self, stream: TcpStream, destination: Destination, client: Destination) -> None:
        """Serve an accepted connection."""
        plan = self.plans.plan(destination)
        if plan.protocol == "http":
            stream.start(HttpConnection(self.gateway, stream, ServedRequest(destination, client)))
        elif plan.protocol == "tcp":
            receiver = self.byte_service.connect(stream, destination, client, plan.cluster)
            if receiver is not None:
                stream.start(receiver)
        else:
            stream.start(
                Detection(
                    stream,
                    self._detections,
                    lambda: HttpConnection(self.gateway, stream, ServedRequest(destination, client)),
                    lambda: self.byte_service.connect(stream, destination, client, plan.cluster),
                )
            )

    def _pass_on(self, wire: Wire, destination: Destination, client: Destination) -> Receiver | None:
        """Take back a connection whose client speaks HTTP/2: it is forwarded as bytes, balanced and logged as a whole.

        Its requests are not parsed. Anything that decides per request (a policy by path or method) must treat it like a
        connection to a port of kind `tcp`, and not let pass what it cannot see.
        """
        return self.byte_service.connect(wire, destination, client, self.plans.http2(destination))
