"""What a lab will run, decided before anything is started: every image resolved, every variable known. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sidelab.lab.base.syscalls import CAPABILITIES
from sidelab.lab.errors import InputError
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import GRPC, Container, Exec, Handler, HTTPGet, Manifest, Pod, Probe, Sleep, TCPSocket
from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.manifest.registered import KnownKinds, problems
from sidelab.lab.plan.registry import Command, Hook, Registry, Standin
from sidelab.lab.plan.topology import PodAddress, plan

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOST_NAME_LENGTH = 63  # RFC 1123
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")


@dataclass(frozen=True)
class Process:
    """What to run and as which user; `capabilities` are names without CAP_, `cwd` "" is the fork server's directory."""

    program: Command | Standin
    uid: int
    gid: int
    env: tuple[tuple[str, str], ...]
    capabilities: tuple[str, ...] = ()
    cwd: str = ""


@dataclass(frozen=True)
class PlannedCheck:
    """A probe or hook to carry out: `address` is host and port for the handlers that have one, else ("", 0)."""

    handler: HTTPGet | TCPSocket | GRPC | Exec | Sleep
    address: tuple[str, int]


@dataclass(frozen=True)
class ProbePlan:
    """A probe with its address; `timing` is the probe as in the manifest."""

    check: PlannedCheck
    timing: Probe


@dataclass(frozen=True)
class ContainerPlan:
    """One container: its process, or the hook that stands for it, its probes and its lifecycle hooks.

    `sidecar` marks a native sidecar among init containers.
    """

    name: str
    image: str
    run: Process | Hook
    startup: ProbePlan | None = None
    liveness: ProbePlan | None = None
    readiness: ProbePlan | None = None
    post_start: PlannedCheck | None = None
    pre_stop: PlannedCheck | None = None
    sidecar: bool = False


@dataclass(frozen=True)
class PodPlan:
    """One pod, ready to be built."""

    key: PodKey
    address: PodAddress
    hostname: str
    init: tuple[ContainerPlan, ...]
    containers: tuple[ContainerPlan, ...]
    restart_policy: str
    grace_s: float
    source: Pod  # what it is built from
    shares_processes: bool = False  # its containers see each other's


@dataclass(frozen=True)
class Blueprint:
    """A whole lab; `manifest` is its source, with the pods of Deployments; `kinds` are the kinds of objects."""

    pods: tuple[PodPlan, ...]
    caveats: tuple[str, ...]
    manifest: Manifest = field(default_factory=Manifest)
    kinds: KnownKinds = OWN

    @property
    def preloads(self) -> tuple[tuple[str, ...], ...]:
        """Return the sets of modules that fork servers import, each once, including the empty one for commands."""
        sets: dict[tuple[str, ...], None] = {(): None}
        for pod in self.pods:
            for container in (*pod.init, *pod.containers):
                if isinstance(container.run, Process) and isinstance(container.run.program, Standin):
                    sets[container.run.program.preload] = None
        return tuple(sets)


def draw(manifest: Manifest, registry: Registry, kinds: KnownKinds = OWN) -> Blueprint:
    """Resolve every container of `manifest` and of the pods that its Deployments stand for.

    Raises `InputError` for an image without a stand-in, an unknown capability, an unsupported hook, more pods than
    there are addresses, or, with all problems, for objects of `kinds` that are wrong or contradict each other.
    """
    manifest = manifest.expanded()
    if wrong := problems(manifest.objects, manifest, kinds):
        raise InputError("\n".join(wrong))
    addresses = plan(manifest).by_key()
    return Blueprint(
        tuple(_pod(pod, addresses[pod.key], registry) for pod in manifest.pods),
        manifest.caveats,
        manifest,
        kinds,
    )


