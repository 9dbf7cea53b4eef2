"""The two containers that injection adds: istio-init, which loads the rules, and istio-proxy. Pure.

Source: istio/istio's injection template, with the default values of Istio's charts. Whatever needs a control plane (its
address, certificates, tokens and their volumes) is left out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sidelab.lab.cluster.addresses import DOMAIN
from sidelab.lab.manifest import (
    Capabilities,
    Container,
    EnvSource,
    EnvVar,
    Exec,
    FieldRef,
    Handler,
    HTTPGet,
    Lifecycle,
    PodSpec,
    Port,
    Probe,
    SecurityContext,
)
from sidelab.sidecar import istio_ports
from sidelab.sidecar.config import annotations as table
from sidelab.sidecar.config import injected_names
from sidelab.sidecar.config.choices import Choices

_IPTABLES = "istio-iptables"
_TEXT_ARGUMENTS = (
    ("-i", table.INCLUDE_RANGES),
    ("-x", table.EXCLUDE_RANGES),
    ("-b", table.INCLUDE_INBOUND_PORTS),
)
_OPTIONAL_ARGUMENTS = (
    ("-q", table.INCLUDE_OUTBOUND_PORTS),
    ("-o", table.EXCLUDE_OUTBOUND_PORTS),
    ("-k", table.VIRTUAL_INTERFACES),
    ("-c", table.EXCLUDE_INTERFACES),
)
_LOG_ARGUMENTS = (
    ("--proxyLogLevel", table.LOG_LEVEL),
    ("--proxyComponentLogLevel", table.COMPONENT_LOG_LEVEL),
    ("--log_output_level", table.AGENT_LOG_LEVEL),
)
_FIELDS = (
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("INSTANCE_IP", "status.podIP"),
    ("SERVICE_ACCOUNT", "spec.serviceAccountName"),
)
_QUANTITIES = (
    ("requests", "cpu", table.PROXY_CPU),
    ("requests", "memory", table.PROXY_MEMORY),
    ("limits", "cpu", table.PROXY_CPU_LIMIT),
    ("limits", "memory", table.PROXY_MEMORY_LIMIT),
)


@dataclass(frozen=True)
class OwnerReference:
    """The object that a pod belongs to, or the pod itself."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Its path in Istio's node metadata of the proxy."""
        return f"kubernetes://apis/{self.api_version}/namespaces/{self.namespace}/{self.kind.lower()}s/{self.name}"


def istio_init(annotations: Mapping[str, str], choices: Choices) -> Container:
    """Return the init container that loads the interception rules."""
    return Container(
        name=injected_names.INIT_NAME,
        image=_image(annotations),
        args=(_IPTABLES, *arguments(annotations, choices)),
        env=choices.config.metadata,
        resources=_resources(annotations),
        security_context=SecurityContext(
            capabilities=Capabilities(add=("NET_ADMIN", "NET_RAW"), drop=("ALL",)),
            run_as_user=0,
            run_as_group=0,
            run_as_non_root=False,
            inert={"allowPrivilegeEscalation": False},
        ),
    )


def is_istio_init(container: Container) -> bool:
    """Return whether a container is istio-init: it has no command, and its arguments begin with istio-iptables."""
    return not container.command and container.args[:1] == (_IPTABLES,)


def arguments(annotations: Mapping[str, str], choices: Choices) -> tuple[str, ...]:
    """Return istio-iptables' arguments in the injector's form."""
    ports = ("-p", str(istio_ports.OUTBOUND), "-z", str(istio_ports.INBOUND))
    words = [*ports, "-u", str(injected_names.PROXY_UID), "-m", choices.mode]
    for flag, annotation in _TEXT_ARGUMENTS:
        words += (flag, annotation.text(annotations))
    words += ("-d", _excluded(annotations, choices.agent_port))
    for flag, optional in _OPTIONAL_ARGUMENTS:
        if text := optional.text(annotations):
            words += (flag, text)
    return tuple(words)


def _excluded(annotations: Mapping[str, str], agent_port: int) -> str:
    """Return the ports not to capture: metrics, health, those of the annotation, and last the agent's."""
    ports = [f"{istio_ports.STATS}", f"{istio_ports.HEALTH}"]
    ports += map(str, table.EXCLUDE_INBOUND_PORTS.read(annotations))
    if agent_port and str(agent_port) not in ports:
        ports.append(str(agent_port))
    return ",".join(ports)


