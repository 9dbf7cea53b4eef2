import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.cluster.catalog import CLUSTER_DNS
from sidelab.lab.cluster.dns.zone import NOERROR, NXDOMAIN, ORIGINS, REFUSED, Zone, ZoneAnswer
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State

BOTH = ("IPv4", "IPv6")
WEB = PublishedEndpoint(pod=("shop", "web"), ipv4="10.244.0.2", ipv6="fd00:10:244::2", ready=True, targets=(8080, 5353))
ENDPOINTS = (
    WEB,
    PublishedEndpoint(
        pod=("shop", "db"), ipv4="10.244.0.3", ipv6="fd00:10:244::3", ready=True, targets=(80, 53), hostname="db-0"
    ),
    PublishedEndpoint(pod=("shop", "new"), ipv4="10.244.0.4", ipv6="fd00:10:244::4", ready=False, targets=(80, 53)),
)
PORTS = (PublishedPort(name="http", port=80, protocol="TCP"), PublishedPort(name="dns", port=53, protocol="UDP"))
VIRTUAL = PublishedService(
    namespace="shop",
    name="web",
    ipv4="10.96.0.11",
    ipv6="fd00:10:96::b",
    ports=PORTS,
    endpoints=ENDPOINTS,
    families=BOTH,
)
HEADLESS = PublishedService(
    namespace="shop", name="all", ipv4="", ipv6="", ports=PORTS, endpoints=ENDPOINTS, families=BOTH
)
SINGLE = PublishedService(namespace="shop", name="four", ipv4="10.96.0.12", ipv6="", ports=PORTS[:1], endpoints=(WEB,))
ZONE = Zone(State(generation=7, services=(CLUSTER_DNS, VIRTUAL, HEADLESS, SINGLE)))


def find(name: str, kind: str = "A") -> ZoneAnswer:
    """Look a name up, `.svc.cluster.local` added to a short one."""
    whole = name if name.endswith((".local", ".arpa", ".com")) else f"{name}.svc.cluster.local"
    return ZONE.find(tuple(whole.encode().split(b".")), kind)


def said(name: str, kind: str = "A") -> list[object]:
    """Return the data of the answer to a question that is answered."""
    found = find(name, kind)
    assert NOERROR == found.status
    return [each.data[0] if len(each.data) == 1 else each.data for each in found.records]


def text(name: object) -> str:
    """Return a name for reading."""
    assert isinstance(name, tuple)
    return b".".join(name).decode()


def test_a_service_has_its_addresses():
    """A and AAAA are the Service's own, whoever is ready."""
    assert (["10.96.0.11"], ["fd00:10:96::b"]) == (said("web.shop"), said("web.shop", "AAAA"))


def test_a_service_of_one_family_has_no_address_of_the_other():
    """The name exists, so that is an empty answer and no missing name."""
    assert (["10.96.0.12"], []) == (said("four.shop"), said("four.shop", "AAAA"))


def test_a_headless_service_has_its_ready_pods_addresses():
    """As many as there are; who is not ready is not among them."""
    assert ["10.244.0.2", "10.244.0.3"] == said("all.shop")
    assert ["fd00:10:244::2", "fd00:10:244::3"] == said("all.shop", "AAAA")


def test_a_pod_with_a_host_name_has_a_name_below_its_service():
    """Both addresses are there; a pod without one has names made of its addresses."""
    assert (["10.244.0.3"], ["fd00:10:244::3"]) == (said("db-0.all.shop"), said("db-0.all.shop", "AAAA"))
    assert (["10.244.0.2"], []) == (said("10-244-0-2.all.shop"), said("10-244-0-2.all.shop", "AAAA"))
    assert NXDOMAIN == find("10-244-0-4.all.shop").status


def test_srv_of_a_named_port_leads_to_the_service():
    """Priority 0, all of the weight, the Service's own port and name, with its addresses beside it."""
    found = find("_http._tcp.web.shop", "SRV")
    (record,) = found.records
    assert (0, 100, 80, "web.shop.svc.cluster.local") == (*record.data[:3], text(record.data[3]))
    assert ["10.96.0.11", "fd00:10:96::b"] == [each.data[0] for _, each in found.additional]