def _pod(pod: Pod, address: PodAddress, registry: Registry) -> PodPlan:
    def resolve(containers: Sequence[Container], *, init: bool) -> tuple[ContainerPlan, ...]:
        return tuple(_container(pod, each, address, registry, init=init) for each in containers)

    return PodPlan(
        key=pod.key,
        address=address,
        hostname=_hostname(pod),
        init=resolve(pod.spec.init_containers, init=True),
        containers=resolve(pod.spec.containers, init=False),
        restart_policy=pod.spec.restart_policy,
        shares_processes=pod.spec.share_process_namespace,
        grace_s=pod.spec.termination_grace_period_seconds,
        source=pod,
    )


def _container(pod: Pod, container: Container, address: PodAddress, registry: Registry, *, init: bool) -> ContainerPlan:
    program = registry.program(pod, container)
    run: Process | Hook
    if isinstance(program, Hook):
        if not init or container.is_sidecar:
            raise InputError(
                f"pod {pod.name}: container {container.name}: {container.image} with these arguments ends when its "
                "work is done: make it an ordinary init container"
            )
        run = program
    else:
        contexts = (container.security_context, pod.spec.security_context)
        env = _environment(pod, container, address)
        if isinstance(program, Command):
            program = Command(tuple(_expanded(word, env) for word in program.argv), program.env)
        run = Process(
            program=program,
            uid=_first(each.run_as_user for each in contexts),
            gid=_first(each.run_as_group for each in contexts),
            env=tuple(env.items()),
            capabilities=_capabilities(pod, container),
            cwd=container.working_dir or "",
        )
    probes = {
        name: ProbePlan(_check(probe, container, address), probe) if probe is not None else None
        for name, probe in (
            ("startup", container.startup_probe),
            ("liveness", container.liveness_probe),
            ("readiness", container.readiness_probe),
        )
    }
    hooks = {name: _hook(pod, container, name, hook, address) for name, hook in container.hooks.items()}
    return ContainerPlan(
        name=container.name,
        image=container.image,
        run=run,
        post_start=hooks.get("lifecycle.postStart"),
        pre_stop=hooks.get("lifecycle.preStop"),
        sidecar=container.is_sidecar,
        **probes,
    )


def _hook(pod: Pod, container: Container, name: str, hook: Handler, address: PodAddress) -> PlannedCheck:
    if hook.tcp_socket is not None:
        raise InputError(
            f"pod {pod.name}: container {container.name}: {name}.tcpSocket: Kubernetes accepts it, and then it fails "
            "on every node: use httpGet or exec"
        )
    return _check(hook, container, address)


def _check(asked: Probe | Handler, container: Container, address: PodAddress) -> PlannedCheck:
    handler = asked.handler
    host = handler.host if isinstance(handler, (HTTPGet, TCPSocket)) else ""
    if asked.port is None:
        return PlannedCheck(handler, ("", 0))
    return PlannedCheck(handler, (host or address.ipv4, container.port_number(asked.port)))


def _first(values: Iterable[int | None]) -> int:
    return next((value for value in values if value is not None), 0)


def _environment(pod: Pod, container: Container, address: PodAddress) -> dict[str, str]:
    env = {"PATH": _PATH, "HOME": "/", "HOSTNAME": _hostname(pod)}
    fields = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.podIP": address.ipv4,
    }
    for variable in container.env:
        if variable.value_from is not None:
            env[variable.name] = fields[variable.value_from.field_ref.field_path]
        else:
            env[variable.name] = _expanded(variable.value, env)
    return env


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """Return `text` with `$(NAME)` replaced as Kubernetes does: unknown names stay, `$$` is a dollar."""
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else env.get(found[1], found[0]), text)


def _hostname(pod: Pod) -> str:
    """Return the pod's host name; like the kubelet, shorten a name that is too long for a host."""
    return (pod.spec.hostname or pod.name)[:_HOST_NAME_LENGTH].rstrip("-.")


def _capabilities(pod: Pod, container: Container) -> tuple[str, ...]:
    names = container.security_context.capabilities.add
    for name in names:
        if name not in CAPABILITIES:
            raise InputError(
                f"pod {pod.name}: container {container.name}: securityContext.capabilities.add: "
                f"{name!r} is no capability: see capabilities(7) for their names, without CAP_"
            )
    return names
