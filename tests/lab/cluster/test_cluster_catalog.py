from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.cluster.addresses import DNS_IPV4, ServiceAddresses
from sidelab.lab.cluster.catalog import Catalog, Member
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedService
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Metadata, ServicePort, ServiceSpec
from sidelab.lab.manifest import Service as Wanted


def pod(number: int, ports: Mapping[tuple[str, str], int] | None = None, namespace: str = "default", **labels: str):
    """Return a pod as Services see it."""
    key = (namespace, f"pod-{number}")
    return Member(key, f"10.244.0.{number}", f"fd00:10:244::{number:x}", labels, ports or {}, "", "")


def service(name: str, *ports: ServicePort, namespace: str = "default", **spec: object) -> Wanted:
    """Return a Service, selecting app=web unless told otherwise."""
    values = {"selector": {"app": "web"}, "ports": ports or (ServicePort(port=80),), **spec}
    return Wanted(metadata=Metadata(name=name, namespace=namespace), spec=ServiceSpec(**values))


def published(catalog: Catalog, *ready: tuple[str, str]) -> list[PublishedService]:
    """Return the Services of the manifest as they are published."""
    return [each for each in catalog.state(ready).services if each.namespace != "kube-system"]


def names(found: PublishedService) -> list[str]:
    """Return the names of a Service's endpoints."""
    return [each.pod[1] for each in found.endpoints]


def test_addresses_follow_the_manifests_order():
    """The first Service has the address after the DNS', the second the next, and a headless one takes none."""
    catalog = Catalog([service("a"), service("b", cluster_ip="None"), service("c")], [])
    assert ["10.96.0.11", "", "10.96.0.12"] == [each.ipv4 for each in published(catalog)]


def test_a_service_has_the_families_that_it_asks_for():
    """IPv4 alone unless it says otherwise, as on a cluster whose first family is that."""
    both, six = {"ip_family_policy": "PreferDualStack"}, {"ip_families": ("IPv6",)}
    catalog = Catalog([service("a"), service("b", **both), service("c", **six)], [])
    assert [("10.96.0.11", ""), ("10.96.0.12", "fd00:10:96::c"), ("", "fd00:10:96::d")] == [
        (each.ipv4, each.ipv6) for each in published(catalog)
    ]


def test_a_removed_services_address_is_not_given_again():
    """One of the same name that comes later has another address."""
    catalog = Catalog([service("a"), service("b")], [])
    catalog.remove(("default", "a"))
    catalog.put(service("a"))
    assert [("b", "10.96.0.12"), ("a", "10.96.0.13")] == [(each.name, each.ipv4) for each in published(catalog)]


def test_a_changed_service_keeps_its_address():
    """Only what it says is new."""
    catalog = Catalog([service("a")], [])
    catalog.put(service("a", ServicePort(port=81)))
    (found,) = published(catalog)
    assert ("10.96.0.11", 81) == (found.ipv4, found.ports[0].port)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=50))
@settings(deadline=None, max_examples=50)
def test_no_two_services_ever_share_an_address(steps: list[tuple[bool, int]]):
    """Whatever comes and goes, an address belongs to one life of one Service, and never to the cluster's DNS."""
    addresses = ServiceAddresses()
    alive: dict[int, str] = {}
    seen = {DNS_IPV4}
    for comes, number in steps:
        if comes and number not in alive:
            alive[number] = addresses.of(("default", str(number)))[0]
            assert alive[number] not in seen
            seen.add(alive[number])
        elif not comes:
            alive.pop(number, None)
            addresses.forget(("default", str(number)))


def test_the_clusters_dns_is_always_published_first():
    """Proxies find it among the Services, at its well-known address."""
    assert ("kube-system", "kube-dns", DNS_IPV4) == tuple(
        getattr(Catalog([], []).state(()).services[0], field) for field in ("namespace", "name", "ipv4")
    )


def test_the_clusters_dns_is_not_to_be_replaced():
    """Its name is taken, in its own namespace alone."""
    assert ["kube-dns"] == [each.name for each in published(Catalog([service("kube-dns")], []))]
    with pytest.raises(InputError, match="Service kube-system/kube-dns is the lab's own"):
        Catalog([service("kube-dns", namespace="kube-system")], [])


def test_endpoints_are_the_pods_of_the_namespace_that_have_all_labels():
    """One label of two is not enough, and other namespaces are not looked at."""
    pods = [pod(1, app="web", tier="a"), pod(2, app="web"), pod(3, namespace="other", app="web", tier="a")]
    selector = {"app": "web", "tier": "a"}
    assert [["pod-1"]] == [names(each) for each in published(Catalog([service("s", selector=selector)], pods))]


def test_without_a_selector_there_are_no_endpoints():
    """It does not mean all pods."""
    assert [[]] == [names(each) for each in published(Catalog([service("s", selector={})], [pod(1)]))]


def test_named_target_ports_are_looked_up_in_each_pod():
    """Pods may disagree about the number, and the protocol belongs to the name; 0 is none."""
    port = ServicePort(name="a", port=80, target_port="http")
    pods = [
        pod(1, {("http", "TCP"): 8080}, app="web"),
        pod(2, {("http", "TCP"): 80}, app="web"),
        pod(3, {("http", "UDP"): 80}, app="web"),
    ]
    (found,) = published(Catalog([service("s", port, ServicePort(name="b", port=81))], pods))
    assert [(8080, 81), (80, 81), (0, 81)] == [each.targets for each in found.endpoints]


def test_readiness_is_published():
    """Pods that are not ready are there, and say so, unless the Service publishes them all as ready."""
    pods = [pod(1, app="web"), pod(2, app="web")]
    strict, lenient = published(
        Catalog([service("s"), service("t", publish_not_ready_addresses=True)], pods), ("default", "pod-2")
    )
    assert ([False, True], [True, True]) == tuple([each.ready for each in some.endpoints] for some in (strict, lenient))


def test_endpoints_follow_labels():
    """A pod that gets a label is selected from then on; one that loses it no more."""
    catalog = Catalog([service("s")], [pod(1, app="web"), pod(2)])
    catalog.relabel(pod(1, app="other"))
    catalog.relabel(pod(2, app="web"))
    assert ["pod-2"] == names(published(catalog)[0])


def test_a_host_name_counts_below_the_service_of_its_subdomain():
    """As StatefulSets have it: the name is published with the Service that the pod names, and with no other."""
    named = pod(1, app="web")._replace(hostname="web-0", subdomain="s")
    hosts = [each.endpoints[0].hostname for each in published(Catalog([service("s"), service("t")], [named]))]
    assert ["web-0", ""] == hosts


LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy"), max_size=3)


@given(LABELS, st.lists(LABELS, max_size=8))
@settings(deadline=None, max_examples=100)
def test_selection_is_inclusion(selector: dict[str, str], pods: list[dict[str, str]]):
    """A non-empty selector selects exactly the pods whose labels include it, in their order."""
    members = [pod(number, **labels) for number, labels in enumerate(pods)]
    (found,) = published(Catalog([service("s", selector=selector)], members))
    expected = [f"pod-{n}" for n, labels in enumerate(pods) if selector and selector.items() <= labels.items()]
    assert expected == names(found)


def test_an_endpoint_of_an_old_state_can_still_be_read():
    """Fields that came later have defaults."""
    assert "" == PublishedEndpoint(pod=("a", "b"), ipv4="", ipv6="", ready=True, targets=()).hostname
