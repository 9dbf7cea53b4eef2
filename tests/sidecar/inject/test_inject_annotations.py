"""What a pod's annotations can say about its sidecar, and how mistakes in them are told."""

import json

import pytest
from injecting import PLAIN, deployment, injected, options, proxy, variables

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest
from sidelab.sidecar import inject
from sidelab.sidecar.interception.options.options import Options

TRAFFIC = "traffic.sidecar.istio.io/"


@pytest.mark.parametrize(
    ("annotation", "flag", "value"),
    [
        ("includeInboundPorts: '80,443'", "-b", "80,443"),
        ("includeInboundPorts: ''", "-b", ""),
        ("excludeInboundPorts: '8080,9090'", "-d", "15090,15021,8080,9090,15020"),
        ("excludeInboundPorts: '15020'", "-d", "15090,15021,15020"),
        ("includeOutboundIPRanges: '10.0.0.0/8,fd00::/8'", "-i", "10.0.0.0/8,fd00::/8"),
        ("excludeOutboundIPRanges: '1.1.1.1/32'", "-x", "1.1.1.1/32"),
        ("includeOutboundPorts: '3306'", "-q", "3306"),
        ("excludeOutboundPorts: '5432'", "-o", "5432"),
        ("excludeInterfaces: 'net1,net2'", "-c", "net1,net2"),
        ("kubevirtInterfaces: k6t-eth0", "-k", "k6t-eth0"),
        ("includeInboundPorts: '80, 443'", "-b", "80, 443"),
        ("excludeInboundPorts: ' 8080 ,15020 '", "-d", "15090,15021,8080,15020"),
        ("excludeOutboundPorts: '5432, 6379'", "-o", "5432, 6379"),
        ("excludeInboundPorts: ' '", "-d", "15090,15021,15020"),
        ("excludeInterfaces: 'net1, net2'", "-c", "net1, net2"),
    ],
)
def test_traffic_annotations_become_options(annotation: str, flag: str, value: str) -> None:
    """Each is one of istio-iptables' flags, which understands what it is given."""
    found = options(injected(TRAFFIC + annotation))

    assert value == found[flag]
    assert Options.from_args([word for pair in found.items() for word in pair])


def test_what_nobody_says_is_not_there() -> None:
    """Options without an annotation are those that Istio always writes."""
    assert ["-p", "-z", "-u", "-m", "-i", "-x", "-b", "-d"] == list(options(injected()))


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        (f"{TRAFFIC}excludeInboundPorts: '80,http'", "excludeInboundPorts: 'http' is not accepted here: give a port"),
        (f"{TRAFFIC}includeInboundPorts: '70000'", "includeInboundPorts: '70000'"),
        (f"{TRAFFIC}includeInboundPorts: ' *'", "includeInboundPorts: '*' is not accepted here: give a port"),
        (f"{TRAFFIC}includeInboundPorts: '80,*'", "includeInboundPorts: '*'"),
        (f"{TRAFFIC}excludeInboundPorts: '*'", "excludeInboundPorts: '*'"),
        (f"{TRAFFIC}excludeOutboundPorts: '80,'", "excludeOutboundPorts: ''"),
        (f"{TRAFFIC}excludeOutboundPorts: '80,, 90'", "excludeOutboundPorts: ''"),
        (f"{TRAFFIC}includeOutboundPorts: '80 90'", "includeOutboundPorts: '80 90'"),
        (f"{TRAFFIC}includeOutboundIPRanges: '10.0.0.0/8, 10.1.0.0/16'", "includeOutboundIPRanges: ' 10.1.0.0/16'"),
        (f"{TRAFFIC}includeOutboundIPRanges: '10.0.0.0/8,'", "includeOutboundIPRanges: ''"),
        (f"{TRAFFIC}excludeOutboundIPRanges: '*'", "excludeOutboundIPRanges: '*' is not accepted here: give IP ranges"),
        (f"{TRAFFIC}includeOutboundIPRanges: 10.0.0.1", "includeOutboundIPRanges: '10.0.0.1'"),
        (f"{TRAFFIC}excludeInterfaces: 'eth0;reboot'", "excludeInterfaces: 'eth0;reboot'"),
        (
            "sidecar.istio.io/interceptionMode: tproxy",
            "interceptionMode: 'tproxy' is not accepted here: give one of REDIRECT, TPROXY, NONE",
        ),
        ("sidecar.istio.io/rewriteAppHTTPProbers: 'no'", "rewriteAppHTTPProbers: 'no'"),
        ("sidecar.istio.io/nativeSidecar: auto", "nativeSidecar: 'auto' is not accepted here: give true or false"),
        ("sidecar.istio.io/proxyCPU: lots", "proxyCPU: 'lots' is not accepted here: give a quantity such as 100m"),
        ("sidecar.istio.io/proxyImage: 'a b'", "proxyImage: 'a b'"),
        ("status.sidecar.istio.io/port: '-1'", "status.sidecar.istio.io/port: '-1'"),
        ("readiness.status.sidecar.istio.io/periodSeconds: '0'", "periodSeconds: '0'"),
        ("sidelab.io/proxy: squid", "sidelab.io/proxy: 'squid'"),
        ("sidelab.io/proxy: ./haproxy", "sidelab.io/proxy: './haproxy'"),
        ("sidelab.io/protocol: udp", "sidelab.io/protocol: 'udp' is not accepted here: give one of auto, http, tcp"),
        ("sidelab.io/access-log: xml", "sidelab.io/access-log: 'xml'"),
        ("sidelab.io/outbound-policy: DENY", "sidelab.io/outbound-policy: 'DENY'"),
        (
            "sidelab.io/detection-timeout: '100'",
            "sidelab.io/detection-timeout: '100' is not accepted here: give a duration",
        ),
        ("sidelab.io/concurrency: '0'", "sidelab.io/concurrency: '0'"),
        ("sidelab.io/envoy: newest", "sidelab.io/envoy: 'newest' is not accepted here: give the absolute path"),
        ("sidelab.io/metrics: 'yes'", "sidelab.io/metrics: 'yes'"),
        ("sidelab.io/profile: modern", "sidelab.io/profile: 'modern' is not accepted here: give one of istio, classic"),
    ],
)
def test_a_mistake_is_told_with_the_annotations_name(annotation: str, problem: str) -> None:
    """The message begins with the pod and names the annotation, what it says, and what it may say."""
    with pytest.raises(InputError) as error:
        injected(annotation)

    assert str(error.value).startswith("pod web: annotation ")
    assert problem in str(error.value)


