from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Container, Manifest, Metadata, Pod, PodSpec
from sidelab.lab.net.node_addresses import GATEWAY_MAC, NODE_IPV4, NODE_IPV6
from sidelab.lab.plan.topology import MAX_PODS, POD_CIDR_IPV4, POD_CIDR_IPV6, PodAddress, plan

POD = Pod(metadata=Metadata(name="a"), spec=PodSpec(containers=(Container(name="a", image="nginx"),)))


def _manifest(*names: str) -> Manifest:
    return Manifest(pods=tuple(replace(POD, metadata=Metadata(name=name)) for name in names))


def test_pods_are_numbered_in_the_order_of_the_manifest() -> None:
    """The first pod has the address after the node's, and the next one the next."""
    topology = plan(_manifest("web", "client"))
    assert topology.pods == (
        PodAddress(("default", "web"), 0, "10.244.0.2", "fd00:10:244::2", "02:00:0a:f4:00:02", "v0-web", 1000),
        PodAddress(("default", "client"), 1, "10.244.0.3", "fd00:10:244::3", "02:00:0a:f4:00:03", "v1-client", 1001),
    )
    assert topology.by_key()["default", "client"] == topology.pods[1]


def test_every_place_is_the_pods_own() -> None:
    """With 1000 pods no address, name or index is there twice, nor the node's or the gateway's."""
    pods = plan(_manifest(*(f"pod-{number}" for number in range(1000)))).pods
    for values, taken in (
        ([pod.ipv4 for pod in pods], NODE_IPV4),
        ([pod.ipv6 for pod in pods], NODE_IPV6),
        ([pod.mac for pod in pods], GATEWAY_MAC),
        ([pod.veth for pod in pods], "lo"),
        ([pod.ifindex for pod in pods], 1),
    ):
        assert len({*values, taken}) == 1001


def test_addresses_are_in_the_pod_networks() -> None:
    """Beyond 254 pods the third number of the address counts on, in both families alike."""
    pods = plan(_manifest(*(f"pod-{number}" for number in range(600)))).pods
    assert pods[254].ipv4 == "10.244.1.0"
    for pod in pods:
        assert ip_address(pod.ipv4) == ip_network(POD_CIDR_IPV4)[pod.index + 2]
        assert ip_address(pod.ipv6) == ip_network(POD_CIDR_IPV6)[pod.index + 2]
        assert str(ip_address(pod.ipv6)) == pod.ipv6


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?)?\Z"))
def test_a_link_has_a_name_that_the_kernel_takes(name: str) -> None:
    """At most 15 characters, without what interface names and sysctl paths may not hold."""
    (pod,) = plan(_manifest(name)).pods
    assert 1 <= len(pod.veth) <= 15
    assert not set(pod.veth) & set("./: ")
    assert pod.veth.startswith("v0-")


def test_too_many_pods_are_refused() -> None:
    """A manifest with more pods than addresses says how many there may be."""
    many = Manifest()
    # Built past the constructor, which would take its time over this many names.
    object.__setattr__(many, "pods", (POD,) * (MAX_PODS + 1))
    with pytest.raises(InputError, match=r"65001 pods, and 10.244.0.0/16 has room for 65000"):
        plan(many)
