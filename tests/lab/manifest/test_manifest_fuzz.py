"""Whatever is in a file: a manifest, or one message. Whatever is in a manifest: the same after a round trip."""

from contextlib import suppress
from copy import deepcopy
from functools import reduce
from operator import getitem
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidelab.lab.base.text.escapes import uncommanding, visible
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import (
    GRPC,
    Capabilities,
    Container,
    Deployment,
    DeploymentSpec,
    EnvVar,
    Exec,
    Handler,
    HTTPGet,
    LabelSelector,
    Lifecycle,
    Manifest,
    Metadata,
    Namespace,
    Pod,
    PodSpec,
    PodTemplate,
    Port,
    Probe,
    SecurityContext,
    Service,
    ServicePort,
    ServiceSpec,
    Sleep,
    TCPSocket,
    TemplateMetadata,
    decode,
    encode,
)
from sidelab.lab.manifest.yaml.yaml_text import read_documents, write_documents

pytestmark = pytest.mark.slow

VALID = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"a/b": "c"}},
    "spec": {
        "restartPolicy": "Never",
        "nodeSelector": {"disk": "ssd"},
        "initContainers": [
            {"name": "first", "image": "busybox", "command": ["true"]},
            {"name": "side", "image": "busybox", "restartPolicy": "Always"},
        ],
        "containers": [
            {
                "name": "app",
                "image": "nginx",
                "env": [
                    {"name": "A", "value": "b"},
                    {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                "livenessProbe": {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 5},
                "startupProbe": {"grpc": {"port": 9, "service": "s"}},
                "lifecycle": {"postStart": {"httpGet": {"port": "http"}}, "preStop": {"sleep": {"seconds": 1}}},
                "securityContext": {"runAsUser": 1, "capabilities": {"add": ["NET_ADMIN"]}},
            }
        ],
    },
}
VALID_DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "strategy": {"type": "Recreate"},
        "template": {
            "metadata": {"labels": {"app": "web"}, "annotations": {"a/b": "c"}},
            "spec": {"containers": [{"name": "app", "image": "nginx"}]},
        },
    },
}

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def _decodes_or_says_why(content: str | bytes) -> None:
    message, manifest = "", None
    try:
        manifest = decode([("f.yaml", content)])
    except InputError as error:
        message = str(error)
    if manifest is None:
        assert message.startswith("f.yaml: ")
        assert len(message.splitlines()) == 1
    else:
        assert decode([("f.yaml", encode(manifest))]) == manifest


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for step, each in steps for place in _places(each, (*path, step)))][(not path) :]


PLACES = _places(VALID)
DEPLOYMENT_PLACES = _places(VALID_DEPLOYMENT)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.text(max_size=200) | st.binary(max_size=200))
@example("- \t")
@example("%YAML 1.1\n---\n...\n")
@example("\ufeffkind: Pod")
@example(b"\xff\xfek\0i\0")
def test_any_text_decodes_or_gets_one_message(content: str | bytes) -> None:
    """Nothing but InputError comes out of what is no manifest."""
    _decodes_or_says_why(content)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(st.sampled_from([*"-:?[]{},#&*!|>'\"%@` \n\t0aA.~", "\n  ", "- ", ": ", "---\n", "kind: Pod\n"])))
def test_any_yaml_punctuation_decodes_or_gets_one_message(pieces: list[str]) -> None:
    """Text made of what means something to YAML finds no hole either."""
    _decodes_or_says_why("".join(pieces))


def _changed(valid: dict[str, Any], changes: list[tuple[tuple[Any, ...], Any, str]]) -> str:
    document: Any = deepcopy(valid)
    for (*parents, last), value, change in changes:
        # An earlier change may have taken the place away.
        with suppress(KeyError, IndexError, TypeError, AttributeError):
            node = reduce(getitem, parents, document)
            if change == "set":
                node[last] = value
            elif change == "add":
                node[last].update({str(value): value})
            else:
                del node[last]
    return write_documents([document])


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    st.lists(st.tuples(st.sampled_from(PLACES), plain, st.sampled_from(["set", "add", "drop"])), min_size=1, max_size=3)
)
def test_a_changed_manifest_decodes_or_gets_one_message(changes: list[tuple[tuple[Any, ...], Any, str]]) -> None:
    """Any value in the place of any other, a field too many, and a field too few."""
    _decodes_or_says_why(_changed(VALID, changes))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(DEPLOYMENT_PLACES), plain, st.sampled_from(["set", "add", "drop"])),
        min_size=1,
        max_size=3,
    )
)
def test_a_changed_deployment_decodes_or_gets_one_message(changes: list[tuple[tuple[Any, ...], Any, str]]) -> None:
    """The same of a template's fields."""
    _decodes_or_says_why(_changed(VALID_DEPLOYMENT, changes))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.data())
def test_a_damaged_file_decodes_or_gets_one_message(data: st.DataObject) -> None:
    """Characters lost from, and put into, a valid file."""
    content = write_documents([VALID])
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 5)))
    _decodes_or_says_why(content[:start] + data.draw(st.text(max_size=5)) + content[end:])


@settings(deadline=None, derandomize=True, max_examples=300)
@given(plain.filter(lambda value: value is not None))
@example("a\n\n b \n")
@example(" a\n")
@example("\n")
@example("a\n\n\n")
@example("\u2028")
@example(-0.0)
@example(1e22)
@example("a\u202eb\x9b\n::error::c\n ##[d]")
@example("\n  ::error::" + "a " * 1000 + " ::error::b")
def test_plain_values_survive_yaml(value: Any) -> None:
    """What is written is read as the same value, of the same type, escaped for a terminal or not."""
    text = write_documents([{"a": value, "b": [value]}])
    for shown in (text, uncommanding(visible(text))):
        ((_, _, read),) = read_documents("f", shown)
        assert repr(read) == repr({"a": value, "b": [value]})


