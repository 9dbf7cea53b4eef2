import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from msgspec.structs import fields as struct_fields
from msgspec.structs import replace

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import (
    GRPC,
    Container,
    Deployment,
    DeploymentSpec,
    EnvVar,
    FieldError,
    Handler,
    HTTPGet,
    LabelSelector,
    Lifecycle,
    Manifest,
    Metadata,
    Object,
    Part,
    Pod,
    PodSpec,
    PodTemplate,
    Port,
    Probe,
    Rows,
    SecurityContext,
    Service,
    ServiceAccount,
    ServiceSpec,
    Sleep,
    TCPSocket,
    decode,
    encode,
    load,
)
from sidelab.lab.manifest.fields import OBJECT, Inert, Rejected

EXAMPLES = Path(__file__).parents[3] / "examples"

FULL = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web, sidecar.istio.io/inject: "true"}
  annotations: {example.org/note: "two words"}
spec:
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 5
  hostname: web-1
  serviceAccountName: seller
  nodeSelector: {disk: ssd}
  securityContext: {runAsUser: 1000, fsGroup: 2000}
  initContainers:
    - {name: first, image: busybox, command: ["true"]}
  containers:
    - name: app
      image: nginx:1.27
      command: [server]
      args: ["--verbose"]
      workingDir: /srv
      env:
        - {name: MODE, value: fast}
        - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
      ports:
        - {name: http, containerPort: 8080}
        - {containerPort: 53, protocol: UDP}
      resources: {limits: {cpu: 100m}}
      readinessProbe:
        httpGet: {path: /ready, port: http, httpHeaders: [{name: X-Probe, value: "1"}]}
        periodSeconds: 3
      securityContext:
        runAsUser: 1337
        capabilities: {add: [NET_ADMIN], drop: [ALL]}
"""


def _one_pod(text: str) -> Pod:
    (pod,) = decode([("web.yaml", text)]).pods
    return pod


def _pod(name: str = "web", namespace: str = "default") -> Pod:
    container = Container(name="app", image="nginx")
    return Pod(metadata=Metadata(name=name, namespace=namespace), spec=PodSpec(containers=(container,)))


def test_a_pod_is_decoded_with_every_honoured_field() -> None:
    """Each field that has an effect arrives in its place of the model."""
    web = _one_pod(FULL)
    app = web.container("app")
    assert web.key == ("shop", "web")
    assert web.metadata.labels == {"app": "web", "sidecar.istio.io/inject": "true"}
    assert (web.spec.restart_policy, web.spec.hostname, web.spec.service_account_name) == (
        "OnFailure",
        "web-1",
        "seller",
    )
    assert [each.name for each in web.spec.init_containers] == ["first"]
    assert (app.command, app.args, app.working_dir) == (("server",), ("--verbose",), "/srv")
    assert app.env[0] == EnvVar(name="MODE", value="fast")
    assert app.env[1].value_from is not None
    assert app.env[1].value_from.field_ref.field_path == "status.podIP"
    assert app.ports == (Port(name="http", container_port=8080), Port(container_port=53, protocol="UDP"))
    assert app.security_context.run_as_user == 1337
    assert app.security_context.capabilities.add == ("NET_ADMIN",)
    assert web.spec.security_context.run_as_user == 1000


def test_defaults_are_those_of_kubernetes() -> None:
    """What a manifest leaves out has the value that an API server would fill in."""
    web = _pod()
    probe = Probe(http_get=HTTPGet(port=80))
    assert web.key == ("default", "web")
    assert (web.spec.restart_policy, web.spec.termination_grace_period_seconds) == ("Always", 30)
    assert (probe.initial_delay_seconds, probe.timeout_seconds, probe.period_seconds) == (0, 1, 10)
    assert (probe.success_threshold, probe.failure_threshold) == (1, 3)


def test_a_probes_port_may_be_a_name() -> None:
    """The container translates the names of its ports into numbers."""
    app = _one_pod(FULL).container("app")
    assert app.readiness_probe is not None
    assert app.readiness_probe.port == "http"
    assert app.port_number("http") == 8080
    assert app.port_number(53) == 53


def test_fields_without_effect_are_caveats_and_survive() -> None:
    """An inert field is named with its file, object and path, and is written again by encode."""
    manifest = decode([("web.yaml", FULL)])
    assert manifest.caveats == (
        "web.yaml: Pod shop/web: spec.nodeSelector has no effect here: a lab has one node, and nothing is scheduled",
        "web.yaml: Pod shop/web: spec.containers[0].resources has no effect here: nothing is limited or reserved yet",
        (
            "web.yaml: Pod shop/web: spec.securityContext.fsGroup has no effect here: "
            "the files are the host's, read-only, and keep their owners"
        ),
    )
    assert manifest.pods[0].spec.inert == {"nodeSelector": {"disk": "ssd"}}
    assert decode([("again.yaml", encode(manifest))]) == manifest


@pytest.mark.parametrize(
    "spec", ["hostNetwork: false", "volumes: []", "os: {name: linux}", "nodeSelector: {}", "hostAliases: null"]
)
def test_a_value_that_changes_nothing_is_no_caveat(spec: str) -> None:
    """A rejected or inert field may say what happens anyway."""
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers: [{{name: a, image: a}}]\n  {spec}\n"
    assert decode([("a.yaml", text)]).caveats == ()


def test_null_means_absent() -> None:
    """A field without a value is as if it were not there, as on a cluster."""
    text = FULL.replace("hostname: web-1", "hostname:").replace('args: ["--verbose"]', "args: null")
    assert _one_pod(text).spec.hostname == ""
    assert _one_pod(text).container("app").args == ()


def test_a_manifest_holds_several_kinds_documents_and_files() -> None:
    """Objects are sorted by kind, in the order of files and documents; empty documents are skipped."""
    first = "---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}}\n---\n" + FULL
    second = """
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}
  - {apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, image: nginx}]}}
