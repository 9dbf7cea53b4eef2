"""Arms as pods: the plan's arms and one manifest of two pods become a manifest in which every arm is alive. Pure.

Each arm is a Kubernetes namespace of its own with the same two pods, injected or not as the arm says, so the pods that
are measured differ in nothing but their arm.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from bench.plan import Arm, Plan
from lab.errors import InputError
from lab.manifest import Manifest, Pod
from sidecar import inject, podrules

_EXCLUDE = "traffic.sidecar.istio.io/excludeInboundPorts"


@dataclass(frozen=True)
class ArmPods:
    """The keys (namespace, name) of an arm's two pods, and the port that its client asks."""

    client: tuple[str, str]
    server: tuple[str, str]
    port: int


def default_manifest() -> Path:
    """Return where the manifest of the default lab is: in the checkout, or where the installed package has it."""
    installed = Path(__file__).parent / "examples" / "nginx.yaml"
    return installed if installed.exists() else Path(__file__).parent.parent / "examples" / "nginx.yaml"


def build(plan: Plan, base: Manifest) -> tuple[Manifest, Mapping[str, ArmPods]]:
    """Return the manifest of all arms, and each arm's pods by its name.

    `base` has one server (the pod that names a port) and one client. The application's probes are taken out: their
    requests would be counted with the client's, and be measured where they collide. The proxy's go to a port of its
    own, and tell when it serves. Raises `InputError` for another `base`.
    """
    server, client = _roles(base)
    port = server.spec.containers[0].ports[0].container_port
    pods: list[Pod] = []
    arms: dict[str, ArmPods] = {}
    for arm in plan.arms:
        ends = (_placed(server, arm, arm.server, port), _placed(client, arm, arm.client, port))
        pods += ends
        arms[arm.name] = ArmPods(client=ends[1].key, server=ends[0].key, port=port)
    return Manifest(pods=tuple(pods), caveats=base.caveats), arms


def rule_digests(manifest: Manifest) -> dict[str, str]:
    """Return the digest of the rules of each pod that has some, by `namespace/name`."""
    return {
        "/".join(pod.key): podrules.of_container(pod, container).ruleset.digest
        for pod in manifest.pods
        for container in pod.spec.init_containers
        if container.name == inject.INIT_NAME
    }


def _roles(base: Manifest) -> tuple[Pod, Pod]:
    servers = [pod for pod in base.pods if pod.spec.containers[0].ports]
    clients = [pod for pod in base.pods if not pod.spec.containers[0].ports]
    if len(servers) != 1 or len(clients) != 1:
        raise InputError(
            f"a benchmark's manifest has one server (a pod that names a containerPort) and one client; "
            f"this one has {len(servers)} and {len(clients)}: see examples/nginx.yaml"
        )
    return servers[0], clients[0]


def _placed(pod: Pod, arm: Arm, side: str, port: int) -> Pod:
    """Return `pod` in the arm's namespace, without probes, injected as `side` says whatever its own label says."""
    labels = {name: value for name, value in pod.metadata.labels.items() if name != inject.INJECT}
    annotations = dict(pod.metadata.annotations)
    if side == "injected":
        annotations |= {inject.PROXY: arm.proxy, inject.PROTOCOL: arm.protocol}
    elif side == "rules-only":
        annotations |= {inject.PROXY: "none", _EXCLUDE: str(port)}
    metadata = structs.replace(pod.metadata, namespace=arm.name, labels=labels, annotations=annotations)
    placed = structs.replace(pod, metadata=metadata)
    if side != "plain":
        placed = inject.inject_pod(placed)
    containers = tuple(
        each if each.name == inject.PROXY_NAME else structs.replace(each, readiness_probe=None)
        for each in placed.spec.containers
    )
    return structs.replace(placed, spec=structs.replace(placed.spec, containers=containers))
