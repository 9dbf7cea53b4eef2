"""The Pod: containers, ports, environment, probes and identities, with Kubernetes' defaults.

Types mirror the Kubernetes API (core/v1), in snake_case; which fields have an effect is said in `lab.manifest.fields`.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from lab.manifest import checks, fields
from lab.manifest.checks import FieldError
from lab.manifest.model import PROTOCOLS, Object, Part

# What a variable can take from its pod. The others of the downward API need a cluster to have a value.
FIELD_PATHS = ("metadata.name", "metadata.namespace", "spec.serviceAccountName", "status.podIP")

_CAPABILITY = re.compile(r"[A-Z][A-Z_]*")
_HEADER_NAME = re.compile(r"[-A-Za-z0-9]+")


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


class HTTPHeader(Part, frozen=True, kw_only=True):
    """A header of a probe's request."""

    name: str
    value: str

    def __post_init__(self) -> None:
        if not _HEADER_NAME.fullmatch(self.name):
            raise FieldError("name", f"{checks.shown(self.name)} is no header name; use letters, digits and '-'")
        if not self.value.isprintable() or not self.value.isascii():
            raise FieldError("value", f"{checks.shown(self.value)} is no header value; use printable ASCII on one line")


class HTTPGet(Part, frozen=True, kw_only=True):
    """A GET that passes with a status from 200 to 399; `host` "" is the pod's address."""

    path: str = "/"
    port: int | str
    scheme: str = "HTTP"
    host: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()

    def __post_init__(self) -> None:
        checks.port("port", self.port)
        checks.choice("scheme", self.scheme, ("HTTP",), "; for HTTPS use `tcpSocket` with the same port")
        _one_word("path", self.path)
        if not self.path.startswith("/"):
            raise FieldError("path", f"{checks.shown(self.path)} does not begin with '/'; put one in front")
        _one_word("host", self.host)


class TCPSocket(Part, frozen=True, kw_only=True):
    """A connection that passes when it opens; `host` "" is the pod's address."""

    port: int | str
    host: str = ""

    def __post_init__(self) -> None:
        checks.port("port", self.port)
        _one_word("host", self.host)


class Exec(Part, frozen=True, kw_only=True):
    """A command that passes with status 0; run without a shell."""

    command: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.command:
            raise FieldError("command", "it is empty; write a program and its arguments")


class GRPC(Part, frozen=True, kw_only=True):
    """A call of grpc.health.v1.Health/Check."""

    port: int
    service: str = ""

    def __post_init__(self) -> None:
        checks.port_number("port", self.port)


class Probe(Part, frozen=True, kw_only=True):
    """One handler, and when it is asked; times in seconds."""

    rows: ClassVar[fields.Rows] = fields.PROBE
    http_get: HTTPGet | None = None
    tcp_socket: TCPSocket | None = None
    exec: Exec | None = None
    grpc: GRPC | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3

    def __post_init__(self) -> None:
        handlers = [each for each in (self.http_get, self.tcp_socket, self.exec, self.grpc) if each is not None]
        if len(handlers) != 1:
            raise FieldError("", f"it has {len(handlers)} handlers; give it one of httpGet, tcpSocket, exec")
        checks.at_least("initialDelaySeconds", self.initial_delay_seconds, 0)
        checks.at_least("timeoutSeconds", self.timeout_seconds, 1)
        checks.at_least("periodSeconds", self.period_seconds, 1)
        checks.at_least("successThreshold", self.success_threshold, 1)
        checks.at_least("failureThreshold", self.failure_threshold, 1)

    @property
    def port(self) -> int | str | None:
        """The port that it asks, by number or name; None for a command."""
        handler = self.http_get or self.tcp_socket or self.grpc
        return handler.port if handler else None


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
    """As whom a pod's containers run, unless they say otherwise."""

    rows: ClassVar[fields.Rows] = fields.POD_SECURITY_CONTEXT


class SecurityContext(_Identity, frozen=True, kw_only=True):
    """As whom a container runs, and what it may do."""

    rows: ClassVar[fields.Rows] = fields.SECURITY_CONTEXT
    capabilities: Capabilities = Capabilities()


class Container(Part, frozen=True, kw_only=True):
    """A program of a pod; without a `command` its `image` selects one."""

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
    lifecycle: Mapping[str, Any] = {}
    resources: Mapping[str, Any] = {}
    security_context: SecurityContext = SecurityContext()

    def __post_init__(self) -> None:
        checks.label("name", self.name)
        if not self.image or not self.image.isascii() or not self.image.isprintable() or " " in self.image:
            raise FieldError("image", f"{checks.shown(self.image)} is no image name; write one like nginx:1.27")
        checks.unique("env", (each.name for each in self.env), "variable")
        checks.unique("ports", (each.name for each in self.ports if each.name), "port name")
        for name, probe in self.probes.items():
            if isinstance(probe.port, str) and not any(each.name == probe.port for each in self.ports):
                known = ", ".join(each.name for each in self.ports if each.name) or "none is named"
                raise FieldError(name, f"the container has no port named {probe.port!r}; its ports: {known}")
            if name != "readinessProbe" and probe.success_threshold != 1:
                raise FieldError(f"{name}.successThreshold", "it must be 1 for this probe; remove it")

    @property
    def probes(self) -> Mapping[str, Probe]:
        """The probes that it has, by their names in a manifest."""
        probes = {
            "readinessProbe": self.readiness_probe,
            "livenessProbe": self.liveness_probe,
            "startupProbe": self.startup_probe,
        }
        return {name: probe for name, probe in probes.items() if probe is not None}

    def port_number(self, port: int | str) -> int:
        """Return the number of a port given by number or name; raises `KeyError` for a name that is not ours."""
        if isinstance(port, int):
            return port
        return {each.name: each.container_port for each in self.ports}[port]


class PodSpec(Part, frozen=True, kw_only=True):
    """What a pod runs; `init_containers` one after the other, then `containers` together."""

    rows: ClassVar[fields.Rows] = fields.POD_SPEC
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...]
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    hostname: str = ""
    service_account_name: str = "default"
    security_context: PodSecurityContext = PodSecurityContext()

    def __post_init__(self) -> None:
        if not self.containers:
            raise FieldError("containers", "a pod needs at least one; write its `name` and `image`")
        checks.unique("containers", (each.name for each in self.containers), "container name")
        checks.unique("initContainers", (each.name for each in self.init_containers), "container name")
        taken = {each.name for each in self.containers}
        for index, each in enumerate(self.init_containers):
            if each.name in taken:
                problem = f"the container name {each.name!r} is in `containers` too; change one"
                raise FieldError(f"initContainers[{index}].name", problem)
            for name in each.probes:
                raise FieldError(f"initContainers[{index}].{name}", "an init container is not probed; remove it")
            self._check_not_root(f"initContainers[{index}]", each)
        for index, each in enumerate(self.containers):
            self._check_not_root(f"containers[{index}]", each)
        checks.choice("restartPolicy", self.restart_policy, ("Always", "OnFailure", "Never"))
        checks.at_least("terminationGracePeriodSeconds", self.termination_grace_period_seconds, 0)
        if self.hostname:
            checks.label("hostname", self.hostname)
        if self.service_account_name != "default":
            checks.subdomain("serviceAccountName", self.service_account_name)

    def _check_not_root(self, where: str, container: Container) -> None:
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


def _one_word(name: str, value: str) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise FieldError(name, f"{checks.shown(value)} is not accepted; use ASCII without blanks and line ends")
