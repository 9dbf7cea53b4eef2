"""The request that a client's connection serves or served last: what each step finds out about it."""

from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.io.destination import Destination

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.exchange.local_replies import LocalReply
    from sidelab.sidecar.proxy.http.message import RequestHead
    from sidelab.sidecar.proxy.http.message_body import MessageBody
    from sidelab.sidecar.proxy.routing.routes import Route
    from sidelab.sidecar.proxy.upstreams.cluster import UpstreamCluster
    from sidelab.sidecar.proxy.upstreams.host import UpstreamHost
    from sidelab.sidecar.proxy.upstreams.upstream import Upstream


class ServedRequest:
    """A request from `client` on a connection that was going to `destination`.

    `last` is the previous head, whose route is `route`, if it is to be recognised when it comes again. `upstream` is
    the connection that carries the request, until the answer is complete; `local` is that connection's own address.
    `whole` is the entire request while it may be retried, and `tried` are the hosts that failed. `reply` is the proxy's
    own answer, if there was one. Times are from time.perf_counter(), and 0 until set; `received` and `sent` count
    bytes of bodies.
    """

    __slots__ = (
        "body", "client", "destination", "head", "host", "last", "local", "received", "reply", "responded_s", "route",
        "sent", "started_s", "status", "tried", "upstream", "whole",
    )  # fmt: skip

    def __init__(self, destination: Destination, client: Destination) -> None:
        self.destination = destination
        self.client = client
        self.head: RequestHead | None = None
        self.last: RequestHead | None = None
        self.route: Route[UpstreamCluster] | None = None
        self.host: UpstreamHost | None = None
        self.upstream: Upstream | None = None
        self.body: MessageBody | None = None
        self.reply: LocalReply | None = None
        self.whole = b""
        self.tried: tuple[UpstreamHost, ...] = ()
        self.local = ""
        self.started_s = self.responded_s = 0.0
        self.received = self.sent = self.status = 0

    def forget_attempts(self) -> None:
        """Forget the last request's attempts and reply, before the next one."""
        self.tried = ()
        self.reply = None
        self.received = 0

    def disown(self) -> None:
        """Forget the previous request, which has nothing to do with the current error."""
        self.head = self.host = self.route = self.last = None
        self.started_s = 0.0
