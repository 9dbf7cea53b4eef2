"""Injection: a pod becomes a pod with istio-init and istio-proxy in it. Pure: Manifest → Manifest.

An injected pod is just a pod; nothing that runs it knows of sidecars. Sources: istio.io/docs/reference/config/labels
and …/annotations; the injection template of istio/istio, manifests/charts/istio-control/istio-discovery/files.
"""

from collections.abc import Mapping
from dataclasses import replace

from msgspec import structs

from lab.errors import InputError
from lab.manifest import (
    Capabilities,
    Container,
    HTTPGet,
    Manifest,
    Metadata,
    Pod,
    Port,
    Probe,
    SecurityContext,
)
from sidecar.rules.options import PROFILES, WAYS
from sidecar.rules.options import QUIRKS as QUIRKS_OF_RULES

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
NAMESPACE_LABEL = "istio-injection"
PROXY = "sidelab.io/proxy"  # bundled | envoy | none
PROTOCOL = "sidelab.io/protocol"  # http | tcp
PROFILE = "sidelab.io/profile"  # istio | classic
RULES = "sidelab.io/rules"  # the way into the kernel: nft | iptables | iptables-legacy
QUIRKS = "sidelab.io/quirks"  # istio | none: whether the rules surprise as Istio's do

INIT_NAME, PROXY_NAME = "istio-init", "istio-proxy"
IMAGE = "docker.io/istio/proxyv2:1.31.0"
PROXY_UID = 1337

_PREFIX = "traffic.sidecar.istio.io/"
_KNOWN: dict[str, tuple[str, ...]] = {
    PROXY: ("bundled", "envoy", "none"),
    PROTOCOL: ("http", "tcp"),
    PROFILE: PROFILES,
    RULES: WAYS,
    QUIRKS: QUIRKS_OF_RULES,
}
# Ports of the sidecar itself that inbound capture leaves alone: metrics, health, and the agent's probes.
_OWN_PORTS = "15090,15021,15020"


def inject(manifest: Manifest, rules: str | None = None) -> Manifest:
    """Return `manifest` with every pod injected whose label, annotation or namespace asks for it; twice is as once.

    `rules` is the way into the kernel for pods whose annotation does not choose one. Raises `InputError` for an
    annotation, or a way, with a value that does not exist.
    """
    if rules is not None and rules not in WAYS:
        raise InputError(f"--rules: {rules!r} is no way into the kernel: give one of {', '.join(WAYS)}")
    enabled = {each.name for each in manifest.namespaces if each.metadata.labels.get(NAMESPACE_LABEL) == "enabled"}
    pods = tuple(inject_pod(pod) if _wanted(pod, enabled) else pod for pod in manifest.pods)
    if rules is not None:
        pods = tuple(_told(pod, rules) for pod in pods)
    return replace(manifest, pods=pods)


def _told(pod: Pod, rules: str) -> Pod:
    """Return `pod` with the annotation that chooses its way, if it has rules and no such annotation."""
    annotations = pod.metadata.annotations
    if RULES in annotations or not any(map(_has_rules, pod.spec.init_containers)):
        return pod
    return structs.replace(pod, metadata=structs.replace(pod.metadata, annotations={**annotations, RULES: rules}))


def _has_rules(container: Container) -> bool:
    return not container.command and container.args[:1] == ("istio-iptables",)


def _wanted(pod: Pod, enabled: set[str]) -> bool:
    """Return whether to inject: the pod's label decides, then its (deprecated) annotation, then the namespace."""
    metadata = pod.metadata
    if STATUS in metadata.annotations or any(each.name == PROXY_NAME for each in pod.spec.containers):
        return False
    word = metadata.labels.get(INJECT, metadata.annotations.get(INJECT))
    if word not in (None, "true", "false"):
        raise InputError(f"pod {pod.name}: {INJECT}: {word!r} is neither 'true' nor 'false' (quote it in YAML)")
    return pod.namespace in enabled if word is None else word == "true"


def inject_pod(pod: Pod) -> Pod:
    """Return `pod` with istio-init first among its init containers, and istio-proxy (unless `none`) last of all."""
    annotations = pod.metadata.annotations
    for name, accepted in _KNOWN.items():
        if annotations.get(name, accepted[0]) not in accepted:
            raise InputError(
                f"pod {pod.name}: annotation {name}: {annotations[name]!r} is not one of {', '.join(accepted)}"
            )
    proxies = () if annotations.get(PROXY) == "none" else (_proxy(),)
    spec = structs.replace(
        pod.spec,
        init_containers=(_init(annotations), *pod.spec.init_containers),
        containers=(*pod.spec.containers, *proxies),
    )
    return structs.replace(pod, metadata=_marked(pod.metadata), spec=spec)


def _marked(metadata: Metadata) -> Metadata:
    status = f'{{"initContainers":["{INIT_NAME}"],"containers":["{PROXY_NAME}"]}}'
    return structs.replace(metadata, annotations={**metadata.annotations, STATUS: status})


def _init(annotations: Mapping[str, str]) -> Container:
    return Container(
        name=INIT_NAME,
        image=IMAGE,
        args=("istio-iptables", *arguments(annotations)),
        security_context=SecurityContext(
            capabilities=Capabilities(add=("NET_ADMIN", "NET_RAW"), drop=("ALL",)), run_as_user=0, run_as_group=0
        ),
    )


def arguments(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Return istio-iptables' arguments as the injector writes them from a pod's annotations."""

    def said(name: str, default: str) -> str:
        return annotations.get(_PREFIX + name, default)

    excluded = said("excludeInboundPorts", "")
    flags = {
        "-p": "15001",
        "-z": "15006",
        "-u": str(PROXY_UID),
        "-m": annotations.get("sidecar.istio.io/interceptionMode", "REDIRECT"),
        "-i": said("includeOutboundIPRanges", "*"),
        "-x": said("excludeOutboundIPRanges", ""),
        "-b": said("includeInboundPorts", "*"),
        "-d": f"{_OWN_PORTS},{excluded}" if excluded else _OWN_PORTS,
    }
    optional = {
        "-q": said("includeOutboundPorts", ""),
        "-o": said("excludeOutboundPorts", ""),
        "-k": said("kubevirtInterfaces", ""),
        "-c": said("excludeInterfaces", ""),
    }
    flags |= {flag: value for flag, value in optional.items() if value}
    return tuple(word for flag in flags.items() for word in flag)


def _proxy() -> Container:
    return Container(
        name=PROXY_NAME,
        image=IMAGE,
        args=("proxy", "sidecar"),
        ports=(Port(name="http-envoy-prom", container_port=15090),),
        readiness_probe=Probe(
            http_get=HTTPGet(path="/healthz/ready", port=15021),
            period_seconds=15,
            timeout_seconds=3,
            failure_threshold=4,
        ),
        security_context=SecurityContext(run_as_user=PROXY_UID, run_as_group=PROXY_UID, run_as_non_root=True),
    )
