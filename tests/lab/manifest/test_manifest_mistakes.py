from pathlib import Path
from typing import Any

import pytest

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import MAX_BYTES, decode, load
from sidelab.lab.manifest.yaml.yaml_text import write_documents

WHERE = "web.yaml: document 1 (line 2): Pod default/web: "


def _base() -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app", "image": "nginx", "ports": [{"name": "http", "containerPort": 80}]}]},
    }


def _service() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}


def _put(document: dict[str, Any], path: str, value: Any) -> str:
    *parents, last = path.split("/")
    node: Any = document
    for step in parents:
        node = node[int(step)] if step.isdigit() else node.setdefault(step, {})
    node[last] = value
    return write_documents([document])


def _mistake(*contents: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode([("web.yaml", content) for content in contents])
    message = str(caught.value)
    assert "\n" not in message
    return message


POD = [
    ("spec/containers/0/prots", [], "spec.containers[0].prots: the field is unknown; did you mean `ports`?"),
    ("spec/replicas", 2, "spec.replicas: the field is unknown"),
    ("spec/containers/0/inert", {}, "spec.containers[0].inert: the field is unknown"),
    ("spec/containers/0/ports/0/containerPort", 70000, "spec.containers[0].ports[0].containerPort: 70000 is no port; "),
    ("spec/containers/0/ports/0/containerPort", 0, "spec.containers[0].ports[0].containerPort: 0 is no port; a port "),
    (
        "spec/containers/0/ports/0/containerPort",
        "80",
        "spec.containers[0].ports[0].containerPort: '80' is not a whole ",
    ),
    (
        "spec/containers/0/ports/0/containerPort",
        True,
        "spec.containers[0].ports[0].containerPort: true is not a whole ",
    ),
    ("spec/containers/0/ports/0/protocol", "http", "spec.containers[0].ports[0].protocol: 'http' is not accepted; acc"),
    (
        "spec/containers/0/ports/0/name",
        "HTTP",
        "spec.containers[0].ports[0].name: 'HTTP' is no port name; use up to 15",
    ),
    ("spec/containers/0/ports/0/hostPort", 80, "spec.containers[0].ports[0].hostPort: 80 is not accepted here: a lab "),
    ("spec/containers/0/ports", {}, "spec.containers[0].ports: {} is not a list; begin each item with `- `"),
    ("spec/containers/0/command", "sleep 5", "spec.containers[0].command: 'sleep 5' is not a list"),
    ("spec/containers/0/args", [5], "spec.containers[0].args[0]: 5 is not text; put it in quotes"),
    ("spec/containers/0/image", "", "spec.containers[0].image: '' is no image name"),
    ("spec/containers/0/image", None, "spec.containers[0].image: it is missing"),
    ("spec/containers/0/name", "App_1", "spec.containers[0].name: 'App_1' is no name; use up to 63 of"),
    ("spec/containers/0/envFrom", [{}], "spec.containers[0].envFrom: [{}] is not accepted here: ConfigMaps"),
    ("spec/containers/0/env", [{"name": "A=B"}], "spec.containers[0].env[0].name: 'A=B' is no variable name"),
    ("spec/containers/0/env", [{"name": "A"}] * 2, "spec.containers[0].env[1]: the variable 'A' is there twice"),
    (
        "spec/containers/0/env",
        [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "spec.containers[0].env[0].valueFrom.secretKeyRef: ",
    ),
    (
        "spec/containers/0/env",
        [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: 'status.hostIP' is not accepted; accepted: metadata.",
    ),
    ("spec/containers/0/readinessProbe", {}, "spec.containers[0].readinessProbe: it has 0 handlers; give it one of"),
    (
        "spec/containers/0/readinessProbe",
        {"exec": {"command": ["true"]}, "tcpSocket": {"port": 80}},
        "spec.containers[0].readinessProbe: it has 2 handlers",
    ),
    (
        "spec/containers/0/readinessProbe",
        {"grpc": {"port": 0}},
        "spec.containers[0].readinessProbe.grpc.port: 0 is no port; a port",
    ),
    (
        "spec/containers/0/readinessProbe",
        {"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 5},
        "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: this probe ends no container; remove it",
    ),
    (
        "spec/containers/0/livenessProbe",
        {"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 0},
        "spec.containers[0].livenessProbe.terminationGracePeriodSeconds: 0 is not accepted; use a number from 1",
    ),
    (
        "spec/containers/0/startupProbe",
        {"tcpSocket": {"port": 80}, "successThreshold": 2},
        "spec.containers[0].startupProbe.successThreshold: it must be 1 for this probe",
    ),
    (
        "spec/containers/0/lifecycle",
        {"postStart": {}},
        "spec.containers[0].lifecycle.postStart: it has 0 handlers; give it one of httpGet, exec, sleep",
    ),
    (
        "spec/containers/0/lifecycle",
        {"preStop": {"httpGet": {"port": "admin"}}},
        "spec.containers[0].lifecycle.preStop: the container has no port named 'admin'; its ports: http",
    ),
    (
        "spec/containers/0/lifecycle",
        {"preStop": {"sleep": {"seconds": 31}}},
        "spec.containers[0].lifecycle.preStop.sleep.seconds: it is longer than terminationGracePeriodSeconds (30); ",
    ),
    (
        "spec/containers/0/lifecycle",
        {"stopSignal": "SIGUSR1"},
        "spec.containers[0].lifecycle.stopSignal: 'SIGUSR1' is not accepted here: SIGTERM is",
    ),
    (
        "spec/containers/0/restartPolicy",
        "Always",
        "spec.containers[0].restartPolicy: only init containers have their own; remove it",
    ),
    (
        "spec/containers/0/readinessProbe",
        {"httpGet": {"port": "web"}},
        "spec.containers[0].readinessProbe: the container has no port named 'web'; its ports: http",
    ),
    (
        "spec/containers/0/readinessProbe",
        {"httpGet": {"port": "80"}},
        "spec.containers[0].readinessProbe.httpGet.port: '80' is no port name; write a number without quotes",
    ),
    (
        "spec/containers/0/readinessProbe",
        {"httpGet": {"port": 80, "scheme": "FTP"}},
        "spec.containers[0].readinessProbe.httpGet.scheme: 'FTP' is not accepted; accepted: HTTP, HTTPS",
    ),
    (
        "spec/containers/0/readinessProbe",
        {"tcpSocket": {"port": 80}, "periodSeconds": 0},
        "spec.containers[0].readinessProbe.periodSeconds: 0 is not accepted; use a number from 1",
    ),
    (
        "spec/containers/0/securityContext",
        {"privileged": True},
        "spec.containers[0].securityContext.privileged: True is",
    ),
    (
        "spec/containers/0/securityContext",
        {"capabilities": {"add": ["CAP_NET_ADMIN"]}},
        "spec.containers[0].securityContext.capabilities.add[0]: 'CAP_NET_ADMIN' is no capability; write it like NET_",
    ),
    ("spec/containers/0/securityContext", {"runAsUser": -1}, "spec.containers[0].securityContext.runAsUser: -1 is not"),
    (
        "spec/containers/0/securityContext",
        {"runAsNonRoot": True},
        "spec.containers[0].securityContext.runAsUser: `runAsNonRoot` is true",
    ),
    ("spec/containers/0/volumeMounts", [{}], "spec.containers[0].volumeMounts: [{}] is not accepted here: volumes are"),
    ("spec/containers", [], "spec.containers: a pod needs at least one"),
    ("spec/containers", [None], "spec.containers[0]: nothing is not fields"),
    (
        "spec/initContainers",
        [{"name": "app", "image": "a"}],
        "spec.initContainers[0].name: the container name 'app' is in",
    ),
    (
        "spec/initContainers",
        [{"name": "a", "image": "a"}, {"name": "a", "image": "a"}],
        "spec.initContainers[1]: the container name 'a' is there twice",
    ),
    (
        "spec/initContainers",
        [{"name": "a", "image": "a", "restartPolicy": "Never"}],
        "spec.initContainers[0].restartPolicy: 'Never' is not accepted; accepted: Always",
    ),
    (
        "spec/initContainers",
        [{"name": "a", "image": "a", "readinessProbe": {"tcpSocket": {"port": 80}}}],
        "spec.initContainers[0].readinessProbe: an init container has none; remove it, or make it a sidecar: ",
    ),
    (
        "spec/initContainers",
        [{"name": "a", "image": "a", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}],
        "spec.initContainers[0].lifecycle.preStop: an init container has none; remove it, or make it a sidecar: ",
    ),
    (
        "spec/restartPolicy",
        "Sometimes",
        "spec.restartPolicy: 'Sometimes' is not accepted; accepted: Always, OnFailure,",
    ),
    ("spec/hostNetwork", True, "spec.hostNetwork: True is not accepted here: a pod of a lab never shares"),
    ("spec/volumes", [{"name": "v"}], "spec.volumes: [{'name': 'v'}] is not accepted here: "),
    ("spec/hostname", "a.b", "spec.hostname: 'a.b' is no name"),
    ("spec", None, "spec: it is missing"),
    ("metadata/labels", {"app": True}, "metadata.labels['app']: true is not text; put it in quotes"),
    ("metadata/labels", {"app": "two words"}, "metadata.labels['app']: 'two words' is no label value"),
    ("metadata/labels", {"-": ""}, "metadata.labels: '-' is no key"),
    ("metadata/annotations", {"/x": ""}, "metadata.annotations: '/x' is no key"),
    ("metadata/generateName", "web-", "metadata.generateName: 'web-' is not accepted here: no API server"),
]


@pytest.mark.parametrize(("path", "value", "expected"), POD)
def test_a_mistake_in_a_pod_is_named_with_its_field(path: str, value: Any, expected: str) -> None:
    """The message has file, document, line, object, path, what is wrong and what to do."""
    message = _mistake(_put(_base(), path, value))
    assert message.startswith(WHERE + expected), message


def _deployment() -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": _base()["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


DEPLOYMENT = [
    ("spec/replicas", -1, "spec.replicas: -1 is not accepted; use a number from 0"),
    ("spec/selector", None, "spec.selector: it is missing"),
    ("spec/selector/matchLabels", {}, "spec.selector.matchLabels: it is empty; write labels that the template has too"),
    ("spec/selector/matchLabels/app", "x", "spec.template.metadata.labels: the selector wants app: x; write the same"),
    ("spec/selector/matchExpressions", [{}], "spec.selector.matchExpressions: [{}] is not accepted here: only `match"),
    ("spec/template/spec/restartPolicy", "Never", "spec.template.spec.restartPolicy: a Deployment restarts its pods;"),
    ("spec/template/spec/containers/0/image", "", "spec.template.spec.containers[0].image: '' is no image name"),
    ("spec/template/spec/containers/0/prots", [], "spec.template.spec.containers[0].prots: the field is unknown; did"),
    ("spec/paused", True, "spec.paused: True is not accepted here: nothing is rolled out"),
    ("spec/template/status", {}, "spec.template.status: the field is unknown"),
]


@pytest.mark.parametrize(("path", "value", "expected"), DEPLOYMENT)
def test_a_mistake_in_a_deployment_is_named_with_its_field(path: str, value: Any, expected: str) -> None:
    """Its template's fields are looked at like a pod's."""
    message = _mistake(_put(_deployment(), path, value))
    assert message.startswith(f"web.yaml: document 1 (line 2): Deployment default/web: {expected}"), message


def test_a_deployment_whose_pods_could_not_be_named_is_refused() -> None:
    """The number is a part of the name."""
    message = _mistake(_put(_deployment(), "metadata/name", "a" * 252))
    assert "is too long for the names of its pods; shorten it" in message


SERVICE = [
    ("spec/type", "NodePort", "spec.type: 'NodePort' is not accepted; accepted: ClusterIP"),
    ("spec/clusterIP", "10.0.0.1", "spec.clusterIP: '10.0.0.1' is not accepted; accepted: None"),
    ("spec/ports", [], "spec.ports: a Service needs at least one"),
    ("spec/ports", [{"port": 1}, {"port": 2}], "spec.ports[0].name: where there are several ports"),
    ("spec/ports", [{"port": 1, "name": "a"}] * 2, "spec.ports[1]: the name 'a' is there twice"),
    (
        "spec/ports",
        [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}],
        "spec.ports[1]: the port '1/TCP' is there twice",
    ),
    ("spec/ports", [{"port": 1, "targetPort": "80"}], "spec.ports[0].targetPort: '80' is no port name; write a number"),
    ("spec/ports", [{"port": 1, "targetPort": []}], "spec.ports[0].targetPort: [] is not a whole number, or a name"),
    ("spec/ports", [{"port": 1, "nodePort": 3}], "spec.ports[0].nodePort: 3 is not accepted here"),
    ("spec/sessionAffinity", "ClientIP", "spec.sessionAffinity: 'ClientIP' is not accepted here"),
    ("metadata/name", "1st", "metadata.name: '1st' is no Service name"),
]


@pytest.mark.parametrize(("path", "value", "expected"), SERVICE)
def test_a_mistake_in_a_service_is_named_with_its_field(path: str, value: Any, expected: str) -> None:
    """Services are checked as strictly as pods."""
    assert f": {expected}" in _mistake(_put(_service(), path, value))


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("kind", "Job", "kind: 'Job' of 'v1' is not accepted; accepted: Pod (v1), Deployment (apps/v1), Service"),
        ("kind", "Deployment", "apiVersion: 'v1' has no Deployment; write apps/v1"),
        ("kind", "pod", "kind: 'pod' of 'v1' is not accepted"),
        ("kind", None, "kind: it is missing; accepted: Pod (v1)"),
        ("kind", ["Pod"], "kind: ['Pod'] is not text"),
        ("apiVersion", "apps/v1", "apiVersion: 'apps/v1' has no Pod; write v1"),
        ("apiVersion", None, "apiVersion: it is missing"),
        ("metadata", {}, "Pod without a name: metadata.name: it is missing"),
        ("metadata", {"name": "Web"}, "Pod default/Web: metadata.name: 'Web' is no name"),
        ("metadata", {"name": 5}, "Pod without a name: metadata.name: 5 is not text"),
        ("metadata", "web", "Pod without a name: metadata: 'web' is not fields"),
    ],
)
def test_an_object_that_is_not_known_is_named(path: str, value: Any, expected: str) -> None:
    """An unknown kind, version or name is answered with what is accepted."""
    message = _mistake(_put(_base(), path, value))
    assert message.startswith(f"web.yaml: document 1 (line 2): {expected}"), message


def test_the_same_pod_twice_is_refused_with_both_places() -> None:
    """Two pods of one namespace need two names, in one file or in several."""
    text = write_documents([_base()])
    place = "web.yaml: document 1 (line 2)"
    assert _mistake(text, text).startswith(f"{place}: Pod default/web is in {place} already: change the name")
    assert "web.yaml: document 2 (line 14): Pod default/web is in " in _mistake(text + text)


def test_a_namespace_is_in_no_namespace() -> None:
    """A Namespace with a namespace is refused, as on a cluster."""
    text = "{apiVersion: v1, kind: Namespace, metadata: {name: a, namespace: b}}"
    assert "metadata.namespace: a Namespace is in no namespace" in _mistake(text)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n---\n", "null"])
def test_an_empty_file_is_a_mistake(text: str) -> None:
    """A file without an object is refused with an example to begin with."""
    assert _mistake(text) == "web.yaml: it holds no object: write at least one Pod, like examples/nginx.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Pod\nmetadata:\n\tname: a\n", "web.yaml: line 3: there is a tab; YAML wants spaces"),
        ("kind: Pod\n\tmetadata: a\n", "web.yaml: line 2: there is a tab; YAML wants spaces"),
        ("kind: Pod\nmetadata: {name: a\n", "web.yaml: line 3, column 1: not YAML: did not find expected ',' or '}'"),
        ("kind: Pod\nkind: Pod\n", "web.yaml: document 1, line 2: the key 'kind' is there twice; remove one"),
        ("a: &x [b]\nc: d\n", "web.yaml: document 1, line 1: the anchor &x is not accepted"),
        ("a: *x\n", "web.yaml: document 1, line 1: the alias *x is not accepted"),
        ("<<: {a: b}\n", "web.yaml: document 1, line 1: the merge key << is not accepted"),
        ("a: !!python/object:os.system x\n", "web.yaml: document 1, line 1: the tag "),
        ("80: a\n", "web.yaml: document 1, line 1: the key 80 is not text; put it in quotes"),
        ("? {a: b}\n: c\n", "web.yaml: document 1, line 1: the key that begins here is not text"),
        ("a: .inf\n", "web.yaml: document 1, line 1: .inf is a number that JSON can't carry"),
        ("a: 1e999\n", "web.yaml: document 1, line 1: 1e999 is a number that JSON can't carry"),
        (f"a: {'9' * 5000}\n", "web.yaml: document 1, line 1: 9999999999"),
        ('a: "\\0"\n', "web.yaml: document 1, line 1: text with a NUL"),
        ("just words\n", "web.yaml: document 1 (line 1): 'just words' is no object; begin with `apiVersion:`"),
        ("[1, 2]\n", "web.yaml: document 1 (line 1): [1, 2] is no object"),
        ("{apiVersion: v1, kind: List, items: 5}", "web.yaml: document 1 (line 1): List: items: it must be a list"),
        ("{apiVersion: v1, kind: List, items: [5]}", "web.yaml: document 1 (line 1): List: items[0]: 5 is no object"),
        ("a: \ud800", "web.yaml: not YAML: half of a surrogate pair"),
        ("a: \x07", "web.yaml: not YAML: control characters are not allowed"),
        (b"a: \xff", "web.yaml: byte 3 is not UTF-8"),
    ],
)
def test_yaml_that_a_manifest_may_not_hold_is_named_with_its_line(text: str | bytes, expected: str) -> None:
    """What is not YAML, or is more than a manifest needs of it, is refused where it stands."""
    message = _mistake(text)
    assert message.startswith(expected), message


