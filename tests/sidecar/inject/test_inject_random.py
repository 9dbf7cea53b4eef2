"""Whatever a pod says: injection gives a valid manifest, twice is as once, and Istio's agent could read its part."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import (
    GRPC,
    Container,
    Deployment,
    DeploymentSpec,
    Exec,
    Handler,
    HTTPGet,
    HTTPHeader,
    LabelSelector,
    Lifecycle,
    Manifest,
    Metadata,
    Namespace,
    Pod,
    PodSecurityContext,
    PodSpec,
    PodTemplate,
    Port,
    Probe,
    SecurityContext,
    Sleep,
    TCPSocket,
    TemplateMetadata,
    decode,
    encode,
)
from sidelab.sidecar.config.annotations import INJECT, TABLE
from sidelab.sidecar.inject import NAMESPACE_LABEL, PROXY_NAME, inject, warnings
from sidelab.sidecar.pod_rules import of_pod

pytestmark = pytest.mark.slow

PATH = re.compile(r"/(app-health|app-lifecycle)/[^/]+/(livez|readyz|startupz|prestopz|poststartz)")  # the agent's own
NAMES = st.sampled_from(["a", "b-1", "main", "istio-proxy", "x" * 63])
PORTS = st.integers(1, 65535)
ENDS = PORTS | st.just("http")
GETS = st.builds(
    HTTPGet,
    port=ENDS,
    path=st.sampled_from(["/", '/a?b="c"&d=\\']),
    scheme=st.sampled_from(["HTTP", "HTTPS"]),
    host=st.sampled_from(["", "example.org"]),
    http_headers=st.lists(st.builds(HTTPHeader, name=st.just("A"), value=st.sampled_from(["", '"'])), max_size=1).map(
        tuple
    ),
)
SOCKETS = st.builds(TCPSocket, port=ENDS)
COMMANDS = st.just(Exec(command=("true",)))
PROBES = st.none() | st.one_of(
    st.builds(Probe, http_get=GETS),
    st.builds(Probe, tcp_socket=SOCKETS, timeout_seconds=st.integers(1, 60)),
    st.builds(Probe, grpc=st.builds(GRPC, port=PORTS, service=st.sampled_from(["", "s"]))),
    st.builds(Probe, exec=COMMANDS),
)
HOOKS = st.none() | st.one_of(
    st.builds(Handler, http_get=GETS),
    st.builds(Handler, tcp_socket=SOCKETS),
    st.builds(Handler, exec=COMMANDS),
    st.just(Handler(sleep=Sleep(seconds=1))),
)
IDS = st.sampled_from([None, 1, 1337])


def containers(policy: str = "") -> st.SearchStrategy[Container]:
    """Return containers with every kind of probe and hook."""
    return st.builds(
        Container,
        name=NAMES,
        image=st.just("nginx"),
        ports=PORTS.map(lambda number: (Port(name="http", container_port=number),)),
        readiness_probe=PROBES,
        liveness_probe=PROBES,
        startup_probe=PROBES,
        lifecycle=st.none() | st.builds(Lifecycle, post_start=HOOKS, pre_stop=HOOKS),
        restart_policy=st.just(policy),
        security_context=st.builds(SecurityContext, run_as_user=IDS, run_as_group=IDS),
    )


@st.composite
def specs(draw: st.DrawFn) -> PodSpec:
    """Return pods whose containers have different names."""
    main = draw(st.lists(containers(), min_size=1, max_size=3, unique_by=lambda each: each.name))
    taken = {each.name for each in main}
    first = draw(st.lists(containers("Always"), max_size=2, unique_by=lambda each: each.name))
    context = draw(st.builds(PodSecurityContext, run_as_user=IDS))
    init = tuple(each for each in first if each.name not in taken)
    return PodSpec(init_containers=init, containers=tuple(main), security_context=context)


WORDS = st.sampled_from(
    [
        *("", "*", "true", "false", "0", "80", "80,15020", "10.0.0.0/8", "eth1", "REDIRECT", "TPROXY", "NONE", "10m"),
        *("none", "envoy", "/bin/x", "http", "text", "json", "100ms", "iptables", "{}", "concurrency: 2"),
        *("holdApplicationUntilProxyStarts: true", "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true', A: \"'\"}"),
        "interceptionMode: TPROXY",
    ]
)
ANNOTATIONS = st.dictionaries(st.sampled_from(sorted(TABLE)), WORDS, max_size=6)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        INJECT.name: st.sampled_from(["true", "false"]),
        "app": st.sampled_from(["", "web", "a" * 63]),
        "version": st.sampled_from(["", "v1"]),
    },
)
OBJECT_NAMES = st.sampled_from(["web", "a" * 62 + "-b", "a" * 62 + ".b", "x.y"])


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Return a pod and a Deployment, in a namespace that may ask for sidecars."""
    enabled = draw(st.sampled_from(["enabled", "disabled", "other"]))
    metadata: dict[str, Any] = {"labels": draw(LABELS), "annotations": draw(ANNOTATIONS)}
    template = PodTemplate(
        metadata=TemplateMetadata(labels={**draw(LABELS), "tier": "web"}, annotations=draw(ANNOTATIONS)),
        spec=draw(specs()),
    )
    spec = DeploymentSpec(selector=LabelSelector(match_labels={"tier": "web"}), template=template)
    return Manifest(
        pods=(Pod(metadata=Metadata(name=draw(OBJECT_NAMES), namespace="shop", **metadata), spec=draw(specs())),),
        deployments=(Deployment(metadata=Metadata(name="shop", namespace="shop"), spec=spec),),
        namespaces=(Namespace(metadata=Metadata(name="shop", labels={NAMESPACE_LABEL: enabled})),),
    )


