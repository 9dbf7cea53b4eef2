"""Choose each pod's addresses before anything is built, from the order of the manifest alone. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from sidelab.lab.errors import InputError
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import MAX_PODS, Manifest

POD_CIDR_IPV4 = "10.244.0.0/16"
POD_CIDR_IPV6 = "fd00:10:244::/64"

_FIRST_HOST = 2
# Above what the kernel itself creates in a new namespace (lo, and a tunnel device per loaded tunnel module).
_FIRST_IFINDEX = 1000
_IFNAME_LENGTH = 15  # IFNAMSIZ less the final NUL, linux/if.h


@dataclass(frozen=True, slots=True)
class PodAddress:
    """A pod's place in the network.

    `key` is (namespace, name); `index` counts from 0; addresses are without prefix length (a pod's are /32 and /128);
    `mac` is that of eth0 in the pod; `veth` and `ifindex` are the name and index of the link's other end, in the node.
    """

    key: PodKey
    index: int
    ipv4: str
    ipv6: str
    mac: str
    veth: str
    ifindex: int


@dataclass(frozen=True)
class Topology:
    """The pods' places, in the order of the manifest."""

    pods: tuple[PodAddress, ...]

    def by_key(self) -> dict[PodKey, PodAddress]:
        """Return the places by (namespace, name)."""
        return {pod.key: pod for pod in self.pods}


def plan(manifest: Manifest) -> Topology:
    """Give the pods of `manifest` addresses in their order; the first has .2, after the node's .1.

    Raises `InputError` for more than `MAX_PODS`.
    """
    if len(manifest.pods) > MAX_PODS:
        raise InputError(
            f"the manifest has {len(manifest.pods)} pods, and {POD_CIDR_IPV4} has room for {MAX_PODS}: "
            "start several labs"
        )
    return Topology(tuple(_places(pod.key for pod in manifest.pods)))


def _places(keys: Iterable[PodKey]) -> Iterable[PodAddress]:
    for index, key in enumerate(keys):
        host = index + _FIRST_HOST
        high, low = divmod(host, 256)
        yield PodAddress(
            key=key,
            index=index,
            ipv4=f"10.244.{high}.{low}",
            ipv6=f"fd00:10:244::{host:x}",
            # Locally administered, and shows the IPv4 address.
            mac=f"02:00:0a:f4:{high:02x}:{low:02x}",
            # The number makes it unique, the rest helps people who run tcpdump in the node.
            veth=f"v{index}-{key[1]}".replace(".", "-")[:_IFNAME_LENGTH].rstrip("-"),
            ifindex=_FIRST_IFINDEX + index,
        )