"""
    manifest = decode([("1.yaml", first), ("2.yaml", second.encode())])
    assert [each.key for each in manifest.pods] == [("shop", "web"), ("default", "web")]
    assert [each.name for each in manifest.namespaces] == ["shop"]
    assert [each.spec.ports[0].port for each in manifest.services] == [80]


def test_a_service_is_kept_whole() -> None:
    """A Service is valid and complete in the manifest, and there is nothing to say about it."""
    text = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  ipFamilyPolicy: PreferDualStack
  ipFamilies: [IPv6]
  ports:
    - {name: http, port: 80, targetPort: http}
    - {name: admin, port: 81, targetPort: 8081}
"""
    manifest = decode([("s.yaml", text)])
    (service,) = manifest.services
    assert service.spec.cluster_ip == "None"
    assert [port.target_port for port in service.spec.ports] == ["http", 8081]
    assert ("IPv6", "IPv4") == service.spec.families
    assert () == manifest.caveats
    assert decode([("s.yaml", encode(manifest))]) == manifest


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: {team: a}, annotations: {b: c}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web, version: v1}
      annotations: {example.org/note: "two words"}
    spec:
      containers: [{name: nginx, image: nginx}]
"""


def test_a_deployment_stands_for_numbered_pods() -> None:
    """They are in its namespace, with the template's labels and annotations, behind the manifest's own pods."""
    manifest = decode([("d.yaml", DEPLOYMENT + "---" + FULL.replace("name: web", "name: own"))])
    expanded = manifest.expanded()
    assert [each.key for each in expanded.pods] == [("shop", "own"), ("shop", "web-1"), ("shop", "web-2")]
    pod = expanded.pods[1]
    assert pod.metadata.labels == {"app": "web", "version": "v1"}
    assert pod.metadata.annotations == {"example.org/note": "two words"}
    assert pod.spec == manifest.deployments[0].spec.template.spec
    assert expanded.deployments == ()
    assert expanded.expanded() == expanded


def test_a_deployment_is_written_as_one() -> None:
    """`encode` knows it as it was, and so does whoever reads that."""
    manifest = decode([("d.yaml", DEPLOYMENT)])
    assert encode(manifest).startswith("---\napiVersion: apps/v1\nkind: Deployment\n")
    assert decode([("again.yaml", encode(manifest))]) == manifest


def test_a_deployment_may_have_no_pods() -> None:
    """`replicas: 0` is a way to switch it off; without `replicas` there is one."""
    counts = [
        len(decode([("d.yaml", DEPLOYMENT.replace("replicas: 2", text))]).expanded().pods)
        for text in ("replicas: 0", "")
    ]
    assert counts == [0, 1]


def test_a_pod_called_like_a_deployments_is_refused() -> None:
    """Which is which could not be told."""
    manifest = decode([("d.yaml", DEPLOYMENT + "---" + FULL.replace("name: web", "name: web-2", 1))])
    with pytest.raises(InputError, match="Pod shop/web-2 is there, and a Deployment makes one of that name"):
        manifest.expanded()


def test_more_pods_than_a_lab_has_room_for_are_refused_before_they_are_made() -> None:
    """However many replicas are asked for."""
    manifest = decode([("d.yaml", DEPLOYMENT.replace("replicas: 2", "replicas: 2000000000"))])
    with pytest.raises(InputError, match="the manifest asks for 2000000000 pods; a lab has room for 65000"):
        manifest.expanded()


def test_what_a_rollout_would_need_is_a_caveat() -> None:
    """So is a template's name, which is not used."""
    text = DEPLOYMENT.replace("replicas: 2", "minReadySeconds: 5").replace(
        "labels: {app", "name: x\n      labels: {app"
    )
    paths = [each.split(": ")[2].split()[0] for each in decode([("d.yaml", text)]).caveats]
    assert paths == ["spec.minReadySeconds", "spec.template.metadata.name"]


