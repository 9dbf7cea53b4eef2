"""Arms as pods: the plan's arms and one manifest of two pods become a manifest in which every arm is alive. Pure.

Each arm is its own Kubernetes namespace with the same two pods, injected or not as the arm says, so the measured pods
differ only in their arm.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

from sidelab.bench.arms import explicit_proxy
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.lab.errors import InputError
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import Container, EnvVar, Manifest, Pod, PodSpec, Port, Probe, TCPSocket
from sidelab.lab.manifest.examples import example
from sidelab.lab.standins.nginx_answers import DELAY
from sidelab.sidecar import inject, pod_rules
from sidelab.sidecar.config import annotations as table
from sidelab.sidecar.config import proxy_annotations
from sidelab.sidecar.config.intent import Ports

_FIRST_UNUSED_PORT = 20_000
_FIRST_UNUSED_ADDRESS = IPv4Address("198.18.0.0")  # RFC 2544: a range for benchmarks, routed nowhere
_STARTUP_S = 30


@dataclass(frozen=True)
class ArmPods:
    """The keys (namespace, name) of an arm's two pods, and the port that its client dials."""

    client: PodKey
    server: PodKey
    port: int


class ArmTarget(NamedTuple):
    """The target of an arm's client: the server pod's address, a port, and a path."""

    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        """The target as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{self.path}"


def default_manifest() -> Path:
    """Return the manifest of the default lab: a server and a client."""
    return example("nginx.yaml")


def build(
    plan: Plan, base: Manifest, programs: Mapping[str, str] | None = None
) -> tuple[Manifest, Mapping[str, ArmPods]]:
    """Return the manifest of all arms, and each arm's pods by its name.

    `base` must have one server (the pod that names a port) and one client, else this raises `InputError`. The
    application's probes are removed: their requests would count as the client's, and disturb those that they collide
    with. The proxy's probes stay: they use a separate port, and show when it serves. `programs` are the paths of the
    proxies from git revisions, by the arms' name for them.
    """
    server, client = _roles(base)
    port = server.spec.containers[0].ports[0].container_port
    pods: list[Pod] = []
    arms: dict[str, ArmPods] = {}
    for arm in plan.arms:
        place = _Place(arm, port, programs or {})
        ends = (place.put(server, arm.server), place.put(client, arm.client))
        pods += ends
        dialled = Ports().inbound if arm.server == "explicit" else port
        arms[arm.name] = ArmPods(client=ends[1].key, server=ends[0].key, port=dialled)
    return Manifest(pods=tuple(pods), caveats=base.caveats), arms


def targets(plan: Plan, pods: Mapping[str, ArmPods], status: Mapping[str, Any]) -> dict[str, ArmTarget]:
    """Return the target of each arm's client; `status` is that of the lab (`Lab.status`)."""
    addresses = {(pod["namespace"], pod["name"]): {4: pod["ipv4"], 6: pod["ipv6"]} for pod in status["pods"]}
    return {
        arm.name: ArmTarget(addresses[pods[arm.name].server][arm.family], pods[arm.name].port, plan.path_of(arm))
        for arm in plan.arms
    }


