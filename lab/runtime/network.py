"""The lab's network: a namespace for the node, one for each pod, and routed veth pairs between them.

Everything here runs in the supervisor, which is single-threaded: being inside a pod's namespace for a moment is safe.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.syscalls import CLONE_NEWNET, own_namespace, setns
from sidelab.lab.cluster.addresses import DNS_IPV4, DNS_IPV6
from sidelab.lab.keys import PodKey
from sidelab.lab.net.node_addresses import GATEWAY_IPV4, GATEWAY_IPV6, GATEWAY_MAC, NODE_IPV4, NODE_IPV6
from sidelab.lab.netlink import route
from sidelab.lab.plan.topology import PodAddress
from sidelab.lab.sandbox.namespace_maker import PodSpaces
from sidelab.lab.sandbox.user_namespaces import AllSpaces

_LO, _ETH0 = 1, 2

_NODE_ADDRESSES = (NODE_IPV4, NODE_IPV6, DNS_IPV4, DNS_IPV6)

# Written through /proc/sys, which shows the namespace of the process that reads it.
_NODE_SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    # Dead pods' entries must not be looked for by broadcast: there is no broadcast domain.
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/default/addr_gen_mode": "1",
    # The name server's port 53, for a root without CAP_NET_BIND_SERVICE.
    "net/ipv4/ip_unprivileged_port_start": "0",
}
# Pods that are linked by one write: large enough to save round trips, small enough for the socket's buffer.
_BATCH = 25


class Network:
    """The namespaces of a lab, held open by descriptors; made inside the node's namespace."""

    def __init__(self, spaces: AllSpaces) -> None:
        """Set up the node's namespace, which is the caller's; those of pods are made by `spaces`."""
        self._spaces = spaces
        self._node = own_namespace("net")
        self._pods: dict[PodKey, int] = {}
        _write_sysctls(_NODE_SYSCTLS)
        self._link = route.open_socket()
        route.send(
            self._link,
            [route.up(_LO), *(route.address(_LO, each) for each in _NODE_ADDRESSES)],
        )
        reached("node-made")

    def build(self, pods: Sequence[PodAddress]) -> None:
        """Make the namespaces of `pods`, link them to the node and route them.

        Raises `PodError` with what the kernel refused.
        """
        batches = self._batches(pods)
        for spaces, batch in batches[:1]:
            spaces.order_networks(len(batch))
        for number, (spaces, batch) in enumerate(batches):
            made = spaces.take_networks()
            for others, following in batches[number + 1 : number + 2]:
                others.order_networks(len(following))  # they are made on another CPU while these are linked
            self._pods |= {pod.key: namespace for pod, (namespace, _) in zip(batch, made, strict=True)}
            reached("pod-unshared")
            links = [link for _, link in made]
            try:
                self._connect(batch, links)
            finally:
                for link in links:
                    link.close()

    def _batches(self, pods: Sequence[PodAddress]) -> list[tuple[PodSpaces, list[PodAddress]]]:
        groups: dict[PodSpaces, list[PodAddress]] = {}
        for pod in pods:
            groups.setdefault(self._spaces.of(pod.key), []).append(pod)
        return [
            (spaces, group[first : first + _BATCH])
            for spaces, group in groups.items()
            for first in range(0, len(group), _BATCH)
        ]

    def _connect(self, pods: Sequence[PodAddress], links: Sequence[socket.socket]) -> None:
        route.send(
            self._link,
            [route.veth(pod.veth, pod.ifindex, GATEWAY_MAC, self._pods[pod.key], pod.mac) for pod in pods],
        )
        reached("pod-linked")
        for pod, link in zip(pods, links, strict=True):
            route.send(link, [*_POD_LINKS, *_pod_addresses(pod), *_POD_ROUTES])
        route.send(self._link, [message for pod in pods for message in _node_side(pod)])
        reached("pod-routed")

    def descriptor(self, key: PodKey | None) -> int:
        """Return the descriptor of a pod's network namespace, or the node's for None; it stays ours."""
        return self._node if key is None else self._pods[key]

    @contextmanager
    def inside(self, key: PodKey | None) -> Iterator[None]:
        """Be in a pod's network namespace (the node's for None) for the length of the block."""
        setns(self.descriptor(key), CLONE_NEWNET)
        try:
            yield
        finally:
            setns(self._node, CLONE_NEWNET)


# What is the same in every pod is encoded once. A link is set up before it is given an address, and has an address
# before a route: the kernel insists (ENETDOWN, ENETUNREACH).
_POD_LINKS = (route.up(_LO), route.no_link_local(_ETH0), route.up(_ETH0))
_POD_ROUTES = (
    route.neighbour(_ETH0, GATEWAY_IPV4, GATEWAY_MAC),
    route.neighbour(_ETH0, GATEWAY_IPV6, GATEWAY_MAC),
    route.route(_ETH0, GATEWAY_IPV4),
    route.route(_ETH0, None, gateway=GATEWAY_IPV4),
    route.route(_ETH0, None, gateway=GATEWAY_IPV6),
)


def _pod_addresses(pod: PodAddress) -> tuple[route.Message, ...]:
    return (route.address(_ETH0, pod.ipv4), route.address(_ETH0, pod.ipv6))


def _node_side(pod: PodAddress) -> tuple[route.Message, ...]:
    return (
        route.up(pod.ifindex),
        route.route(pod.ifindex, pod.ipv4, source=NODE_IPV4),
        route.route(pod.ifindex, pod.ipv6, source=NODE_IPV6),
        route.neighbour(pod.ifindex, pod.ipv4, pod.mac),
        route.neighbour(pod.ifindex, pod.ipv6, pod.mac),
    )


def _write_sysctls(values: dict[str, str]) -> None:
    for name, value in values.items():
        Path("/proc/sys", name).write_text(value)
