"""Probes and hooks go to the agent, which asks the application in the same way."""

import json

import pytest
from injecting import injected, proxy, variables

from sidelab.lab.manifest import HTTPGet, Pod
from sidelab.lab.plan.blueprint import _expanded

REST = "name: app, image: nginx, ports: [{name: http, containerPort: 8080}]"


def told(pod: Pod) -> dict[str, object]:
    """Return what the agent is told to ask."""
    probers: dict[str, object] = json.loads(variables(proxy(pod)).get("ISTIO_KUBE_APP_PROBERS", "{}"))
    return probers


@pytest.mark.parametrize(
    ("probe", "asked"),
    [
        ("httpGet: {port: 80}", {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1}),
        (
            "httpGet: {port: http, path: /live, scheme: HTTPS}, timeoutSeconds: 7",
            {"httpGet": {"path": "/live", "port": 8080, "scheme": "HTTPS"}, "timeoutSeconds": 7},
        ),
        ("tcpSocket: {port: http}", {"tcpSocket": {"port": 8080}, "timeoutSeconds": 1}),
        ("tcpSocket: {port: 1, host: h}", {"tcpSocket": {"port": 1, "host": "h"}, "timeoutSeconds": 1}),
        ("grpc: {port: 9090}", {"grpc": {"port": 9090, "service": ""}, "timeoutSeconds": 1}),
        ("grpc: {port: 9090, service: s}", {"grpc": {"port": 9090, "service": "s"}, "timeoutSeconds": 1}),
    ],
)
@pytest.mark.parametrize(("kind", "word"), [("readiness", "readyz"), ("liveness", "livez"), ("startup", "startupz")])
def test_requests_go_to_the_agent(probe: str, asked: object, kind: str, word: str) -> None:
    """Each kind of request becomes one by HTTP to the agent's port, and the agent knows the number of a named port."""
    pod = injected("", f"{{{REST}, {kind}Probe: {{{probe}, periodSeconds: 5}}}}")
    rewritten = pod.container("app").probes[f"{kind}Probe"]

    assert {f"/app-health/app/{word}": asked} == told(pod)
    assert HTTPGet(path=f"/app-health/app/{word}", port=15020) == rewritten.handler
    assert 5 == rewritten.period_seconds


def test_a_request_keeps_its_host_and_headers() -> None:
    """As in Istio the kubelet sends them to the agent, and the agent to the application."""
    probe = "readinessProbe: {httpGet: {port: 80, host: example.org, httpHeaders: [{name: A, value: b}]}}"
    pod = injected("", f"{{{REST}, {probe}}}")
    rewritten = pod.container("app").probes["readinessProbe"].http_get
    kept = {"host": "example.org", "scheme": "HTTP", "httpHeaders": [{"name": "A", "value": "b"}]}

    assert {"httpGet": {"path": "/", "port": 80, **kept}, "timeoutSeconds": 1} == told(pod)["/app-health/app/readyz"]
    assert rewritten is not None
    assert ("example.org", "A") == (rewritten.host, rewritten.http_headers[0].name)


def test_hooks_go_to_the_agent() -> None:
    """Requests of lifecycle hooks are rewritten too; they have no timeout of their own."""
    hooks = "lifecycle: {postStart: {httpGet: {port: http, path: /up}}, preStop: {tcpSocket: {port: 93}}}"
    pod = injected("", f"{{{REST}, {hooks}}}")
    found = {name: hook.handler for name, hook in pod.container("app").hooks.items()}

    assert {
        "/app-lifecycle/app/poststartz": {"httpGet": {"path": "/up", "port": 8080, "scheme": "HTTP"}},
        "/app-lifecycle/app/prestopz": {"tcpSocket": {"port": 93}},
    } == told(pod)
    assert {
        "lifecycle.postStart": HTTPGet(path="/app-lifecycle/app/poststartz", port=15020),
        "lifecycle.preStop": HTTPGet(path="/app-lifecycle/app/prestopz", port=15020),
    } == found


def test_commands_and_pauses_stay() -> None:
    """What the network has no part in is left as it is."""
    spoken = "livenessProbe: {exec: {command: [x]}}, lifecycle: {preStop: {sleep: {seconds: 1}}}"
    pod = injected("", f"{{{REST}, {spoken}}}")
    container = pod.container("app")

    assert {} == told(pod)
    assert [None, None] == [container.probes["livenessProbe"].port, container.hooks["lifecycle.preStop"].port]


