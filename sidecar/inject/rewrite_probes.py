"""Probe rewriting: the kubelet probes the agent, and the agent probes the application. Pure.

The kubelet has no certificate, and the proxy accepts a connection to any port of a meshed pod, whether the application
is alive or not. So each probe by http, https, tcp or gRPC is redirected to the agent, which finds the original in
ISTIO_KUBE_APP_PROBERS. Source: istio/istio pkg/kube/inject/app_probe.go.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import structs

from sidelab.lab.manifest import GRPC, Container, Exec, Handler, HTTPGet, Probe, Sleep, TCPSocket
from sidelab.sidecar.config.annotations import EXCLUDE_INBOUND_PORTS, INCLUDE_INBOUND_PORTS

VARIABLE = "ISTIO_KUBE_APP_PROBERS"

Captured = Callable[[int], bool]
Prober = Mapping[str, Any]
"""A probe in the agent's form."""
Probers = Mapping[str, Prober]
"""The agent's probes by the paths that the kubelet requests."""

_PROBES = {"readiness_probe": "readyz", "liveness_probe": "livez", "startup_probe": "startupz"}
_HOOKS = {"pre_stop": "prestopz", "post_start": "poststartz"}


def captured_by(annotations: Mapping[str, str]) -> Captured:
    """Return a function that tells whether the rules capture a port; ports that they do not are probed directly."""
    included = INCLUDE_INBOUND_PORTS.read(annotations)
    excluded = EXCLUDE_INBOUND_PORTS.read(annotations)
    if included and included != "*":
        return lambda port: port in included
    return lambda port: port not in excluded


def rewrite(container: Container, agent_port: int, captured: Captured) -> tuple[Container, Probers]:
    """Return the container with its probes redirected to the agent, and the probes that the agent makes instead.

    Commands and pauses stay, and so do probes of ports that are not captured.
    """
    probers: dict[str, Prober] = {}
    changes: dict[str, Any] = {}
    for field, word in _PROBES.items():
        probe: Probe | None = getattr(container, field)
        if probe is not None and (number := _asked(container, probe.handler, captured)):
            path = f"/app-health/{container.name}/{word}"
            probers[path] = {**_prober(probe.handler, number), "timeoutSeconds": probe.timeout_seconds}
            get = _to_agent(probe.handler, path, agent_port)
            changes[field] = structs.replace(probe, http_get=get, tcp_socket=None, grpc=None)
    hooks = {}
    for field, word in _HOOKS.items():
        hook: Handler | None = getattr(container.lifecycle, field, None)
        if hook is not None and (number := _asked(container, hook.handler, captured)):
            path = f"/app-lifecycle/{container.name}/{word}"
            probers[path] = _prober(hook.handler, number)
            hooks[field] = Handler(http_get=_to_agent(hook.handler, path, agent_port))
    if hooks and container.lifecycle is not None:
        changes["lifecycle"] = structs.replace(container.lifecycle, **hooks)
    return structs.replace(container, **changes) if changes else container, probers


def encode(probers: Probers) -> str:
    """Return the variable's text, in the form of Istio's injector for a pod with the API server's defaults."""
    return json.dumps(dict(sorted(probers.items())), separators=(",", ":"), ensure_ascii=False)


def _asked(container: Container, handler: HTTPGet | TCPSocket | GRPC | Exec | Sleep, captured: Captured) -> int:
    """Return the number of the captured port that a probe goes to, 0 if the probe stays as it is."""
    if isinstance(handler, (Exec, Sleep)):
        return 0
    number = container.port_number(handler.port)
    return number if captured(number) else 0


def _prober(handler: HTTPGet | TCPSocket | GRPC | Exec | Sleep, number: int) -> dict[str, Any]:
    """Return a probe in the agent's form: fields in the order of Kubernetes' types, the port a number."""
    match handler:
        case HTTPGet():
            headers = [{"name": each.name, "value": each.value} for each in handler.http_headers]
            said: dict[str, Any] = {"path": handler.path, "port": number, "host": handler.host}
            said |= {"scheme": handler.scheme, "httpHeaders": headers}
            return {"httpGet": {name: value for name, value in said.items() if value}}
        case TCPSocket():
            return {"tcpSocket": {"port": number, **({"host": handler.host} if handler.host else {})}}
        case GRPC():
            return {"grpc": {"port": number, "service": handler.service}}
        case _:
            raise TypeError(handler)  # `_asked` returns 0 for it


def _to_agent(handler: HTTPGet | TCPSocket | GRPC | Exec | Sleep, path: str, agent_port: int) -> HTTPGet:
    """Return the probe of the agent; an HTTP probe keeps its host and headers, as in Istio."""
    if isinstance(handler, HTTPGet):
        return structs.replace(handler, path=path, port=agent_port, scheme="HTTP")
    return HTTPGet(path=path, port=agent_port)
