"""`apply` at a running lab: what changes, what stays, and what is refused before anything has changed."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine, await_true
from tools import needs

from sidelab.lab.client.lab import Lab

pytestmark = [pytest.mark.kernel, needs("curl")]

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web}, annotations: {sidelab.io/access-log: text, example.org/fixed: "1"}}
spec:
  containers: [{name: nginx, image: nginx, ports: [{name: http, containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {app: other}}
spec:
  containers: [{name: nginx, image: nginx, ports: [{name: http, containerPort: 80}]}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def _up(line: CommandLine, *texts: str) -> None:
    done = line.up(line.manifest("---\n".join(texts)))
    assert done.returncode == 0, done.stderr


def _apply(line: CommandLine, *texts: str, options: tuple[str, ...] = (), status: int = 0) -> str:
    """Apply manifests; return what was printed, the message where that is refused."""
    done = line.run("apply", "-", "--lab", line.name, *options, input="---\n".join(texts))
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def _answering(line: CommandLine, url: str) -> str:
    """Return which pod answers `two`, "" for none."""
    done = line.exec("two", "curl", "-s", "-o", "/dev/null", "-w", "%header{x-pod}", "--max-time", "5", url)
    return done.stdout


def _services(line: CommandLine) -> list[tuple[str, str]]:
    return [(each["name"], each["ipv4"]) for each in line.state()["services"]]


def test_services_come_change_and_go(sidelab: CommandLine):
    """Each is told as kubectl tells it; names and addresses work as soon as `apply` returns."""
    _up(sidelab, PODS)
    assert "service/web created\n" == _apply(sidelab, SERVICE)
    assert "one" == _answering(sidelab, "http://web/")
    assert "service/web unchanged\n" == _apply(sidelab, SERVICE)
    assert "service/web configured\n" == _apply(sidelab, SERVICE.replace("port: 80", "port: 81, targetPort: 80"))
    assert ("", "one") == (_answering(sidelab, "http://web/"), _answering(sidelab, "http://web:81/"))
    assert "service/new created\n" == _apply(sidelab, SERVICE.replace("name: web", "name: new"))
    assert [("web", "10.96.0.11"), ("new", "10.96.0.12")] == _services(sidelab)
    assert "pod/one unchanged\npod/two unchanged\nservice/web pruned\nservice/new pruned\n" == (
        _apply(sidelab, PODS, options=("--prune",))
    )
    assert ("", []) == (_answering(sidelab, "http://web:81/"), _services(sidelab))
    _apply(sidelab, SERVICE)
    assert [("web", "10.96.0.13")] == _services(sidelab)
    assert "one" == _answering(sidelab, "http://web/")


def test_endpoints_follow_labels_and_connections_stay(sidelab: CommandLine):
    """New connections go to the pod that has the label now; one that was open goes on where it was."""
    _up(sidelab, PODS, SERVICE)
    with Lab(sidelab.name) as lab:
        link = lab.open_socket(("default", "two"), socket.AF_INET, socket.SOCK_STREAM)
    with link:
        link.settimeout(5)
        link.connect(("10.96.0.11", 80))
        swapped = PODS.replace("{app: web}", "{app: x}").replace("{app: other}", "{app: web}")
        assert "pod/one configured\npod/two configured\n" == _apply(sidelab, swapped)
        assert "two" == _answering(sidelab, "http://web/")
        link.sendall(b"GET /whoami HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"X-Pod: one" in link.recv(4096)
    assert [{"app": "x"}, {"app": "web"}] == [_info(sidelab, pod)["labels"] for pod in ("one", "two")]


def _info(line: CommandLine, pod: str) -> dict[str, Any]:
    """Return what a pod reads about itself."""
    found: dict[str, Any] = json.loads(line.exec(pod, "cat", "/run/podinfo/pod.json").stdout)
    return found


def test_live_annotations_reach_the_pod_and_others_are_refused(sidelab: CommandLine):
    """A refusal names pod, field and cure, and nothing of the same manifest has happened."""
    _up(sidelab, PODS)
    assert "text" == _info(sidelab, "one")["annotations"]["sidelab.io/access-log"]
    json_log = PODS.replace("access-log: text", "access-log: json")
    assert "pod/one configured\npod/two unchanged\n" == _apply(sidelab, json_log)
    assert "json" == _info(sidelab, "one")["annotations"]["sidelab.io/access-log"]
    message = _apply(sidelab, SERVICE, PODS.replace('fixed: "1"', 'fixed: "2"'), status=2)
    assert message == (
        "sidelab: Pod default/one: metadata.annotations[example.org/fixed]: a running pod can't be changed there: "
        f"`sidelab down {sidelab.name}`, then `sidelab up` again\n"
    )
    assert [] == _services(sidelab)
    assert "json" == _info(sidelab, "one")["annotations"]["sidelab.io/access-log"]


def test_an_injected_lab_can_be_applied_again(sidelab: CommandLine):
    """What `up` was given is unchanged for `apply`, Services, Deployments and injected pods alike."""
    text = Path(__file__).parents[3].joinpath("examples", "services.yaml").read_text()
    deployment = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: many}
spec:
  replicas: 2
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec: {containers: [{name: c, image: curl}]}
"""
    _up(sidelab, text, deployment)
    assert {"unchanged"} == {line.split()[1] for line in _apply(sidelab, text, deployment).splitlines()}
    for service, peer in (("service-direct", "10.244.0.4"), ("service-istio", "127.0.0.6")):
        done = await_true(lambda: sidelab.exec("client", "curl", "-s", f"http://{service}:8080/whoami").stdout, service)  # noqa: B023  # called in the same round
        assert peer == json.loads(done)["peer"].partition(":")[0]


def test_a_pod_that_is_not_there_is_refused(sidelab: CommandLine):
    """A lab's pods are those that it started with."""
    _up(sidelab, PODS)
    message = _apply(sidelab, PODS.replace("name: two", "name: three"), status=2)
    assert message.startswith("sidelab: Pod default/three is not in the lab, and a running lab gets no new pods")


def test_services_names_and_apply_work_for_an_ordinary_user(rootless: CommandLine):
    """All of it is inside namespaces that such a user may have."""
    done = rootless.up(str(Path(__file__).parents[3] / "examples" / "services.yaml"))
    assert done.returncode == 0, done.stderr
    assert "service/web created\n" == _apply(rootless, SERVICE.replace("app: web", "app: nginx-direct"))
    for url in ("http://service-istio:8080/", "http://web/"):
        assert 0 == rootless.exec("client", "curl", "-sS", url).returncode
