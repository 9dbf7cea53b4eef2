"""The Pod: containers, ports, environment and identities, with Kubernetes' defaults.

Types mirror the Kubernetes API (core/v1), in snake_case; which fields have an effect is said in `lab.manifest.fields`.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from sidelab.lab.manifest import checks, fields
from sidelab.lab.manifest.checks import FieldError
from sidelab.lab.manifest.kinds import PROTOCOLS, Object, Part
from sidelab.lab.manifest.pod_dns import DNS_POLICIES, DNSConfig, HostAlias
from sidelab.lab.manifest.probe import Handler, Lifecycle, Probe

# What a variable can take from its pod. The others of the downward API need a cluster to have a value.
FIELD_PATHS = ("metadata.name", "metadata.namespace", "spec.serviceAccountName", "status.podIP")

_CAPABILITY = re.compile(r"[A-Z][A-Z_]*")


class Port(Part, frozen=True, kw_only=True):
    """A port that a container says it listens on."""

    rows: ClassVar[fields.Rows] = fields.CONTAINER_PORT
    name: str = ""
    container_port: int
    protocol: str = "TCP"

    def __post_init__(self) -> None:
        if self.name:
            checks.port_name("name", self.name)
        checks.port_number("containerPort", self.container_port)
        checks.choice("protocol", self.protocol, PROTOCOLS)


class FieldRef(Part, frozen=True, kw_only=True):
    """A field of the pod: one of `FIELD_PATHS`."""

    api_version: str = "v1"
    field_path: str

    def __post_init__(self) -> None:
        checks.choice("fieldPath", self.field_path, FIELD_PATHS, "; or write the `value`")


class EnvSource(Part, frozen=True, kw_only=True):
    """Where a variable's value comes from."""

    rows: ClassVar[fields.Rows] = fields.ENV_SOURCE
    field_ref: FieldRef


class EnvVar(Part, frozen=True, kw_only=True):
    """An environment variable: `value`, or `value_from`."""

    name: str
    value: str = ""
    value_from: EnvSource | None = None

    def __post_init__(self) -> None:
        checks.env_name("name", self.name)
        if self.value and self.value_from:
            raise FieldError("valueFrom", "there is a `value` too; remove one of them")


class Capabilities(Part, frozen=True, kw_only=True):
    """Capabilities by their names without CAP_."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in (("add", self.add), ("drop", self.drop)):
            for index, value in enumerate(values):
                if not _CAPABILITY.fullmatch(value) or value.startswith("CAP_"):
                    problem = f"{checks.shown(value)} is no capability; write it like NET_ADMIN"
                    raise FieldError(f"{name}[{index}]", problem)


class _Identity(Part, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None

    def __post_init__(self) -> None:
        checks.user_id("runAsUser", self.run_as_user)
        checks.user_id("runAsGroup", self.run_as_group)


class PodSecurityContext(_Identity, frozen=True, kw_only=True):
    """The user and group of a pod's containers that do not set their own."""

    rows: ClassVar[fields.Rows] = fields.POD_SECURITY_CONTEXT


class SecurityContext(_Identity, frozen=True, kw_only=True):
    """The user and group of a container, and its capabilities."""

    rows: ClassVar[fields.Rows] = fields.SECURITY_CONTEXT
    capabilities: Capabilities = Capabilities()


