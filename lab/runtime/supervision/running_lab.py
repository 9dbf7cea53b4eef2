"""A lab as the code that answers requests sees it: what it consists of, and what it can do."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.live import Cluster
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import Manifest
from sidelab.lab.runtime.live_pod import LivePod
from sidelab.lab.runtime.pod_services import Host
from sidelab.lab.runtime.supervision.order import Order
from sidelab.lab.sandbox.user_namespaces import AllSpaces

if TYPE_CHECKING:
    from sidelab.lab.cluster.change import Change
    from sidelab.lab.runtime.network import Network


class RunningLab(Protocol):
    """The supervisor, for its control socket."""

    order: Order
    incidents: Incidents
    loop: Loop
    spaces: AllSpaces
    network: "Network"
    cluster: Cluster
    host: Host

    @property
    def pods(self) -> Mapping[PodKey, LivePod]:
        """The pods by their keys."""

    def manifest(self) -> Manifest:
        """Return what runs now as a manifest."""

    def apply(self, change: "Change") -> None:
        """Change what runs; raises what `Cluster.apply` raises, and then nothing has changed."""

    def stop(self) -> None:
        """Ask the programs of the lab to end, and end."""
