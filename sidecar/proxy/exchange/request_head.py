"""The first step of a request: read its head and find its route."""

from sidelab.sidecar.proxy.exchange.gateway import Gateway
from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.detect import HTTP2_PREFACE
from sidelab.sidecar.proxy.http.message import RequestHead, parse_request
from sidelab.sidecar.proxy.io.share import SMALL_BYTES
from sidelab.sidecar.proxy.io.stream_interface import Wire
from sidelab.sidecar.proxy.routing.routes import Route
from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster

_NO_ROUTE: Route[UpstreamCluster] = Route("", None)


def find_head(gateway: Gateway, request: ServedRequest, data: bytes) -> RequestHead | None:
    """Return the head that `data` begins with, None while it is incomplete; raises `BadMessageError`.

    Its route is looked up too, and both are remembered until the client sends a different head.
    """
    head = gateway.last
    if head is None or not data.startswith(head.raw):
        head = parse_request(data, gateway.limits)
        if head is None:
            return None
    request.last = None
    if head.size <= SMALL_BYTES:
        request.last = gateway.last = head
    request.route = gateway.routes.route(request.destination, head.host) if head.routable else _NO_ROUTE
    return head


def goes_elsewhere(gateway: Gateway, request: ServedRequest, data: bytes) -> bool:
    """Return whether a connection that begins with `data` speaks HTTP/2 and there is a `pass_on` to take it."""
    return gateway.pass_on is not None and not request.started_s and data.startswith(HTTP2_PREFACE)


def hand_over(gateway: Gateway, wire: Wire, request: ServedRequest, data: bytes) -> None:
    """Pass on a connection for which `goes_elsewhere` is true."""
    receiver = None if gateway.pass_on is None else gateway.pass_on(wire, request.destination, request.client)
    if receiver is not None:
        wire.redirect(receiver)
        receiver.received(data)