def rule_digests(manifest: Manifest) -> dict[str, str]:
    """Return the digest of the rules of each pod that has rules, by `namespace/name`."""
    return {
        "/".join(pod.key): pod_rules.of_container(pod, container).ruleset.digest
        for pod in manifest.pods
        for container in pod.spec.init_containers
        if inject.is_istio_init(container)
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


@dataclass(frozen=True)
class _Place:
    """An arm's namespace; `port` is the application's."""

    arm: Arm
    port: int
    programs: Mapping[str, str]

    def put(self, pod: Pod, side: str) -> Pod:
        """Return `pod` in the namespace, without probes, injected as `side` says, whatever its own label."""
        labels = {name: value for name, value in pod.metadata.labels.items() if name != table.INJECT.name}
        annotations = {**pod.metadata.annotations, **dict(self._annotations(side, serves=bool(_ports(pod))))}
        metadata = structs.replace(pod.metadata, namespace=self.arm.name, labels=labels, annotations=annotations)
        placed = structs.replace(pod, metadata=metadata)
        if side in ("rules-only", "redirected", "injected"):
            placed = inject.inject_pod(placed)
        return structs.replace(placed, spec=self._spec(placed.spec, side))

    def _annotations(self, side: str, *, serves: bool) -> Iterator[tuple[str, str]]:
        """Yield the annotations that the arm sets on a side; for the rest, the pod's own count."""
        arm = self.arm
        if side in ("plain", "explicit"):
            return
        yield proxy_annotations.PROXY.name, "none" if side != "injected" else self.programs.get(arm.proxy, arm.proxy)
        captured = side == "injected"
        said = {
            table.RULES.name: arm.way if arm.way != "nft" else "",
            table.PROFILE.name: arm.profile if arm.profile != "istio" else "",
            proxy_annotations.PROTOCOL.name: arm.protocol if captured else "",
            proxy_annotations.ENVOY.name: arm.envoy if captured else "",
            proxy_annotations.PROXY_ARGS.name: arm.proxy_args if captured else "",
            proxy_annotations.MODE.name: "TPROXY" if captured and serves and arm.rules == "tproxy" else "",
        }
        own = (self.port,) if side == "rules-only" else ()
        if serves:
            unused = range(_FIRST_UNUSED_PORT, _FIRST_UNUSED_PORT + arm.extra_rules)
            said[table.EXCLUDE_INBOUND_PORTS.name] = ",".join(map(str, (*unused, *own)))
        else:
            said[table.EXCLUDE_OUTBOUND_PORTS.name] = ",".join(map(str, own))
            addresses = (f"{_FIRST_UNUSED_ADDRESS + number}/32" for number in range(arm.extra_rules))
            said[table.EXCLUDE_RANGES.name] = ",".join(addresses)
        yield from ((name, text) for name, text in said.items() if text)

    def _spec(self, spec: PodSpec, side: str) -> PodSpec:
        containers = [
            each if each.name == inject.PROXY_NAME else self._application(each, side) for each in spec.containers
        ]
        if side == "explicit":
            containers.append(explicit_proxy.container(self.port, self.arm.protocol))
        init = spec.init_containers
        if self.arm.family == 6:
            # istio-iptables detects IPv6 by itself; here it is set explicitly.
            init = tuple(
                structs.replace(each, args=(*each.args, "--enable-ipv6")) if inject.is_istio_init(each) else each
                for each in init
            )
        return structs.replace(spec, init_containers=init, containers=tuple(containers))

    def _application(self, container: Container, side: str) -> Container:
        container = structs.replace(container, readiness_probe=None, liveness_probe=None, startup_probe=None)
        if side == "redirected":
            # Redirected connections reach the server itself, which has a second port for them.
            second = Port(container_port=Ports().inbound)
            container = structs.replace(container, ports=(*container.ports, second))
        if self.arm.delay_us is not None and container.ports:
            spin = EnvVar(name=DELAY, value=f"{self.arm.delay_us:g}")
            container = structs.replace(container, env=(*container.env, spin))
        return container


def _ports(pod: Pod) -> tuple[Port, ...]:
    return pod.spec.containers[0].ports


def awaited(pod: Pod) -> Pod:
    """Return `pod` with a probe that waits for its first port to open, once: for a program without a ready signal."""
    first, *others = pod.spec.containers
    probe = Probe(
        tcp_socket=TCPSocket(port=first.ports[0].container_port), period_seconds=1, failure_threshold=_STARTUP_S
    )
    containers = (structs.replace(first, startup_probe=probe), *others)
    return structs.replace(pod, spec=structs.replace(pod.spec, containers=containers))
