"""What a lab stands on: mounts, logs, fork servers, namespaces and the network, made in this order."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.plan.blueprint import PodPlan
from sidelab.lab.runtime.mounts import PodMounts
from sidelab.lab.runtime.places import Places
from sidelab.lab.runtime.pod_services import Host
from sidelab.lab.runtime.spawner import Spawner
from sidelab.lab.runtime.supervision.log_keeping import LogKeeping
from sidelab.lab.runtime.supervision.order import Order
from sidelab.lab.sandbox.overlay import DetachedMounts
from sidelab.lab.sandbox.sandbox import make_mounts
from sidelab.lab.sandbox.user_namespaces import AllSpaces, reach_out

if TYPE_CHECKING:
    from sidelab.lab.runtime.network import Network


class Foundation:
    """The `spaces`, the `network` and the `logs` of a lab; `before_forking` is called before the first process."""

    def __init__(self, order: Order, loop: Loop, incidents: Incidents, before_forking: Callable[[], None]) -> None:
        self._order, self._loop, self._incidents = order, loop, incidents
        self._shown = DetachedMounts()
        self._shown.open_early(order.view)
        make_mounts()
        reached("mounts-made")
        self.logs = LogKeeping(loop, incidents, order.log_bytes)
        before_forking()
        self._spawners = {preload: Spawner(loop, preload) for preload in order.blueprint.preloads}
        reached("servers-started")
        # While the fork servers import.
        self.spaces = AllSpaces(host_ids=order.host_ids, apart=reach_out(order.blueprint.pods))
        self.network = self._build_network()

    def _build_network(self) -> "Network":
        # Its import takes a moment, in which the fork servers, already started, import what they need.
        from sidelab.lab.runtime.network import Network  # noqa: PLC0415

        network = Network(self.spaces)
        network.build([plan.address for plan in self._order.blueprint.pods])
        return network

    def host(self, podinfo: Callable[[PodPlan], Path]) -> Host:
        """Return what the lab offers to its pods; `podinfo` returns where a pod finds the files about itself."""
        places = Places(self.spaces, self.network, PodMounts(podinfo, self._order.view, self._shown))
        return Host(
            self._loop,
            self._spawners,
            self.network.inside,
            places.of,
            self.logs.of_containers,
            self._incidents,
            self._order.view.covers,
        )