def test_a_service_account_is_a_name() -> None:
    """It is accepted, kept, and without effect."""
    text = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: seller}\nautomountServiceAccountToken: false\n"
    manifest = decode([("a.yaml", text)])
    assert (len(manifest.others), manifest.caveats) == (1, ())
    assert decode([("again.yaml", encode(manifest))]) == manifest


def test_hooks_and_sidecars_arrive_in_their_places() -> None:
    """PostStart and preStop of each kind, and an init container that goes on running."""
    text = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  initContainers: [{name: side, image: a, restartPolicy: Always, startupProbe: {grpc: {port: 9, service: s}}}]
  containers:
    - name: app
      image: nginx
      ports: [{name: http, containerPort: 8080}]
      livenessProbe: {httpGet: {port: http, scheme: HTTPS}, terminationGracePeriodSeconds: 3}
      lifecycle: {postStart: {tcpSocket: {port: http}}, preStop: {sleep: {seconds: 2}}}
"""
    web = _one_pod(text)
    side, app = web.container("side"), web.container("app")
    assert [side.is_sidecar, app.is_sidecar] == [True, False]
    assert side.startup_probe == Probe(grpc=GRPC(port=9, service="s"))
    assert app.liveness_probe == Probe(
        http_get=HTTPGet(port="http", scheme="HTTPS"), termination_grace_period_seconds=3
    )
    assert app.lifecycle == Lifecycle(
        post_start=Handler(tcp_socket=TCPSocket(port="http")), pre_stop=Handler(sleep=Sleep(seconds=2))
    )
    assert {name: hook.port for name, hook in app.hooks.items()} == {
        "lifecycle.postStart": "http",
        "lifecycle.preStop": None,
    }


class Gate(Object, frozen=True, kw_only=True):
    """A kind that lab has never heard of."""

    rows: ClassVar[Rows] = {**OBJECT, "color": Inert("it is not painted")}
    api_version: str = "example.org/v1"
    kind: str = "Gate"
    width: int


def test_callers_register_kinds_of_their_own() -> None:
    """A registered kind is decoded, classified by its own rows, kept in `others` and written back."""
    text = "apiVersion: example.org/v1\nkind: Gate\nmetadata: {name: g}\nwidth: 3\ncolor: red\n"
    kinds = {("example.org/v1", "Gate"): Gate}
    manifest = decode([("g.yaml", text)], kinds)
    assert manifest.others == (Gate(metadata=Metadata(name="g"), width=3, inert={"color": "red"}),)
    assert manifest.caveats == ("g.yaml: Gate default/g: color has no effect here: it is not painted",)
    assert decode([("g.yaml", encode(manifest))], kinds) == manifest


def test_plain_scalars_mean_what_they_mean_to_kubectl() -> None:
    """Octal and hexadecimal ports are numbers; times, dates and versions are text."""
    text = FULL.replace("8080", "0x1F90").replace("53", "0o65")
    assert [port.container_port for port in _one_pod(text).container("app").ports] == [8080, 53]
    text = FULL.replace('"--verbose"', "12:30, 2024-01-01, 1.2.3, -")
    assert _one_pod(text).container("app").args == ("12:30", "2024-01-01", "1.2.3", "-")


def test_encode_quotes_text_that_looks_like_something_else() -> None:
    """Arguments that YAML would read as numbers, booleans or nothing come back as text."""
    words = ("y", "no", "1e3", "0x1f", "08", "1_000", "", "~", ".nan", "<<", "9" * 99, "a: b", "# c", "x\ny\n", "\t")
    before = Manifest(pods=(replace(_pod(), spec=PodSpec(containers=(Container(name="a", image="b", args=words),))),))
    assert decode([("w.yaml", encode(before))]) == before


def test_encode_begins_with_kind_and_leaves_defaults_out() -> None:
    """The text is what a person would write."""
    assert encode(Manifest(pods=(_pod(),))) == (
        "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n"
        "spec:\n  containers:\n  - name: app\n    image: nginx\n"
    )


def test_load_reads_files_and_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are read in order, and - is standard input."""
    (tmp_path / "web.yaml").write_text(FULL)
    other = FULL.replace("namespace: shop", "namespace: other")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(other.encode())))
    manifest = load([tmp_path / "web.yaml", "-"])
    assert [each.namespace for each in manifest.pods] == ["shop", "other"]


