"""The request that a client's connection serves, or served last: what each step finds out about it."""

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

    `last` is the head that came last and led to `route`, if it is to be recognised when it comes again. `upstream`
    is the connection that it was sent by, until the answer is complete; `local` the address that it comes from. `whole`
    is all of the request while it may be sent again, and `tried` are the hosts to which it was sent in vain. `reply` is
    the answer in the upstream's stead, if there was one. Times are of time.perf_counter(), 0 before there was any;
    `received` and `sent` count bytes of bodies.
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
        """Forget what came of the last request, for the next one."""
        self.tried = ()
        self.reply = None
        self.received = 0

    def disown(self) -> None:
        """Forget all that was asked for before: it has no part in what is wrong now."""
        self.head = self.host = self.route = self.last = None
        self.started_s = 0.0
