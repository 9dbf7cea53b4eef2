from sidelab.lab.cluster import service_rules
from sidelab.lab.cluster.catalog import CLUSTER_DNS, translated
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State
from sidelab.lab.netlink import header
from sidelab.lab.netlink.attributes import contents, name
from sidelab.lab.netlink.nftables import messages
from sidelab.lab.netlink.nftables.objects import IPV4, IPV6

HTTP = (PublishedPort(name="http", port=80, protocol="TCP"),)


def state(*services: PublishedService) -> State:
    """Return a state with these Services and the cluster's DNS."""
    return State(services=(CLUSTER_DNS, *services))


def service(*ready: bool, ipv4: str = "10.96.0.11", ipv6: str = "", longer: str = "") -> PublishedService:
    """Return a Service with endpoints that are ready or not."""
    endpoints = tuple(
        PublishedEndpoint(
            pod=("a", f"{n}"), ipv4=f"10.244.0.{n}", ipv6=f"fd00:10:244::{n}", ready=each, targets=(8080,)
        )
        for n, each in enumerate(ready, 2)
    )
    return PublishedService(namespace="a", name=f"web{longer}", ipv4=ipv4, ipv6=ipv6, ports=HTTP, endpoints=endpoints)


def chains(wanted: State) -> list[tuple[int, str]]:
    """Return family and name of each chain of Services and endpoints in a state's transaction."""
    found = []
    for kind, _, _, body in header.messages(service_rules.batch(wanted)):
        if kind == messages.SUBSYSTEM << 8 | messages.NEW_CHAIN:
            called = name(contents(body[messages.GENERIC.size :])[messages.CHAIN_NAME])
            if called.startswith(("service-", "endpoint-")):
                found.append((body[0], called))
    return found


def test_chains_are_called_as_kube_proxys_are():
    """The names are those of kube-proxy's own documentation; an IPv6 address is written without colons."""
    pod = PublishedEndpoint(pod=("ns1", "x"), ipv4="10.180.0.1", ipv6="fd00::1", ready=True, targets=(80,))
    found = PublishedService(
        namespace="ns1",
        name="svc1",
        ipv4="172.30.0.41",
        ipv6="fd00::41",
        ports=(PublishedPort(name="p80", port=80, protocol="TCP"),),
        endpoints=(pod,),
    )
    *four, (family, six), (_, service_six) = chains(state(found))
    assert [
        (IPV4, "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80"),
        (IPV4, "service-ULMVA6XW-ns1/svc1/tcp/p80"),
    ] == four
    assert (IPV6, "fd00..1/80", four[1][1]) == (family, six.rpartition("__")[2], service_six)


def test_only_ready_endpoints_have_chains():
    """A Service without one has none itself: its address is refused."""
    assert 2 == len(chains(state(service(False, True, False))))
    assert [] == chains(state(service(False)))


def test_an_endpoint_without_the_port_has_no_chain():
    """A named target port that the pod has not is nowhere to send to."""
    lacking = PublishedEndpoint(pod=("a", "x"), ipv4="10.244.0.9", ipv6="", ready=True, targets=(0,))
    found = PublishedService(namespace="a", name="web", ipv4="10.96.0.11", ipv6="", ports=HTTP, endpoints=(lacking,))
    assert [] == chains(state(found))


def test_names_fit_the_kernel_and_stay_unique():
    """Long ones are cut behind their hash, which tells them apart (NFT_NAME_MAXLEN)."""
    one, other = (chains(state(service(True, longer="x" * 250 + end)))[0][1] for end in "ab")
    assert one != other
    assert len(one) < 256


def test_the_clusters_dns_and_headless_services_need_no_rules():
    """The former serves at its own address, the latter have none."""
    assert () == translated(state())
    assert () == translated(state(service(True, ipv4="")))
    assert 1 == len(translated(state(service(ipv6="fd00:10:96::b", ipv4=""))))


def test_the_same_state_has_the_same_bytes():
    """So that nothing is sent to the kernel when nothing changed for it."""
    first = service_rules.batch(state(service(True, True)))
    assert len(first) == len(service_rules.batch(state(service(True, True))))
    assert first == service_rules.batch(state(service(True, True)))
