"""HTTP between two meshed pods above the grammar of messages: upgrades, HTTP/2, paths, names, expectations.

Every test is asked of every proxy, with the same one at both ends; the caller may reach Services only.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest
from command_line import CommandLine
from opened_lines import opened_line

pytestmark = pytest.mark.kernel

SERVER = Path(__file__).parents[2] / "data" / "any_http.py"
MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: vip}
spec:
  selector: {app: web}
  ports:
    - {name: http, port: 80, targetPort: 8080}
    - {name: grpc, port: 81, targetPort: 8081}
    - {name: http2, port: 82, targetPort: 8081}
    - {name: grpc-web, port: 83, targetPort: 8080}
    - {name: other, port: 84, targetPort: 8082}
    - {name: h2c, port: 85, targetPort: 8081, appProtocol: kubernetes.io/h2c}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-0
  labels: {app: web, sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy}
spec:
  hostname: web-0
  subdomain: web
  containers:
    - name: app
      image: python
      command: [$python, -c, $server, "8080", "8081", "8082"]
      ports: [{containerPort: 8080}]
      readinessProbe: {tcpSocket: {port: 8082}}
---
apiVersion: v1
kind: Pod
metadata:
  name: caller
  labels: {sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy, sidelab.io/outbound-policy: REGISTRY_ONLY}
spec: {containers: [{name: curl, image: curlimages/curl}]}
"""
UPGRADE = """\
import socket, sys
link = socket.create_connection(("vip", 80), 10)
link.sendall(b"GET /ws HTTP/1.1\\r\\nHost: vip\\r\\n" + sys.argv[1].encode() + b"\\r\\nUpgrade: websocket\\r\\n\\r\\n")
got = link.recv(65536)
link.sendall(b"hello")
while b"hello" not in got and (piece := link.recv(65536)):
    got += piece
print(got.decode())
"""


@pytest.fixture(scope="module", params=["bundled", "envoy"])
def mesh(
    request: pytest.FixtureRequest, _subreaper: None, _able: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """Return the command line of a running lab in which both sidecars are the same proxy."""
    for line in opened_line(tmp_path_factory.mktemp("mesh")):
        words = {"proxy": request.param, "python": sys.executable, "server": json.dumps(SERVER.read_text())}
        done = line.up(line.manifest(Template(MANIFEST).substitute(words)))
        assert done.returncode == 0, done.stderr
        yield line


def curl(mesh: CommandLine, *words: str) -> str:
    """Return what curl prints in the caller's pod, which may take ten seconds."""
    done = mesh.exec("caller", "curl", "-sS", "--max-time", "10", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def seen(mesh: CommandLine, *words: str) -> Any:
    """Return what the server says that it was asked."""
    return json.loads(curl(mesh, "--fail", *words))


@pytest.mark.parametrize(
    "host",
    [
        *(
            "vip",
            "vip.default.svc.cluster.local",
            "vip.default.svc.cluster.local.",
            "VIP.default.svc.cluster.local.:80",
        ),
        *("web:8080", "web.default.svc.cluster.local.:8080", "web-0.web:8080", "web-0.web.default.svc:8080"),
        *("web-0.web.default.svc.cluster.local:8080", "web-0.web.default.svc.cluster.local.:8080"),
    ],
)
def test_names_lead_to_their_service(mesh: CommandLine, host: str) -> None:
    """Absolute names and those of a headless Service's pods are known where only Services may be reached."""
    assert "/x" == seen(mesh, f"http://{host}/x")["path"]


@pytest.mark.parametrize("port", [80, 81, 82, 83, 84, 85])
def test_http2_with_prior_knowledge(mesh: CommandLine, port: int) -> None:
    """HTTP/2 without an upgrade passes, whatever the port is called, with a gRPC answer's trailers at its end."""
    words = ("--http2-prior-knowledge", "-D", "-", "-H", "te: trailers", "-H", "content-type: application/grpc")
    answer = curl(mesh, *words, "--data-binary", "hello", f"http://vip:{port}/package.Service/Method")
    assert answer.startswith("HTTP/2 200")
    assert '{"path": "/package.Service/Method", "version": "2"}' in answer
    assert "grpc-status: 0" in answer


def test_http2_to_a_pod_of_a_headless_service(mesh: CommandLine) -> None:
    """It reaches the pod that was named."""
    assert "2" == seen(mesh, "--http2-prior-knowledge", "http://web-0.web:8080/")["version"]


def test_an_upgrade_to_http2_is_answered_in_http_1(mesh: CommandLine) -> None:
    """A client that offers HTTP/2 gets its answer in HTTP/1.1, as behind Istio's sidecar."""
    assert "1.1" == seen(mesh, "--http2", "http://vip/")["version"]


@pytest.mark.parametrize(
    "fields",
    [
        "Connection: Upgrade",
        "Connection: keep-alive, Upgrade",
        "Connection: upgrade\r\nContent-Length: 0",
        "Content-Length: 0\r\nConnection: Upgrade",
    ],
)
def test_websockets(mesh: CommandLine, fields: str) -> None:
    """An upgrade is switched and then passes bytes, with and without a length in its head."""
    done = mesh.exec("caller", "python3", "-c", UPGRADE, fields)
    assert done.stdout.startswith("HTTP/1.1 101 "), done
    assert done.stdout.endswith("echo hello\n")


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a/../b", "/b"), ("/a/%2e%2e/b?c=/../d", "/b?c=/../d"), ("/a//b%2f%41", "/a//b%2fA"), ("/a\\..\\b", "/b")],
)
def test_paths_arrive_in_normal_form(mesh: CommandLine, path: str, expected: str) -> None:
    """The application sees the path that decisions are made by."""
    assert expected == seen(mesh, "--path-as-is", f"http://vip{path}")["path"]


def test_an_expectation_is_the_applications(mesh: CommandLine) -> None:
    """`Expect: 100-continue` reaches the application, and its consent the client."""
    found = seen(mesh, "-H", "Expect: 100-continue", "--expect100-timeout", "8", "-d", "hello", "http://vip/")
    assert ("100-continue", "hello") == (found["expect"], found["body"])


def test_an_expectation_may_be_refused(mesh: CommandLine) -> None:
    """The application's 417 comes back without the body having been sent."""
    words = ("-w", "%{http_code} %{size_upload}", "-H", "Expect: 100-continue", "--expect100-timeout", "8")
    assert "417 0" == curl(mesh, *words, "-d", "hello", "http://vip/no")
