"""A running proxy: its listeners on a loop, the traffic behind them, and the operations on the whole proxy."""

from collections.abc import Iterable

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.admin.proxy_status import ClusterStatus, ListenerStatus
from sidelab.sidecar.proxy.admin.proxy_view import cluster_statuses
from sidelab.sidecar.proxy.captured_listeners import CapturedListeners
from sidelab.sidecar.proxy.io.destination import FindDestination
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.share import Shares
from sidelab.sidecar.proxy.io.sockets import ListeningSockets, check_fixed
from sidelab.sidecar.proxy.observation import ProxyObservation
from sidelab.sidecar.proxy.own_ports import OwnPorts
from sidelab.sidecar.proxy.routing.routes import check
from sidelab.sidecar.proxy.stats.prometheus import MetricFamily
from sidelab.sidecar.proxy.stats.stats import Stat
from sidelab.sidecar.proxy.traffic import ProxyTraffic


class Proxy:
    """Serves `intent` on `sockets` and `loop`, which stops when a `drain` is complete.

    The caller has checked the intent with `routes.check`.
    """

    def __init__(
        self, loop: ProxyLoop, intent: Intent, sockets: ListeningSockets, find_destination: FindDestination
    ) -> None:
        self.intent = intent
        self.draining = False
        self._loop = loop
        shares = Shares()
        self._observation = ProxyObservation(loop, intent)
        self._traffic = ProxyTraffic(loop, intent, self._observation)
        self._captured = CapturedListeners(
            loop,
            sockets,
            intent,
            self._traffic,
            shares,
            find_destination=find_destination,
            on_closed=self._stop_if_idle,
        )
        self._own_ports = OwnPorts(loop, sockets, self, shares)

    def update(self, intent: Intent) -> None:
        """Follow `intent` from now on, dropping no connection; raises `InputError` if a fixed field differs."""
        check_fixed(self.intent, intent)
        check(intent)
        self.intent = intent
        self._observation.follow(intent)
        self._traffic.update(intent)

    def drain(self) -> None:
        """Stop accepting, finish what is in flight within the intent's `drain_s`, then stop the loop."""
        if self.draining:
            return
        self.draining = True
        self._captured.close()
        self._traffic.clusters.close()
        self._traffic.drain()
        self._loop.call_later(self.intent.drain_s, self._loop.stop)
        self._loop.call_soon(self._stop_if_idle)

    def close(self) -> None:
        """Close the listening sockets, and write the rest of the access log."""
        self._captured.close()
        self._own_ports.close()
        self._observation.close()

    def _stop_if_idle(self) -> None:
        if self.draining and not self._captured.active:
            self._loop.stop()

    # What the admin pages show and do, see `admin_pages.Subject`.

    def listeners(self) -> Iterable[ListenerStatus]:
        """Return the listeners that are open."""
        return [*self._captured.statuses(), *self._own_ports.statuses()]

    def clusters(self) -> Iterable[ClusterStatus]:
        """Return the clusters that traffic goes to."""
        return cluster_statuses(self._traffic.clusters)

    def stats(self) -> Iterable[Stat]:
        """Return every counter and gauge."""
        return self._observation.stats()

    def families(self) -> list[MetricFamily]:
        """Return Istio's metrics."""
        return self._observation.families()

    def reset_counters(self) -> None:
        """Set all counters to zero."""
        self._observation.reset()

    def drain_listeners(self, *, graceful: bool, inbound_only: bool) -> None:
        """Close listeners but keep running; if `graceful`, first close connections after their responses."""
        if not graceful:
            self._captured.close(inbound_only=inbound_only)
            return
        self._traffic.drain(inbound_only=inbound_only)
        self._loop.call_later(self.intent.drain_s, lambda: self._captured.close(inbound_only=inbound_only))

    def quit(self) -> None:
        """Stop at the end of this turn."""
        self._loop.stop()