class Container(Part, frozen=True, kw_only=True):
    """A program of a pod; without a `command` its `image` selects one.

    `restart_policy` is "Always" for an init container that goes on running beside the others (a native sidecar).
    """

    rows: ClassVar[fields.Rows] = fields.CONTAINER
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[Port, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    restart_policy: str = ""
    resources: Mapping[str, Any] = {}
    security_context: SecurityContext = SecurityContext()

    def __post_init__(self) -> None:
        checks.label("name", self.name)
        if not self.image or not self.image.isascii() or not self.image.isprintable() or " " in self.image:
            raise FieldError("image", f"{checks.shown(self.image)} is no image name; write one like nginx:1.27")
        checks.unique("env", (each.name for each in self.env), "variable")
        checks.unique("ports", (each.name for each in self.ports if each.name), "port name")
        checks.choice("restartPolicy", self.restart_policy, ("Always", ""), "; else leave it out: the pod's own counts")
        for name, hook in self.hooks.items():
            self._check_port(name, hook.port)
        for name, probe in self.probes.items():
            self._check_port(name, probe.port)
            if name != "readinessProbe" and probe.success_threshold != 1:
                raise FieldError(f"{name}.successThreshold", "it must be 1 for this probe; remove it")
        if self.readiness_probe is not None and self.readiness_probe.termination_grace_period_seconds is not None:
            raise FieldError("readinessProbe.terminationGracePeriodSeconds", "this probe ends no container; remove it")

    def _check_port(self, where: str, port: int | str | None) -> None:
        if isinstance(port, str) and not any(each.name == port for each in self.ports):
            known = ", ".join(each.name for each in self.ports if each.name) or "none is named"
            raise FieldError(where, f"the container has no port named {port!r}; its ports: {known}")

    @property
    def probes(self) -> Mapping[str, Probe]:
        """The probes that it has, by their names in a manifest."""
        probes = {
            "readinessProbe": self.readiness_probe,
            "livenessProbe": self.liveness_probe,
            "startupProbe": self.startup_probe,
        }
        return {name: probe for name, probe in probes.items() if probe is not None}

    @property
    def hooks(self) -> Mapping[str, Handler]:
        """The lifecycle hooks that it has, by their paths in a manifest."""
        lifecycle = self.lifecycle or Lifecycle()
        hooks = {"lifecycle.postStart": lifecycle.post_start, "lifecycle.preStop": lifecycle.pre_stop}
        return {name: hook for name, hook in hooks.items() if hook is not None}

    @property
    def is_sidecar(self) -> bool:
        """Whether it is a native sidecar, which only an init container can be."""
        return self.restart_policy == "Always"

    def port_number(self, port: int | str) -> int:
        """Return the number of a port given by number or name; raises `KeyError` for a name that is not ours."""
        if isinstance(port, int):
            return port
        return {each.name: each.container_port for each in self.ports}[port]


class PodSpec(Part, frozen=True, kw_only=True):
    """What a pod runs; `init_containers` one after the other, then `containers` together.

    An init container that is a native sidecar (`Container.is_sidecar`) need not end before the next begins.
    """

    rows: ClassVar[fields.Rows] = fields.POD_SPEC
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...]
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    hostname: str = ""
    subdomain: str = ""
    dns_policy: str = "ClusterFirst"
    dns_config: DNSConfig = DNSConfig()
    host_aliases: tuple[HostAlias, ...] = ()
    service_account_name: str = "default"
    share_process_namespace: bool = False
    security_context: PodSecurityContext = PodSecurityContext()

    def __post_init__(self) -> None:
        if not self.containers:
            raise FieldError("containers", "a pod needs at least one; write its `name` and `image`")
        checks.unique("containers", (each.name for each in self.containers), "container name")
        checks.unique("initContainers", (each.name for each in self.init_containers), "container name")
        self._check_init_containers()
        for index, each in enumerate(self.containers):
            if each.restart_policy:
                raise FieldError(f"containers[{index}].restartPolicy", "only init containers have their own; remove it")
            self._check_container(f"containers[{index}]", each)
        checks.choice("restartPolicy", self.restart_policy, ("Always", "OnFailure", "Never"))
        checks.at_least("terminationGracePeriodSeconds", self.termination_grace_period_seconds, 0)
        if self.hostname:
            checks.label("hostname", self.hostname)
        if self.subdomain:
            checks.label("subdomain", self.subdomain)
        checks.choice("dnsPolicy", self.dns_policy, DNS_POLICIES)
        if self.dns_policy == "None" and not self.dns_config.nameservers:
            raise FieldError("dnsConfig.nameservers", "with the dnsPolicy None it needs one; write its address")
        if self.service_account_name != "default":
            checks.subdomain("serviceAccountName", self.service_account_name)

    def _check_init_containers(self) -> None:
        taken = {each.name for each in self.containers}
        for index, each in enumerate(self.init_containers):
            if each.name in taken:
                problem = f"the container name {each.name!r} is in `containers` too; change one"
                raise FieldError(f"initContainers[{index}].name", problem)
            for name in () if each.is_sidecar else (*each.probes, *each.hooks):
                problem = "an init container has none; remove it, or make it a sidecar: `restartPolicy: Always`"
                raise FieldError(f"initContainers[{index}].{name}", problem)
            self._check_container(f"initContainers[{index}]", each)

    def _check_container(self, where: str, container: Container) -> None:
        grace_s = self.termination_grace_period_seconds
        for name, hook in container.hooks.items():
            if name == "lifecycle.preStop" and hook.sleep is not None and hook.sleep.seconds > grace_s:
                problem = f"it is longer than terminationGracePeriodSeconds ({grace_s}); shorten it"
                raise FieldError(f"{where}.{name}.sleep.seconds", problem)
        contexts = (container.security_context, self.security_context)
        demands = [each.run_as_non_root for each in contexts if each.run_as_non_root is not None]
        uids = [each.run_as_user for each in contexts if each.run_as_user is not None]
        if demands[:1] == [True] and uids[:1] in ([], [0]):
            problem = "`runAsNonRoot` is true, and images have no user here; write a `runAsUser` other than 0"
            raise FieldError(f"{where}.securityContext.runAsUser", problem)


class Pod(Object, frozen=True, kw_only=True):
    """A pod."""

    rows: ClassVar[fields.Rows] = fields.POD
    api_version: str = "v1"
    kind: str = "Pod"
    spec: PodSpec

    def container(self, name: str) -> Container:
        """Return a container or init container by name; raises `KeyError`."""
        for each in (*self.spec.containers, *self.spec.init_containers):
            if each.name == name:
                return each
        raise KeyError(name)