def test_srv_of_a_headless_service_leads_to_each_pod_at_its_own_port():
    """The weight is shared; the port is the pod's."""
    assert {
        (33, 8080, "10-244-0-2.all.shop.svc.cluster.local"),
        (33, 8080, "fd00-10-244--2.all.shop.svc.cluster.local"),
        (33, 80, "db-0.all.shop.svc.cluster.local"),
    } == {(each.data[1], each.data[2], text(each.data[3])) for each in find("_http._tcp.all.shop", "SRV").records}


@pytest.mark.parametrize("name", ["_http._udp.web.shop", "_https._tcp.web.shop", "nobody.shop", "web.other"])
def test_what_is_not_there_is_denied(name: str):
    """A port by the wrong protocol, an unknown port, Service or namespace do not exist."""
    assert NXDOMAIN == find(name).status


@pytest.mark.parametrize("name", ["cluster.local", "svc.cluster.local", "shop", "_tcp.web.shop", "pod.cluster.local"])
def test_what_is_above_a_name_exists_without_an_answer(name: str):
    """No address is there, but no denial either, or resolvers would take all below for denied (RFC 8020)."""
    assert (NOERROR, ()) == (find(name).status, find(name).records)


@pytest.mark.parametrize(
    ("name", "kind", "address"),
    [
        ("10-244-0-9.shop.pod.cluster.local", "A", "10.244.0.9"),
        ("fd00-10-244--9.any.pod.cluster.local", "AAAA", "fd00:10:244::9"),
    ],
)
def test_an_address_as_a_name_means_itself(name: str, kind: str, address: str):
    """Such a name is not looked up: CoreDNS' `pods insecure`."""
    assert [address] == said(name, kind)


@given(st.text(st.sampled_from("0123456789abcdef-:."), max_size=20))
@settings(deadline=None, max_examples=200)
def test_a_name_below_pod_is_an_address_or_denied(label: str):
    """Nothing else is made of it."""
    found = ZONE.find((label.encode(), b"shop", b"pod", b"cluster", b"local"), "ANY")
    assert found.status == (NOERROR if found.records else NXDOMAIN)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("11.0.96.10.in-addr.arpa", ["web.shop.svc.cluster.local"]),
        ("10.0.96.10.in-addr.arpa", ["kube-dns.kube-system.svc.cluster.local"]),
        ("b." + "0." * 19 + "6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa", ["web.shop.svc.cluster.local"]),
    ],
)
def test_addresses_of_services_have_names(name: str, expected: list[str]):
    """The Service's name is the only one of its address."""
    assert expected == [text(each) for each in said(name, "PTR")]


def test_addresses_of_endpoints_have_a_name_for_each_service():
    """A pod may stand behind several."""
    assert {f"10-244-0-2.{service}.shop.svc.cluster.local" for service in ("web", "all", "four")} == {
        text(each) for each in said("2.0.244.10.in-addr.arpa", "PTR")
    }


@pytest.mark.parametrize("name", ["example.com", "local.com", "1.168.192.in-addr.arpa", "x.notcluster.local"])
def test_names_outside_the_cluster_are_refused(name: str):
    """There is no way out of a lab, and nothing is said about what is there."""
    assert ZoneAnswer(REFUSED, None) == find(name)


def test_the_version_of_the_schema_is_told():
    """Kubernetes' DNS specification wants this record."""
    assert [b"1.1.0"] == said("dns-version.cluster.local", "TXT")


@pytest.mark.parametrize("origin", ORIGINS, ids=text)
def test_every_zone_has_an_authority(origin: tuple[bytes, ...]):
    """Resolvers find where a negative answer is from."""
    assert ["SOA"] == [each.kind for each in ZONE.find(origin, "SOA").records]