@pytest.mark.parametrize(
    "annotation",
    [
        "sidelab.io/proxy: /usr/sbin/haproxy, sidelab.io/proxy-args: '-f x'",
        "sidelab.io/envoy: /opt/envoy",
        "sidelab.io/envoy: 1.35.0",
        "sidelab.io/detection-timeout: 100ms, sidelab.io/access-log: json, sidelab.io/outbound-policy: REGISTRY_ONLY",
        "sidelab.io/protocol: auto, sidelab.io/concurrency: '2', sidelab.io/metrics: 'false'",
    ],
)
def test_annotations_of_the_lab_are_kept(annotation: str) -> None:
    """They are for whoever runs the pod, so injection only checks them."""
    said = injected(annotation).metadata.annotations

    assert [name for name in said if name.startswith("sidelab.io/")] == [
        each.split(":")[0] for each in annotation.split(", ")
    ]


def test_annotations_that_change_in_a_running_pod() -> None:
    """What the proxy follows at once; all others need a new pod."""
    said = {"access-log", "outbound-policy", "protocol", "detection-timeout"}

    assert {f"sidelab.io/{name}" for name in said} == inject.LIVE


def test_resources_are_istios_or_the_annotations() -> None:
    """Without annotations the sidecar gets what Istio's charts give it; with one, only what is said."""
    default = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2000m", "memory": "1024Mi"}}
    said = injected("sidecar.istio.io/proxyCPU: 10m, sidecar.istio.io/proxyMemoryLimit: 64Mi")

    assert default == proxy(injected()).resources == injected().container("istio-init").resources
    assert {"requests": {"cpu": "10m"}, "limits": {"memory": "64Mi"}} == proxy(said).resources


@pytest.mark.parametrize(
    ("annotation", "image"),
    [("", inject.IMAGE), ("registry.example/istio/proxyv2:1", "registry.example/istio/proxyv2:1")],
)
def test_the_image_may_be_another(annotation: str, image: str) -> None:
    """Both containers use the annotation's image."""
    pod = injected(f"sidecar.istio.io/proxyImage: {annotation}" if annotation else "")

    assert [image, image] == [pod.container(name).image for name in ("istio-init", "istio-proxy")]


def test_readiness_follows_its_annotations() -> None:
    """Istio lets them be changed one by one."""
    said = ", ".join(f"readiness.status.sidecar.istio.io/{x}: '9'" for x in ("periodSeconds", "failureThreshold"))
    probe = proxy(injected(said)).probes["readinessProbe"]

    assert (0, 9, 9) == (probe.initial_delay_seconds, probe.period_seconds, probe.failure_threshold)


CONFIG = "proxy.istio.io/config"


def configured(text: str) -> inject.Choices:
    """Return what the annotation with this YAML chooses."""
    return inject.choices("pod web", {CONFIG: text})


