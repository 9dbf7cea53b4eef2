"""The agent in meshed pods: probes by the rewritten path, readiness, its end and its proxy's, DNS, and changes."""

import json
import os
import signal
import sys
from typing import Any

import pytest
from command_line import CommandLine, await_true, descendants, outside

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web, sidecar.istio.io/inject: "true"}
spec:
  containers:
    - name: nginx
      image: nginx
      ports: [{containerPort: 80}]
      readinessProbe: {httpGet: {path: /, port: 80}}
      livenessProbe: {tcpSocket: {port: 81}, periodSeconds: 1000, initialDelaySeconds: 1000}
---
apiVersion: v1
kind: Pod
metadata:
  name: client
  labels: {sidecar.istio.io/inject: "true"}
  annotations:
    proxy.istio.io/config: |
      proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}
spec:
  containers: [{name: curl, image: curlimages/curl}]
---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: web}
  ports: [{name: http-web, port: 8080, targetPort: 80}]
"""
ASK = """
import sys, urllib.request, urllib.error
method, url = sys.argv[1:]
try:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print(0, error)
"""


def ask(line: CommandLine, pod: str, url: str, method: str = "GET") -> tuple[int, str]:
    """Return status (0 for none) and text of what a program in a pod is answered."""
    done = line.exec(pod, sys.executable, "-c", ASK, method, url)
    assert done.returncode == 0, done.stderr
    status, _, text = done.stdout.partition(" ")
    return int(status), text


def proxy_container(line: CommandLine, pod: str) -> dict[str, Any]:
    """Return what `status` says of a pod's sidecar."""
    found: dict[str, Any] = next(each for each in line.pod(pod)["containers"] if each["name"] == "istio-proxy")
    return found


def intent(line: CommandLine, pod: str) -> dict[str, Any]:
    """Return the intent that a pod's proxy has."""
    found: dict[str, Any] = json.loads(line.exec(pod, "cat", "/run/istio/intent.json").stdout)
    return found


def test_the_intent_is_the_pods(shared: CommandLine):
    """It names the pod, its ports with the protocol that the Service gives them, and the Service's endpoints."""
    found = await_true(
        lambda: [each for each in intent(shared, "web")["services"] if each["ports"] and each["host"][:4] == "shop"],
        "the Service is known",
    )
    assert [{"port": 80, "protocol": "http", "service": "shop.default.svc.cluster.local"}] == intent(shared, "web")[
        "inbound"
    ]
    assert ["default/web"] == [each["pod"] for each in found[0]["ports"][0]["endpoints"]]


@pytest.mark.parametrize(("probe", "status"), [("readyz", 200), ("livez", 500), ("startupz", 400)])
def test_the_applications_probes_are_asked_by_the_agent(shared: CommandLine, probe: str, status: int):
    """One that passes, one whose port is closed, and one that it does not have."""
    assert status == ask(shared, "web", f"http://localhost:15020/app-health/nginx/{probe}")[0]


def test_the_agent_is_ready_with_the_proxy(shared: CommandLine):
    """Its own readiness and its metrics answer in the pod."""
    assert 200 == ask(shared, "web", "http://localhost:15020/healthz/ready")[0]
    status, text = ask(shared, "web", "http://localhost:15020/stats/prometheus")
    assert (200, True) == (status, "istio_agent_intents_total" in text)


def test_only_the_pod_itself_may_end_it(shared: CommandLine):
    """From another pod both deeds are forbidden."""
    address = shared.pod("web")["ipv4"]
    assert 403 == ask(shared, "client", f"http://{address}:15020/quitquitquit", "POST")[0]


def test_names_are_answered_by_the_agent_where_dns_is_captured(shared: CommandLine):
    """A Service's short name resolves, and a request by it arrives."""
    found = await_true(
        lambda: [text for status, text in [ask(shared, "client", "http://shop:8080/")] if status == 200],
        "the Service answers by its name",
    )
    assert found
    code = "import socket; print(socket.gethostbyname('shop.default'))"
    done = shared.exec("client", sys.executable, "-c", code)
    assert done.stdout.startswith("10.96."), done.stderr


@pytest.mark.parametrize("who", ["agent", "proxy"])
def test_after_a_kill_the_container_is_restarted(sidelab: CommandLine, who: str):
    """Whichever of the two is killed, both are new afterwards, and serve."""
    manifest = MANIFEST.split("---", maxsplit=1)[0]
    assert 0 == sidelab.up(sidelab.manifest(manifest)).returncode
    supervisor = sidelab.state()["pid"]
    agent = outside(supervisor, proxy_container(sidelab, "web")["pid"])
    [proxy] = descendants(agent)
    os.kill(agent if who == "agent" else proxy, signal.SIGKILL)
    await_true(lambda: proxy_container(sidelab, "web")["restarts"] == 1, "the container is restarted")
    await_true(lambda: sidelab.pod("web")["ready"], "the pod is ready again")
    assert not {agent, proxy} & descendants(supervisor).keys()
    assert 200 == ask(sidelab, "web", "http://localhost:15020/healthz/ready")[0]


def test_quitquitquit_from_the_pod_ends_the_container_with_status_0(sidelab: CommandLine):
    """A job's pod can end so."""
    manifest = MANIFEST.split("---", maxsplit=1)[0].replace("spec:\n", "spec:\n  restartPolicy: Never\n")
    assert 0 == sidelab.up(sidelab.manifest(manifest)).returncode
    assert 200 == ask(sidelab, "web", "http://localhost:15020/quitquitquit", "POST")[0]
    await_true(lambda: proxy_container(sidelab, "web")["state"] == "terminated", "the container has ended")
    assert 0 == proxy_container(sidelab, "web")["exit_status"]


HELD = """
apiVersion: v1
kind: Pod
metadata:
  name: held
  labels: {sidecar.istio.io/inject: "true"}
  annotations:
    proxy.istio.io/config: |
      holdApplicationUntilProxyStarts: true
spec:
  containers: [{name: nginx, image: nginx}]
"""


def test_an_application_can_be_held_until_the_proxy_is_ready(sidelab: CommandLine):
    """The hook `pilot-agent wait` returns when the proxy serves, and the same program shows its pages to people."""
    assert 0 == sidelab.up(sidelab.manifest(HELD)).returncode
    words = ("exec", "held", "-c", "istio-proxy", "--lab", sidelab.name, "--", "pilot-agent")
    assert 0 == sidelab.run(*words, "wait").returncode
    shown = sidelab.run(*words, "request", "GET", "server_info")
    assert (0, "LIVE") == (shown.returncode, json.loads(shown.stdout)["state"])