def test_one_hook_of_two_is_rewritten() -> None:
    """A hook beside a rewritten one is not lost."""
    hooks = "lifecycle: {postStart: {exec: {command: [x]}}, preStop: {httpGet: {port: 80}}}"
    found = injected("", f"{{{REST}, {hooks}}}").container("app").hooks

    assert {"lifecycle.postStart": None, "lifecycle.preStop": 15020} == {
        name: each.port for name, each in found.items()
    }


def test_the_variable_is_written_as_istio_writes_it() -> None:
    """Keys are sorted, fields are in Kubernetes' order, nothing is empty and there are no blanks."""
    probes = "readinessProbe: {httpGet: {port: 3333}}, livenessProbe: {grpc: {port: 80}}"
    startup = "startupProbe: {tcpSocket: {port: 1}}"
    pod = injected(
        "", f"{{{REST}, {probes}, {startup}}}", "{name: a, image: nginx, readinessProbe: {httpGet: {port: 1}}}"
    )

    assert (
        '{"/app-health/a/readyz":{"httpGet":{"path":"/","port":1,"scheme":"HTTP"},"timeoutSeconds":1},'
        '"/app-health/app/livez":{"grpc":{"port":80,"service":""},"timeoutSeconds":1},'
        '"/app-health/app/readyz":{"httpGet":{"path":"/","port":3333,"scheme":"HTTP"},"timeoutSeconds":1},'
        '"/app-health/app/startupz":{"tcpSocket":{"port":1},"timeoutSeconds":1}}'
    ) == variables(proxy(pod))["ISTIO_KUBE_APP_PROBERS"]


@pytest.mark.parametrize(
    ("annotation", "rewritten"),
    [
        ("sidecar.istio.io/rewriteAppHTTPProbers: 'false'", []),
        ("status.sidecar.istio.io/port: '0'", []),
        ("traffic.sidecar.istio.io/excludeInboundPorts: '8080'", ["livez"]),
        ("traffic.sidecar.istio.io/includeInboundPorts: '8080'", ["readyz"]),
        ("traffic.sidecar.istio.io/includeInboundPorts: '*'", ["livez", "readyz"]),
        ("traffic.sidecar.istio.io/includeInboundPorts: ''", ["livez", "readyz"]),
    ],
)
def test_what_is_not_rewritten(annotation: str, rewritten: list[str]) -> None:
    """Nothing if that is said, or there is no agent; and ports that the rules leave alone are asked directly."""
    pod = injected(
        annotation, f"{{{REST}, readinessProbe: {{httpGet: {{port: http}}}}, livenessProbe: {{grpc: {{port: 9}}}}}}"
    )
    ports = {name: probe.port for name, probe in pod.container("app").probes.items()}

    assert rewritten == [path.rpartition("/")[2] for path in told(pod)]
    assert [15020 if "readyz" in rewritten else "http", 15020 if "livez" in rewritten else 9] == list(ports.values())


def test_the_agents_port_may_be_another() -> None:
    """Probes, rules and metrics follow the annotation."""
    pod = injected("status.sidecar.istio.io/port: '16020'", f"{{{REST}, readinessProbe: {{httpGet: {{port: 80}}}}}}")

    assert 16020 == pod.container("app").probes["readinessProbe"].port
    assert "15090,15021,16020" == pod.container("istio-init").args[-1]
    assert "16020" == pod.metadata.annotations["prometheus.io/port"]


def test_native_sidecars_of_the_pods_own_are_asked_by_the_agent_too() -> None:
    """An init container that goes on running has probes, which are rewritten as a container's are."""
    own = "initContainers: [{name: own, image: nginx, restartPolicy: Always, startupProbe: {tcpSocket: {port: 9}}}]"
    pod = injected(spec=own)

    assert ["/app-health/own/startupz"] == list(told(pod))
    assert 15020 == pod.container("own").probes["startupProbe"].port


def test_what_looks_like_a_variable_reaches_the_agent() -> None:
    """Kubernetes expands `$(NAME)` in variables, so the path of a probe is written in a way that survives it."""
    pod = injected("", f"{{{REST}, readinessProbe: {{httpGet: {{port: 80, path: '/$(POD_NAME)/$$'}}}}}}")
    text = variables(proxy(pod))["ISTIO_KUBE_APP_PROBERS"]

    assert (
        "/$(POD_NAME)/$$"
        == json.loads(_expanded(text, {"POD_NAME": "web"}))["/app-health/app/readyz"]["httpGet"]["path"]
    )