def test_the_proxys_configuration_is_handed_on() -> None:
    """All that the annotation says is in PROXY_CONFIG, as JSON."""
    text = "'{concurrency: 2, terminationDrainDuration: 1m30s, holdApplicationUntilProxyStarts: true}'"
    found = variables(proxy(injected(f"{CONFIG}: {text}")))
    config = {"concurrency": 2, "terminationDrainDuration": "1m30s", "holdApplicationUntilProxyStarts": True}

    assert config == json.loads(found["PROXY_CONFIG"])
    choices = configured("{concurrency: 2, terminationDrainDuration: 1m30s, statusPort: 1}")
    assert (2, 90.0, 1) == (choices.config.concurrency, choices.config.drain_s, choices.agent_port)


def test_metadata_is_both_containers_environment() -> None:
    """So DNS is captured by the rules and answered by the agent; a variable of injection's own is overruled."""
    text = "\"proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true', TRUST_DOMAIN: example.org}\""
    pod = injected(f"{CONFIG}: {text}")
    both = [variables(pod.container(name)) for name in ("istio-init", "istio-proxy")]

    assert ["true", "true"] == [each["ISTIO_META_DNS_CAPTURE"] for each in both]
    assert ["example.org", "example.org"] == [each["TRUST_DOMAIN"] for each in both]
    assert Options.from_args(pod.container("istio-init").args[1:], both[0]).redirect_dns


@pytest.mark.parametrize(
    ("annotation", "mode"),
    [
        (f"{CONFIG}: 'interceptionMode: TPROXY'", "TPROXY"),
        (f"{CONFIG}: 'interceptionMode: TPROXY', sidecar.istio.io/interceptionMode: REDIRECT", "REDIRECT"),
    ],
)
def test_what_the_configuration_chooses_is_written_down(annotation: str, mode: str) -> None:
    """Mode and concurrency become the annotations that say the same, which win where they are there."""
    pod = injected(annotation)

    assert mode == options(pod)["-m"] == pod.metadata.annotations["sidecar.istio.io/interceptionMode"]


def test_concurrency_is_written_down() -> None:
    """The proxy's number of workers is one annotation, wherever it was said."""
    pod = injected(f"{CONFIG}: 'concurrency: 3'")

    assert "3" == pod.metadata.annotations["sidelab.io/concurrency"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("concurrency: two", "concurrency: 'two' is not accepted: write a number from 0 to 1024"),
        ("concurrency: true", "concurrency: True"),
        ("holdApplicationUntilProxyStarts: 'true'", "write true or false, without quotes"),
        ("proxyMetadata: {A: true}", "proxyMetadata.A: True is not accepted: write text, in quotes"),
        ("proxyMetadata: [A]", "proxyMetadata: ['A']"),
        ("proxyMetadata: {A=B: ''}", "proxyMetadata: 'A=B' is no variable name"),
        ("terminationDrainDuration: soon", "terminationDrainDuration: 'soon'"),
        ("terminationDrainDuration: 5", "terminationDrainDuration: 5 is not accepted: write a duration"),
        ("interceptionMode: NONE", "interceptionMode: 'NONE'"),
        ("- concurrency", "it must be fields of ProxyConfig"),
        ("a: b\n---\nc: d", "it must be fields of ProxyConfig"),
        ("concurrency: [", "not YAML"),
        ("a: &b 1", "the anchor &b is not accepted"),
    ],
)
def test_a_mistake_in_the_configuration_is_told(text: str, problem: str) -> None:
    """The message names pod, annotation, field and cure."""
    with pytest.raises(InputError) as error:
        configured(text)

    assert str(error.value).startswith(f"pod web: annotation {CONFIG}")
    assert problem in str(error.value)


def test_an_empty_configuration_is_none() -> None:
    """As Istio reads it, an annotation without text changes nothing."""
    assert configured("") == inject.choices("pod web", {})


def test_mistakes_in_templates_name_the_deployment() -> None:
    """A Deployment's template is checked as a pod is."""
    made = deployment()
    metadata = {"sidecar.istio.io/interceptionMode": "no"}
    with pytest.raises(InputError, match="deployment shop: annotation sidecar"):
        inject.choices(f"deployment {made.name}", metadata)


def test_a_template_is_told_the_way_as_well() -> None:
    """`--rules` reaches a Deployment's pods, and an annotation wins over it."""
    (told,) = inject.inject(Manifest(deployments=(deployment(),)), "iptables").deployments
    own = injected("sidelab.io/rules: iptables-legacy", PLAIN)

    assert "iptables" == told.spec.template.metadata.annotations["sidelab.io/rules"]
    assert "sidelab.io/rules" not in told.metadata.annotations
    assert "iptables-legacy" == own.metadata.annotations["sidelab.io/rules"]