names = st.from_regex(r"\A[a-z]([-a-z0-9]{0,5}[a-z0-9])?\Z")
numbers = st.integers(1, 65535)
label_values = st.from_regex(r"\A([A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?)?\Z")
words = st.lists(text, max_size=3).map(tuple)
label_maps = st.dictionaries(names, label_values, max_size=2)
metadata = st.builds(
    Metadata, name=names, namespace=names, labels=label_maps, annotations=st.dictionaries(names, text, max_size=2)
)
timings = {"period_seconds": st.integers(1, 100), "failure_threshold": st.integers(1, 9)}
probes = st.one_of(
    st.builds(Probe, http_get=st.builds(HTTPGet, port=numbers, path=names.map("/{}".format)), **timings),
    st.builds(Probe, tcp_socket=st.builds(TCPSocket, port=numbers), **timings),
    st.builds(Probe, exec=st.builds(Exec, command=words.filter(len)), **timings),
    st.builds(Probe, grpc=st.builds(GRPC, port=numbers, service=text), **timings),
)
grace = {"termination_grace_period_seconds": st.none() | st.integers(1, 99)}
liveness = st.builds(
    Probe, http_get=st.builds(HTTPGet, port=numbers, scheme=st.sampled_from(["HTTP", "HTTPS"])), **timings, **grace
)
hooks = st.one_of(
    st.builds(Handler, http_get=st.builds(HTTPGet, port=numbers)),
    st.builds(Handler, tcp_socket=st.builds(TCPSocket, port=numbers)),
    st.builds(Handler, exec=st.builds(Exec, command=words.filter(len))),
    st.builds(Handler, sleep=st.builds(Sleep, seconds=st.integers(0, 30))),
)
values = plain.filter(lambda value: value is not None)
containers = st.builds(
    Container,
    name=names,
    image=names,
    command=words,
    args=words,
    working_dir=text,
    env=st.lists(st.builds(EnvVar, name=names, value=text), max_size=2, unique_by=lambda each: each.name).map(tuple),
    ports=st.lists(st.builds(Port, container_port=numbers), max_size=2).map(tuple),
    readiness_probe=st.none() | probes,
    liveness_probe=st.none() | liveness,
    startup_probe=st.none() | liveness,
    lifecycle=st.none() | st.builds(Lifecycle, post_start=st.none() | hooks, pre_stop=st.none() | hooks),
    resources=st.dictionaries(text, plain, max_size=2),
    security_context=st.builds(
        SecurityContext,
        run_as_user=st.none() | st.integers(0, 9999),
        capabilities=st.builds(Capabilities, add=st.sampled_from([(), ("NET_RAW",)])),
    ),
    inert=st.fixed_dictionaries({}, optional={"stdin": values, "imagePullPolicy": values}),
)
pods = st.builds(
    Pod,
    metadata=metadata,
    spec=st.builds(
        PodSpec,
        containers=st.lists(containers, min_size=1, max_size=2, unique_by=lambda each: each.name).map(tuple),
        restart_policy=st.sampled_from(["Always", "OnFailure", "Never"]),
        hostname=st.just("") | names,
        inert=st.fixed_dictionaries({}, optional={"nodeSelector": values, "tolerations": values}),
    ),
)
services = st.builds(
    Service,
    metadata=metadata,
    spec=st.builds(
        ServiceSpec,
        selector=label_maps,
        ports=st.builds(ServicePort, port=numbers, target_port=st.none() | numbers | st.just("http")).map(
            lambda port: (port,)
        ),
    ),
)
sidecars = containers.map(lambda each: replace(each, name=f"{each.name}-s", restart_policy="Always"))
deployments = st.builds(
    lambda metadata, labels, extra, spec, replicas: Deployment(
        metadata=metadata,
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(match_labels=labels),
            template=PodTemplate(metadata=TemplateMetadata(labels={**extra, **labels}), spec=spec),
        ),
    ),
    metadata,
    st.dictionaries(names, label_values, min_size=1, max_size=2),
    label_maps,
    st.builds(
        PodSpec,
        init_containers=st.lists(sidecars, max_size=1).map(tuple),
        containers=containers.map(lambda each: (each,)),
    ),
    st.integers(0, 5),
)
namespaces = st.builds(Namespace, metadata=st.builds(Metadata, name=names, labels=label_maps))


def _several(objects: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(objects, max_size=2, unique_by=lambda each: each.key).map(tuple)


manifests = st.builds(
    Manifest,
    pods=_several(pods),
    deployments=_several(deployments),
    services=_several(services),
    namespaces=_several(namespaces),
).filter(lambda manifest: manifest.objects)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(manifests)
def test_a_manifest_survives_a_round_trip(manifest: Manifest) -> None:
    """decode(encode(m)) == m, the fields without effect included."""
    assert decode([("f.yaml", encode(manifest))]) == manifest


@settings(deadline=None, derandomize=True, max_examples=50)
@given(manifests)
def test_expansion_adds_each_deployments_pods(manifest: Manifest) -> None:
    """As many as its replicas, each of them valid by itself; or one message about a name that is taken."""
    try:
        expanded = manifest.expanded()
    except InputError as error:
        assert "a Deployment makes one of that name" in str(error)  # noqa: PT017  # nothing raised is as well
        return
    count = sum(each.spec.replicas for each in manifest.deployments)
    assert len(expanded.pods) == len(manifest.pods) + count
    if expanded.objects:
        assert decode([("f.yaml", encode(expanded))]) == expanded