@pytest.mark.parametrize("name", ["nginx.yaml", "nginx-injected.yaml"])
def test_the_examples_are_valid_without_caveats(name: str) -> None:
    """The examples decode into a server and a client."""
    manifest = load([EXAMPLES / name])
    assert [each.name for each in manifest.pods] == ["nginx", "client"]
    assert manifest.caveats == ()


def test_the_injected_example_is_the_plain_one_with_a_label_and_a_log() -> None:
    """The two examples differ in nothing else."""
    plain, labelled = (load([EXAMPLES / name]).pods[0] for name in ("nginx.yaml", "nginx-injected.yaml"))
    labels = {**plain.metadata.labels, "sidecar.istio.io/inject": "true"}
    annotations = {**plain.metadata.annotations, "sidelab.io/access-log": "text"}
    assert labelled == replace(plain, metadata=replace(plain.metadata, labels=labels, annotations=annotations))


def test_values_made_by_code_are_checked_too() -> None:
    """A constructor refuses what a file may not hold."""
    with pytest.raises(FieldError, match="containerPort: 0 is no port"):
        Port(container_port=0)
    with pytest.raises(InputError, match="Pod default/web is there twice"):
        Manifest(pods=(_pod(), _pod()))


def test_values_cannot_be_changed() -> None:
    """A decoded object is frozen; a changed copy is made by msgspec.structs.replace."""
    with pytest.raises(AttributeError):
        _pod().metadata = Metadata(name="other")  # type: ignore[misc]  # the mistake that is tested
    assert replace(_pod(), metadata=Metadata(name="other")).name == "other"


# Kubernetes v1.33, core/v1: every field has a class here.
KUBERNETES: dict[type[Part], str] = {
    Metadata: """annotations creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName
        generation labels managedFields name namespace ownerReferences resourceVersion selfLink uid""",
    Pod: "apiVersion kind metadata spec status",
    PodSpec: """activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy
        enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname
        imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority priorityClassName
        readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName schedulingGates
        securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain
        terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes""",
    Container: """args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe
        resizePolicy resources restartPolicy securityContext startupProbe stdin stdinOnce terminationMessagePath
        terminationMessagePolicy tty volumeDevices volumeMounts workingDir""",
    Port: "containerPort hostIP hostPort name protocol",
    Probe: """exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket
        terminationGracePeriodSeconds timeoutSeconds""",
    Lifecycle: "postStart preStop stopSignal",
    Handler: "exec httpGet sleep tcpSocket",
    Deployment: "apiVersion kind metadata spec status",
    DeploymentSpec: """minReadySeconds paused progressDeadlineSeconds replicas revisionHistoryLimit selector strategy
        template""",
    LabelSelector: "matchExpressions matchLabels",
    PodTemplate: "metadata spec",
    ServiceAccount: "apiVersion automountServiceAccountToken imagePullSecrets kind metadata secrets",
    SecurityContext: """allowPrivilegeEscalation appArmorProfile capabilities privileged procMount
        readOnlyRootFilesystem runAsGroup runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions""",
    Service: "apiVersion kind metadata spec status",
    ServiceSpec: """allocateLoadBalancerNodePorts clusterIP clusterIPs externalIPs externalName externalTrafficPolicy
        healthCheckNodePort internalTrafficPolicy ipFamilies ipFamilyPolicy loadBalancerClass loadBalancerIP
        loadBalancerSourceRanges ports publishNotReadyAddresses selector sessionAffinity sessionAffinityConfig
        trafficDistribution type""",
}


@pytest.mark.parametrize("kind", KUBERNETES)
def test_every_field_of_kubernetes_has_a_class(kind: type[Part]) -> None:
    """Whatever Kubernetes knows is honoured, inert or rejected here: never unknown."""
    typed = {each.encode_name for each in struct_fields(kind)} - {"inert"}
    assert set(KUBERNETES[kind].split()) - typed - set(kind.rows) == set()


@pytest.mark.parametrize("kind", KUBERNETES)
def test_no_row_rejects_a_field_that_is_wanted(kind: type[Part]) -> None:
    """Rows say a reason, and no type has a field that is rejected."""
    typed = {each.encode_name for each in struct_fields(kind)}
    assert all(row.reason for row in kind.rows.values())
    assert {name for name, row in kind.rows.items() if isinstance(row, Rejected)} & typed == set()