@given(manifests())
@settings(deadline=None, max_examples=150)
def test_injection_is_idempotent_and_valid(manifest: Manifest) -> None:
    """It is refused with a reason, or it can be written, read again, and injected again to no effect."""
    try:
        once = inject(manifest)
    except InputError:
        return
    again = decode([("injected.yaml", encode(once))])

    assert once == inject(once) == again == inject(again)
    assert warnings(manifest) == warnings(once) == warnings(again)


@given(manifests())
@settings(deadline=None, max_examples=150)
def test_the_agent_can_read_what_it_is_told(manifest: Manifest) -> None:
    """Each rewritten request has its entry and each entry a request; ports are numbers, and there is one handler."""
    try:
        pods = inject(manifest).expanded().pods
    except InputError:
        return
    for pod in pods:
        everything = (*pod.spec.init_containers, *pod.spec.containers)
        proxy = next((each for each in everything if each.name == PROXY_NAME and each.args[:1] == ("proxy",)), None)
        if proxy is None:
            continue
        told = {each.name: each.value for each in proxy.env}
        probers = json.loads(told.get("ISTIO_KUBE_APP_PROBERS", "{}"))
        asked = [each.handler for one in everything for each in (*one.probes.values(), *one.hooks.values())]
        paths = [each.path for each in asked if isinstance(each, HTTPGet) and each.path.startswith("/app-")]
        assert sorted(paths) == list(probers)
        for path, prober in probers.items():
            assert PATH.fullmatch(path)
            (handler,) = prober.keys() & {"httpGet", "tcpSocket", "grpc"}
            assert isinstance(prober[handler]["port"], int)
        json.loads(told["PROXY_CONFIG"])
        json.loads(told["ISTIO_META_POD_PORTS"])


@given(manifests())
@settings(deadline=None, max_examples=150)
def test_the_rules_understand_what_istio_init_is_told(manifest: Manifest) -> None:
    """What the injector accepts istio-iptables accepts."""
    try:
        pods = inject(manifest).expanded().pods
    except InputError:
        return
    for pod in pods:
        rules = of_pod(pod)
        assert rules is None or rules.ruleset.digest
