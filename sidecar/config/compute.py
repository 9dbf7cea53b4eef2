"""Makes the `Intent` for a pod's proxy from the pod's metadata, its ports and the cluster's Services. Pure.

It runs in the agent, in every meshed pod and at every change, so it depends neither on manifests nor on injection.
Protocols are chosen as in Istio: istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection and
pkg/config/kube/conversion.go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from sidelab.lab.cluster.addresses import DOMAIN
from sidelab.lab.cluster.podinfo import PodInfo
from sidelab.lab.cluster.state import PublishedEndpoint as ClusterEndpoint
from sidelab.lab.cluster.state import PublishedPort as ClusterPort
from sidelab.lab.cluster.state import PublishedService as ClusterService
from sidelab.lab.cluster.state import State
from sidelab.lab.keys import PodKey
from sidelab.sidecar.config import proxy_annotations
from sidelab.sidecar.config.intent import (
    InboundPort,
    Intent,
    IntentEndpoint,
    IntentService,
    IntentServicePort,
    Protocol,
    Workload,
)

_WORDS: Mapping[str, Protocol] = {
    **dict.fromkeys(("http", "http_proxy", "grpc-web"), "http"),
    # HTTP/2 and encrypted traffic are forwarded as bytes.
    **dict.fromkeys(("tcp", "http2", "grpc", "https", "tls", "hbone", "mongo", "mysql", "redis"), "tcp"),
}
_STANDARD = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_SERVER_FIRST_PORTS = {25, 53, 3306, 27017}  # Istio's wellKnownPorts: SMTP, DNS, MySQL, MongoDB

_BASE = Intent()


def intent(pod: PodInfo, ports: Sequence[int], state: State, base: Intent = _BASE) -> Intent:
    """Return what the proxy of `pod` must do.

    `ports` are the TCP ports that its containers declare. `base` is decided once, by the pod's manifest: ports,
    time-outs, whether IPv6 is captured too, and, unless annotations set them, mode and concurrency. Raises `InputError`
    for an annotation that is wrong.
    """
    said = pod.annotations
    protocol = proxy_annotations.PROTOCOL.read(said)
    families = _Families(ipv4=bool(pod.ipv4), ipv6=base.ipv6 and bool(pod.ipv6))
    return structs.replace(
        base,
        workload=Workload(
            pod=pod.name,
            namespace=pod.namespace,
            service_account=pod.service_account,
            app=pod.labels.get("app", pod.labels.get("app.kubernetes.io/name", "")),
            version=pod.labels.get("version", pod.labels.get("app.kubernetes.io/version", "")),
        ),
        protocol=protocol,
        mode="tproxy" if proxy_annotations.MODE.text(said) == "TPROXY" else base.mode,
        ipv6=families.ipv6,
        outbound_policy=proxy_annotations.OUTBOUND_POLICY.read(said),
        services=tuple(_service(each, protocol, families) for each in state.services),
        inbound=tuple(_inbound((pod.namespace, pod.name), ports, state, protocol)),
        concurrency=proxy_annotations.CONCURRENCY.given(said) or base.concurrency,
        detection_timeout_s=proxy_annotations.DETECTION_TIMEOUT.read(said),
        access_log=proxy_annotations.ACCESS_LOG.read(said),
        metrics=proxy_annotations.METRICS.read(said) == "true",
    )


def protocol_of(port: ClusterPort) -> Protocol:
    """Return the protocol of a Service's port: by appProtocol, else by the first word of its name, else by number."""
    word = (port.app_protocol or port.name).lower()
    word = _STANDARD.get(word, word)
    word = "grpc-web" if word.startswith("grpc-web") else word.partition("-")[0]
    return _WORDS.get(word, "tcp" if port.port in _SERVER_FIRST_PORTS else "auto")


def host_of(service: ClusterService) -> str:
    """Return a Service's full name."""
    return f"{service.name}.{service.namespace}.svc.{DOMAIN}"


@dataclass(frozen=True)
class _Families:
    """The address families in which a pod's outbound traffic is captured."""

    ipv4: bool
    ipv6: bool

    def of(self, ipv4: str, ipv6: str, offered: Sequence[str]) -> tuple[str, ...]:
        """Return those of the two addresses whose family is captured and offered by the Service."""
        wanted = ((ipv4, self.ipv4 and "IPv4" in offered), (ipv6, self.ipv6 and "IPv6" in offered))
        return tuple(address for address, meant in wanted if address and meant)


def _service(service: ClusterService, default: Protocol, families: _Families) -> IntentService:
    ports = (_service_port(service, index, default, families) for index in range(len(service.ports)))
    return IntentService(
        host=host_of(service),
        addresses=families.of(service.ipv4, service.ipv6, service.families),
        ports=tuple(each for each in ports if each is not None),
    )


def _service_port(
    service: ClusterService, index: int, default: Protocol, families: _Families
) -> IntentServicePort | None:
    port = service.ports[index]
    if port.protocol != "TCP":
        return None
    ready = [each for each in service.endpoints if each.ready and each.targets[index]]
    endpoints = [
        IntentEndpoint(address=address, port=each.targets[index], pod="/".join(each.pod))
        for each in ready
        for address in _dialled(service, each, families)
    ]
    protocol = _default(protocol_of(port), default)
    return IntentServicePort(port=port.port, name=port.name, protocol=protocol, endpoints=tuple(endpoints))


def _dialled(service: ClusterService, endpoint: ClusterEndpoint, families: _Families) -> tuple[str, ...]:
    """Return one address of a pod, preferably IPv4; all of them for a headless Service, which is dialled by these."""
    addresses = families.of(endpoint.ipv4, endpoint.ipv6, service.families)
    return addresses[:1] if service.ipv4 or service.ipv6 else addresses


def _inbound(key: PodKey, ports: Sequence[int], state: State, default: Protocol) -> list[InboundPort]:
    """Return the pod's ports in order: those that Services lead to (the first Service decides), and its own."""
    found: dict[int, InboundPort] = {}
    for service in state.services:
        for endpoint in service.endpoints:
            if endpoint.pod != key:
                continue
            for port, target in zip(service.ports, endpoint.targets, strict=True):
                if target and port.protocol == "TCP" and target not in found:
                    protocol = _default(protocol_of(port), default)
                    found[target] = InboundPort(port=target, protocol=protocol, service=host_of(service))
    for number in ports:
        if number not in found:
            found[number] = InboundPort(port=number, protocol=default)
    return [found[number] for number in sorted(found)]


def _default(protocol: Protocol, default: Protocol) -> Protocol:
    return default if protocol == "auto" else protocol