def test_a_yaml_bomb_is_refused_at_its_first_anchor() -> None:
    """Nothing is expanded."""
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    assert _mistake("\n".join(lines)).startswith("web.yaml: document 1, line 1: the anchor &a0 is not accepted")


@pytest.mark.parametrize("text", ["[" * 300_000, "{a: " * 200_000, "- " * 400_000, "? " * 400_000])
def test_deep_nesting_is_refused(text: str) -> None:
    """Nesting is stopped long before it could exhaust a stack."""
    assert "nested deeper than 64 levels" in _mistake(text)


def test_a_file_that_is_too_large_is_not_parsed(tmp_path: Path) -> None:
    """A file of 10 MB is refused for its size, whatever is in it."""
    path = tmp_path / "large.yaml"
    path.write_bytes(b"\t" * 10_000_000)
    with pytest.raises(InputError, match=r"large\.yaml: it is larger than 1000 kB; split it"):
        load([path])
    assert _mistake(b"#" * (MAX_BYTES + 1)).startswith("web.yaml: it is larger than 1000 kB")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/nowhere/a.yaml", "No such file"), ("/", "Is a directory"), ("a\0b", "null byte")],
)
def test_a_file_that_cannot_be_read_is_named(path: str, expected: str) -> None:
    """The message has the path and the system's reason."""
    with pytest.raises(InputError, match=expected):
        load([path])


def test_no_file_is_a_mistake() -> None:
    """At least one manifest has to be given."""
    with pytest.raises(InputError, match="no manifest given"):
        load([])
