"""What a pod, its annotations and the cluster's Services make of a proxy's orders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.cluster.podinfo import PodInfo
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State
from sidelab.lab.errors import InputError
from sidelab.sidecar.config import compute
from sidelab.sidecar.config.intent import InboundPort, Intent, IntentServicePort, Workload
from sidelab.sidecar.config.intent import IntentEndpoint as Serving
from sidelab.sidecar.config.proxy_annotations import MODE

POD = PodInfo(
    namespace="default",
    name="web",
    service_account="default",
    ipv4="10.244.0.2",
    ipv6="fd00:10:244::2",
    labels={"app": "web", "version": "v1"},
    annotations={},
)
OTHER = PublishedEndpoint(pod=("default", "db"), ipv4="10.244.0.3", ipv6="fd00:10:244::3", ready=True, targets=(5432,))
OWN = PublishedEndpoint(pod=("default", "web"), ipv4="10.244.0.2", ipv6="fd00:10:244::2", ready=False, targets=(80,))


def annotated(**annotations: str) -> PodInfo:
    """Return the pod with annotations of sidelab.io."""
    told = {f"sidelab.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return PodInfo(**{name: getattr(POD, name) for name in POD.__struct_fields__} | {"annotations": told})


def service(
    *ports: PublishedPort, endpoints: tuple[PublishedEndpoint, ...] = (), ipv4: str = "10.96.0.11", ipv6: str = ""
) -> PublishedService:
    """Return a Service `web` of namespace default."""
    return PublishedService(
        namespace="default",
        name="web",
        ipv4=ipv4,
        ipv6=ipv6,
        ports=ports,
        endpoints=endpoints,
        families=("IPv4", "IPv6"),
    )


def tcp(name: str, port: int = 8080, app_protocol: str = "") -> PublishedPort:
    """Return a TCP port of a Service."""
    return PublishedPort(name=name, port=port, protocol="TCP", app_protocol=app_protocol)


@pytest.mark.parametrize(
    ("port", "protocol"),
    [
        (tcp(""), "auto"),
        (tcp("web"), "auto"),
        (tcp("http"), "http"),
        (tcp("http-web"), "http"),
        (tcp("HTTP-web"), "http"),
        (tcp("grpc-web-1"), "http"),
        (tcp("httpd"), "auto"),
        (tcp("http2-api"), "tcp"),
        (tcp("grpc-api"), "tcp"),
        (tcp("https"), "tcp"),
        (tcp("mongo-main"), "tcp"),
        (tcp("redis"), "tcp"),
        (tcp("tcp-raw"), "tcp"),
        (tcp("db", 3306), "tcp"),
        (tcp("http-db", 3306), "http"),
        (tcp("tcp-raw", app_protocol="http"), "http"),
        (tcp("http", app_protocol="kubernetes.io/h2c"), "tcp"),
        (tcp("tcp", app_protocol="kubernetes.io/ws"), "http"),
    ],
)
def test_a_ports_protocol_is_chosen_as_in_istio(port: PublishedPort, protocol: str):
    """The appProtocol decides, then the name's first word, then a well-known number; else the bytes will tell."""
    assert protocol == compute.protocol_of(port)


def test_only_ready_endpoints_with_the_port_are_dialled():
    """A pod that is not ready, or has no such port, is none of a Service's endpoints."""
    missing = PublishedEndpoint(pod=("default", "x"), ipv4="10.244.0.9", ipv6="", ready=True, targets=(0,))
    state = State(services=(service(tcp("http"), endpoints=(OWN, OTHER, missing)),))
    (found,) = compute.intent(POD, (), state).services
    expected = IntentServicePort(
        port=8080,
        name="http",
        protocol="http",
        endpoints=(Serving(address="10.244.0.3", port=5432, pod="default/db"),),
    )
    assert ("web.default.svc.cluster.local", ("10.96.0.11",), (expected,)) == (
        found.host,
        found.addresses,
        found.ports,
    )


@pytest.mark.parametrize(
    ("ipv6", "addresses"),
    [(True, ["10.244.0.3", "fd00:10:244::3"]), (False, ["10.244.0.3"])],
)
def test_a_headless_service_is_known_by_all_addresses_that_can_be_captured(ipv6: bool, addresses: list[str]):
    """What is dialled is an endpoint itself, in whichever family the rules capture."""
    state = State(services=(service(tcp("http"), endpoints=(OTHER,), ipv4=""),))
    (found,) = compute.intent(POD, (), state, Intent(ipv6=ipv6)).services
    assert ((), addresses) == (found.addresses, [each.address for each in found.ports[0].endpoints])