def istio_proxy(
    owner: OwnerReference, annotations: Mapping[str, str], choices: Choices, app: PodSpec, variables: Mapping[str, str]
) -> Container:
    """Return the proxy's container for the pod with `app`; `variables` are added to its environment."""
    return Container(
        name=injected_names.PROXY_NAME,
        image=_image(annotations),
        args=(
            *("proxy", "sidecar", "--domain", f"$(POD_NAMESPACE).svc.{DOMAIN}"),
            *(f"{flag}={annotation.text(annotations)}" for flag, annotation in _LOG_ARGUMENTS),
        ),
        env=_environment(owner, choices, app, variables),
        ports=(Port(name="http-envoy-prom", container_port=istio_ports.STATS),),
        readiness_probe=_readiness(annotations) if choices.agent_port else None,
        startup_probe=_STARTUP if choices.agent_port else None,
        lifecycle=_lifecycle(choices),
        restart_policy="Always" if choices.native else "",
        resources=_resources(annotations),
        security_context=_TPROXY if choices.mode == "TPROXY" else _REDIRECT,
    )


_READY = HTTPGet(path="/healthz/ready", port=istio_ports.HEALTH)
_STARTUP = Probe(http_get=_READY, period_seconds=1, timeout_seconds=3, failure_threshold=600)

_UNPRIVILEGED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
_REDIRECT = SecurityContext(
    capabilities=Capabilities(drop=("ALL",)),
    run_as_user=injected_names.PROXY_UID,
    run_as_group=injected_names.PROXY_UID,
    run_as_non_root=True,
    inert=_UNPRIVILEGED,
)
# A transparent socket needs the capability, and that needs root: so the rules identify the proxy by its group.
_TPROXY = SecurityContext(
    capabilities=Capabilities(add=("NET_ADMIN",), drop=("ALL",)),
    run_as_user=0,
    run_as_group=injected_names.PROXY_UID,
    run_as_non_root=False,
    inert=_UNPRIVILEGED,
)


def _readiness(annotations: Mapping[str, str]) -> Probe:
    return Probe(
        http_get=_READY,
        initial_delay_seconds=table.READINESS_DELAY.read(annotations),
        period_seconds=table.READINESS_PERIOD.read(annotations),
        timeout_seconds=3,
        failure_threshold=table.READINESS_FAILURES.read(annotations),
    )


def _lifecycle(choices: Choices) -> Lifecycle | None:
    """Return the hooks: containers start one after the other, so waiting in one delays all that follow."""
    if choices.hold:
        return Lifecycle(post_start=Handler(exec=Exec(command=("pilot-agent", "wait"))))
    if choices.native and choices.agent_port:
        drain = ("pilot-agent", "request", f"--debug-port={choices.agent_port}", "POST", "drain")
        return Lifecycle(pre_stop=Handler(exec=Exec(command=drain)))
    return None


def _environment(owner: OwnerReference, choices: Choices, app: PodSpec, added: Mapping[str, str]) -> tuple[EnvVar, ...]:
    ports = [_port(port) for container in app.containers for port in container.ports]
    said = {
        "PROXY_CONFIG": choices.config.json,
        "ISTIO_META_POD_PORTS": json.dumps(ports, separators=(",", ":")),
        "ISTIO_META_APP_CONTAINERS": ",".join(each.name for each in app.containers),
        "ISTIO_META_CLUSTER_ID": "Kubernetes",
        "ISTIO_META_INTERCEPTION_MODE": choices.mode,
        "ISTIO_META_WORKLOAD_NAME": owner.name,
        "ISTIO_META_OWNER": owner.path,
        "ISTIO_META_MESH_ID": DOMAIN,
        "TRUST_DOMAIN": DOMAIN,
    }
    variables = {each.name: each for each in _field_variables()}
    variables |= {name: _literal(name, value) for name, value in said.items()}
    variables |= {each.name: each for each in choices.config.metadata}
    variables |= {name: _literal(name, value) for name, value in added.items()}
    return tuple(variables.values())


def _literal(name: str, value: str) -> EnvVar:
    """Return a variable with exactly this value, escaped: Kubernetes expands `$(NAME)`, and reads `$$` as `$`."""
    return EnvVar(name=name, value=value.replace("$", "$$"))


@lru_cache(maxsize=1)
def _field_variables() -> tuple[EnvVar, ...]:
    return tuple(EnvVar(name=name, value_from=EnvSource(field_ref=FieldRef(field_path=path))) for name, path in _FIELDS)


def _port(port: Port) -> dict[str, Any]:
    named = {"name": port.name} if port.name else {}
    return {**named, "containerPort": port.container_port, "protocol": port.protocol}


def _image(annotations: Mapping[str, str]) -> str:
    image = table.PROXY_IMAGE.text(annotations)
    return image if "/" in image else f"{injected_names.IMAGE_HUB}/{image}:{injected_names.IMAGE_TAG}"


def _resources(annotations: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the annotations' quantities, or Istio's defaults if there are none at all."""
    given = any(each.name in annotations for *_, each in _QUANTITIES)
    found: dict[str, dict[str, str]] = {}
    for kind, resource, each in _QUANTITIES:
        if each.name in annotations or not given:
            found.setdefault(kind, {})[resource] = each.text(annotations)
    return found
