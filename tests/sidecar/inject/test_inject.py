"""Who gets a sidecar, and what the injected pod is made of."""

import json

import pytest
from injecting import PLAIN, deployment, injected, manifest, options, pod, proxy, variables

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest
from sidelab.sidecar.inject import inject, inject_pod
from sidelab.sidecar.interception.options.options import Options

OTHER = "{name: other, image: nginx}"


def wanted(label: str, annotation: str, namespace: str) -> bool:
    """Return whether a pod is injected that says this, in a namespace that says that."""
    found = manifest(
        f"""
        apiVersion: v1
        kind: Namespace
        metadata: {{name: shop, labels: {{{namespace}}}}}
        ---
        apiVersion: v1
        kind: Pod
        metadata: {{name: web, namespace: shop, labels: {{{label}}}, annotations: {{{annotation}}}}}
        spec: {{containers: [{PLAIN}]}}
        """
    )
    return inject(found) != found


ON, OFF = 'sidecar.istio.io/inject: "true"', 'sidecar.istio.io/inject: "false"'
ENABLED, DISABLED = "istio-injection: enabled", "istio-injection: disabled"


@pytest.mark.parametrize(
    ("expected", "label", "annotation", "namespace"),
    [
        (False, "", "", ""),
        (True, ON, "", ""),
        (True, "", ON, ""),
        (True, "", "", ENABLED),
        (False, OFF, ON, ENABLED),
        (True, ON, OFF, ""),
        (False, "", OFF, ENABLED),
        (False, ON, ON, DISABLED),
    ],
)
def test_who_is_injected(expected: bool, label: str, annotation: str, namespace: str) -> None:
    """The label wins over the annotation, both win over the namespace, and a namespace that is disabled over all."""
    assert expected == wanted(label, annotation, namespace)


def test_a_word_that_is_neither_true_nor_false_is_refused() -> None:
    """Of the label, too, what is not understood is an error and not a no."""
    with pytest.raises(InputError, match=r"pod web: sidecar\.istio\.io/inject: 'yes' is neither 'true' nor 'false'"):
        wanted("sidecar.istio.io/inject: 'yes'", "", "")


def test_containers_stand_in_istios_order() -> None:
    """The pod's init containers run before the rules are there; the application stays the first container."""
    spec = injected("", PLAIN, OTHER, spec="initContainers: [{name: first, image: busybox}]").spec

    assert ["first", "istio-init"] == [each.name for each in spec.init_containers]
    assert ["nginx", "other", "istio-proxy"] == [each.name for each in spec.containers]


def test_the_application_may_wait_for_the_proxy() -> None:
    """With holdApplicationUntilProxyStarts the proxy is first, and the others are started when its wait has ended."""
    spec = injected("proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true'").spec
    hook = spec.containers[0].hooks["lifecycle.postStart"]

    assert ["istio-proxy", "nginx"] == [each.name for each in spec.containers]
    assert hook.exec is not None
    assert ("pilot-agent", "wait") == hook.exec.command


def test_a_native_sidecar_serves_the_init_containers_too() -> None:
    """It is an init container that goes on running, after the rules and before the pod's own, and drains at the end."""
    found = injected("sidecar.istio.io/nativeSidecar: 'true'", spec="initContainers: [{name: first, image: busybox}]")
    sidecar = proxy(found)

    assert ["istio-init", "istio-proxy", "first"] == [each.name for each in found.spec.init_containers]
    assert ["nginx"] == [each.name for each in found.spec.containers]
    assert sidecar.is_sidecar
    assert ["lifecycle.preStop"] == list(sidecar.hooks)


def test_istio_init_is_told_what_the_tutorial_shows() -> None:
    """Its arguments are those of Istio's injector, it is root, and has two capabilities and no more."""
    init = injected().container("istio-init")
    shown = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020"
    context = init.security_context

    assert tuple(shown.split(" ")) == init.args
    assert (0, 0, False) == (context.run_as_user, context.run_as_group, context.run_as_non_root)
    assert (("NET_ADMIN", "NET_RAW"), ("ALL",)) == (context.capabilities.add, context.capabilities.drop)


def test_istio_proxy_is_user_1337_without_capabilities() -> None:
    """Rules know the proxy by its uid, so the container has it, and nothing else."""
    context = proxy(injected()).security_context

    assert (1337, 1337, True) == (context.run_as_user, context.run_as_group, context.run_as_non_root)
    assert ((), ("ALL",)) == (context.capabilities.add, context.capabilities.drop)


def test_a_transparent_proxy_is_root_and_known_by_its_group() -> None:
    """TPROXY needs a capability that only root keeps; the rules still spare gid 1337."""
    found = injected("sidecar.istio.io/interceptionMode: TPROXY")
    context = proxy(found).security_context

    assert (0, 1337, False) == (context.run_as_user, context.run_as_group, context.run_as_non_root)
    assert ("NET_ADMIN",) == context.capabilities.add
    assert "TPROXY" == options(found)["-m"] == variables(proxy(found))["ISTIO_META_INTERCEPTION_MODE"]
    assert (1337,) == Options.from_args(found.container("istio-init").args[1:]).proxy_gids


def test_without_interception_there_is_no_istio_init() -> None:
    """The mode NONE leaves the network alone; the proxy is there for who asks it by its port."""
    spec = injected("sidecar.istio.io/interceptionMode: NONE").spec

    assert () == spec.init_containers
    assert ["nginx", "istio-proxy"] == [each.name for each in spec.containers]