def test_udp_ports_are_no_business_of_a_proxy():
    """A Service's UDP port is left out."""
    state = State(services=(service(PublishedPort(name="dns", port=53, protocol="UDP"), tcp("http")),))
    (found,) = compute.intent(POD, (), state).services
    assert ["http"] == [each.name for each in found.ports]


def test_inbound_ports_come_from_services_and_containers():
    """A port that a Service leads to has its protocol, ready or not; another one of a container has none."""
    state = State(services=(service(tcp("http-web"), endpoints=(OWN,)),))
    expected = (
        InboundPort(port=80, protocol="http", service="web.default.svc.cluster.local"),
        InboundPort(port=9000, protocol="auto"),
    )
    assert expected == compute.intent(POD, (9000, 80), state).inbound


def test_annotations_are_orders():
    """Each annotation has its field, and what is not said is Istio's default."""
    pod = annotated(
        protocol="tcp",
        access_log="json",
        outbound_policy="REGISTRY_ONLY",
        detection_timeout="1.5s",
        concurrency="2",
        metrics="false",
    )
    found = compute.intent(pod, (80,), State())
    assert ("tcp", "json", "REGISTRY_ONLY", 1.5, 2, False, "tcp") == (
        found.protocol,
        found.access_log,
        found.outbound_policy,
        found.detection_timeout_s,
        found.concurrency,
        found.metrics,
        found.inbound[0].protocol,
    )
    assert Intent(workload=Workload(pod="web", app="web", version="v1")) == compute.intent(POD, (), State())


def test_a_ports_own_protocol_is_stronger_than_the_pods():
    """The annotation decides for what would otherwise be found out from the bytes."""
    state = State(services=(service(tcp("http-web"), tcp("other", 81)),))
    (found,) = compute.intent(annotated(protocol="tcp"), (), state).services
    assert ["http", "tcp"] == [each.protocol for each in found.ports]


def test_tproxy_is_an_annotation_or_the_rules():
    """Either the pod says so, or what the manifest has decided."""
    pod = PodInfo(
        **{name: getattr(POD, name) for name in POD.__struct_fields__} | {"annotations": {MODE.name: "TPROXY"}}
    )
    modes = [compute.intent(pod, (), State()).mode, compute.intent(POD, (), State(), Intent(mode="tproxy")).mode]
    assert ["tproxy", "tproxy"] == modes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("protocol", "udp"),
        ("access_log", "xml"),
        ("outbound_policy", "DENY"),
        ("detection_timeout", "0s"),
        ("detection_timeout", "5"),
        ("concurrency", "0"),
        ("concurrency", "two"),
        ("metrics", "yes"),
    ],
)
def test_a_wrong_annotation_is_named(name: str, value: str):
    """Annotation, value and what would be accepted are told."""
    with pytest.raises(InputError, match=f"sidelab.io/{name.replace('_', '-')}: '{value}' is not accepted here: give "):
        compute.intent(annotated(**{name: value}), (), State())


NAMES = st.sampled_from(["", "http", "tcp-x", "grpc", "web"])
PORTS = st.builds(
    PublishedPort,
    name=NAMES,
    port=st.integers(1, 65535),
    protocol=st.sampled_from(["TCP", "UDP"]),
    app_protocol=st.sampled_from(["", "http", "kubernetes.io/h2c"]),
)


@st.composite
def services(draw: st.DrawFn) -> PublishedService:
    """Return a Service with any number of ports and endpoints."""
    ports = tuple(draw(st.lists(PORTS, max_size=3)))
    targets = st.tuples(*(st.sampled_from([0, 80, 81]) for _ in ports))
    endpoint = st.builds(
        PublishedEndpoint,
        pod=st.sampled_from([("default", "web"), ("default", "db")]),
        ipv4=st.sampled_from(["", "10.244.0.3"]),
        ipv6=st.sampled_from(["", "fd00::3"]),
        ready=st.booleans(),
        targets=targets,
        hostname=st.just(""),
    )
    return PublishedService(
        namespace="default",
        name="web",
        ipv4=draw(st.sampled_from(["", "10.96.0.11"])),
        ipv6="",
        ports=ports,
        endpoints=tuple(draw(st.lists(endpoint, max_size=3))),
        families=draw(st.sampled_from([("IPv4",), ("IPv6",), ("IPv4", "IPv6")])),
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(services(), max_size=3), st.lists(st.integers(1, 65535), max_size=3))
def test_every_wish_survives_its_own_file(found: list[PublishedService], ports: list[int]):
    """An intent of any cluster reads back from its JSON as it was."""
    intent = compute.intent(POD, ports, State(services=tuple(found)))
    assert intent == Intent.from_json(intent.to_json())