def test_rules_without_a_proxy_leave_probes_alone() -> None:
    """`sidelab.io/proxy: none` adds istio-init only; no agent is there to be asked, and no metrics."""
    found = injected("sidelab.io/proxy: none", "{name: a, image: nginx, readinessProbe: {tcpSocket: {port: 80}}}")

    assert ["a"] == [each.name for each in found.spec.containers]
    assert 80 == found.spec.containers[0].probes["readinessProbe"].port
    assert "prometheus.io/port" not in found.metadata.annotations


def test_the_proxys_probes_are_istios() -> None:
    """Ten minutes to start, asked every second; then four chances, a quarter of a minute apart."""
    found = proxy(injected()).probes
    times = {name: (each.period_seconds, each.failure_threshold, each.timeout_seconds) for name, each in found.items()}

    assert {"startupProbe": (1, 600, 3), "readinessProbe": (15, 4, 3)} == times
    assert {15021} == {each.port for each in found.values()}


def test_the_environment_names_the_workload() -> None:
    """The proxy learns whose it is, which containers and ports it serves, and how traffic gets to it."""
    one = "{name: a, image: nginx, ports: [{name: http, containerPort: 80}, {containerPort: 53, protocol: UDP}]}"
    found = variables(proxy(injected("", one, OTHER)))
    ports = [
        {"name": "http", "containerPort": 80, "protocol": "TCP"},
        {"containerPort": 53, "protocol": "UDP"},
    ]

    assert "a,other" == found["ISTIO_META_APP_CONTAINERS"]
    assert ports == json.loads(found["ISTIO_META_POD_PORTS"])
    assert "web" == found["ISTIO_META_WORKLOAD_NAME"]
    assert "kubernetes://apis/v1/namespaces/default/pods/web" == found["ISTIO_META_OWNER"]
    assert "REDIRECT" == found["ISTIO_META_INTERCEPTION_MODE"]
    assert "{}" == found["PROXY_CONFIG"]
    assert "ISTIO_KUBE_APP_PROBERS" not in found


def test_a_deployments_template_is_injected() -> None:
    """All its pods belong to one workload, which has the Deployment's name."""
    (shop,) = inject(Manifest(deployments=(deployment(),))).deployments
    template = shop.spec.template
    found = variables(template.spec.containers[-1])

    assert ["nginx", "istio-proxy"] == [each.name for each in template.spec.containers]
    assert "shop" == found["ISTIO_META_WORKLOAD_NAME"]
    assert "kubernetes://apis/apps/v1/namespaces/market/deployments/shop" == found["ISTIO_META_OWNER"]
    assert "shop" == template.metadata.labels["service.istio.io/canonical-name"]
    assert {} == shop.metadata.annotations
    assert ["shop-1", "shop-2"] == [each.name for each in shop.pods()]


@pytest.mark.parametrize(
    ("expected", "labels"),
    [
        (("web", "latest"), ""),
        (("shop", "v2"), "app: shop, version: v2"),
        (("name", "3"), "app: shop, version: v2, app.kubernetes.io/name: name, app.kubernetes.io/version: '3'"),
        (("own", "mine"), "app: shop, service.istio.io/canonical-name: own, service.istio.io/canonical-revision: mine"),
    ],
)
def test_canonical_names(expected: tuple[str, str], labels: str) -> None:
    """What the pod says itself counts, then Kubernetes' labels, then `app` and `version`, then its name."""
    found = injected(labels=labels).metadata.labels

    assert expected == (found["service.istio.io/canonical-name"], found["service.istio.io/canonical-revision"])
    assert "istio" == found["security.istio.io/tlsMode"]


def test_the_status_says_what_was_added() -> None:
    """Tools, and the injector itself, know an injected pod by this annotation."""
    native = injected("sidecar.istio.io/nativeSidecar: 'true'")

    assert {
        "initContainers": ["istio-init"],
        "containers": ["istio-proxy"],
        "volumes": None,
        "imagePullSecrets": None,
        "revision": "default",
    } == json.loads(injected().metadata.annotations["sidecar.istio.io/status"])
    status = json.loads(native.metadata.annotations["sidecar.istio.io/status"])
    assert (["istio-init", "istio-proxy"], None) == (status["initContainers"], status["containers"])


def test_prometheus_is_sent_to_the_agent() -> None:
    """It merges the proxy's metrics with the application's, whose place it is told; unless that is not wanted."""
    where = "prometheus.io/scrape: 'true', prometheus.io/port: '9090', prometheus.io/path: /m"
    found = injected(where)
    apart = injected(f"{where}, prometheus.istio.io/merge-metrics: 'false'")

    assert ("/stats/prometheus", "15020") == tuple(
        found.metadata.annotations[f"prometheus.io/{x}"] for x in ("path", "port")
    )
    told = json.loads(variables(proxy(found))["ISTIO_PROMETHEUS_ANNOTATIONS"])
    assert {"scrape": "true", "path": "/m", "port": "9090"} == told
    assert "9090" == apart.metadata.annotations["prometheus.io/port"]
    assert "ISTIO_PROMETHEUS_ANNOTATIONS" not in variables(proxy(apart)) | variables(proxy(injected()))


def test_what_injection_makes_invalid_is_refused_by_name() -> None:
    """A value that Kubernetes does not accept is the user's mistake, not a bug."""
    with pytest.raises(InputError, match=r"pod web: with a sidecar it would not be valid: annotations"):
        inject_pod(pod(f"a: {'x' * 262_000}"))
