"""What a meshed pod does, asked of every proxy by the same tests: in, out, probes, Services, admin pages, changes.

The pod is the tutorial's: nginx listens on :80 only, and its probe asks :80/. Everything goes through the command line.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest
from command_line import CommandLine, await_true
from opened_lines import opened_line
from tools import envoy

pytestmark = pytest.mark.kernel

PROXIES = ("bundled", "envoy")

MANIFEST = """\
apiVersion: v1
kind: Service
metadata: {name: service-istio}
spec: {selector: {app: nginx}, ports: [{name: http, port: 8080, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: service-direct}
spec: {selector: {app: direct}, ports: [{name: http, port: 8080, targetPort: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: broken}
spec: {selector: {app: direct}, ports: [{name: http, port: 8080, targetPort: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: greeter}
spec: {selector: {app: greeter}, ports: [{name: greeting, port: 25}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: nginx
  labels: {app: nginx, sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy}
spec:
  containers:
    - name: nginx
      image: nginx
      ports: [{containerPort: 80}]
      readinessProbe: {httpGet: {path: /, port: 80}}
---
apiVersion: v1
kind: Pod
metadata:
  name: tproxied
  labels: {app: tproxied, sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy, sidecar.istio.io/interceptionMode: TPROXY}
spec:
  containers:
    - {name: nginx, image: nginx, ports: [{containerPort: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: direct, labels: {app: direct}}
spec:
  containers:
    - name: nginx
      image: nginx
      ports: [{containerPort: 80}]
      readinessProbe: {httpGet: {path: /, port: 80}}
---
apiVersion: v1
kind: Pod
metadata:
  name: greeter
  labels: {app: greeter, sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy}
spec:
  containers:
    - name: greeter
      image: python
      command: [/usr/bin/python3, -c, $greeter]
      ports: [{containerPort: 25}]
---
apiVersion: v1
kind: Pod
metadata:
  name: caller
  labels: {app: caller, sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy, sidelab.io/access-log: text}
spec:
  containers: [{name: curl, image: curlimages/curl}]
---
apiVersion: v1
kind: Pod
metadata:
  name: strict
  labels: {app: strict, sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: $proxy, sidelab.io/outbound-policy: REGISTRY_ONLY}
spec:
  containers: [{name: curl, image: curlimages/curl}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: curl, image: curlimages/curl}]
"""

GREETER = """\
import socket
s = socket.create_server(("", 25))
while True:
    c, _ = s.accept()
    c.sendall(b"220 greeter\\r\\n")
    c.recv(100)
    c.close()
"""


@pytest.fixture(scope="module", params=PROXIES)
def mesh(
    request: pytest.FixtureRequest, _subreaper: None, _able: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """Return the command line of a running lab in which all sidecars are the same proxy."""
    if request.param == "envoy":
        envoy()
    for line in opened_line(tmp_path_factory.mktemp("mesh")):
        text = Template(MANIFEST).substitute(proxy=request.param, greeter=json.dumps(GREETER))
        done = line.up(line.manifest(text))
        assert done.returncode == 0, done.stderr
        yield line


def curl(mesh: CommandLine, pod: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run curl in a pod: quiet, and for ten seconds at most."""
    return mesh.exec(pod, "curl", "-sS", "--max-time", "10", *words)


def page(mesh: CommandLine, pod: str, url: str) -> str:
    """Return the page at `url` as curl in `pod` gets it with a status of success."""
    done = curl(mesh, pod, "--fail", url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(mesh: CommandLine, pod: str, *words: str) -> int:
    """Return the HTTP status of a request, 0 for none."""
    return int(curl(mesh, pod, "-o", "/dev/null", "-w", "%{http_code}", *words).stdout)


def stat(mesh: CommandLine, pod: str, name: str) -> int:
    """Return the sum of the counters whose whole name matches `name`."""
    lines = page(mesh, pod, "http://localhost:15000/stats").splitlines()
    return sum(int(value) for key, _, value in (line.partition(": ") for line in lines) if re.fullmatch(name, key))


def address(mesh: CommandLine, pod: str) -> str:
    """Return a pod's IPv4 address."""
    return str(mesh.pod(pod)["ipv4"])


@pytest.mark.parametrize("pod", ["client", "caller", "nginx"])
@pytest.mark.parametrize("service", ["service-istio", "service-direct"])
def test_the_tutorials_services_answer_by_name(mesh: CommandLine, pod: str, service: str) -> None:
    """From a plain pod and from meshed ones, with and without a sidecar at the other end."""
    seen = json.loads(page(mesh, pod, f"http://{service}:8080/whoami"))
    assert seen["pod"] == {"service-istio": "nginx", "service-direct": "direct"}[service]


def test_a_service_has_all_of_its_names(mesh: CommandLine) -> None:
    """Short, with the namespace, and in full."""
    for name in ("service-istio", "service-istio.default", "service-istio.default.svc.cluster.local"):
        assert status(mesh, "caller", f"http://{name}:8080/") == 200


def test_inbound_traffic_goes_through_the_sidecar_and_comes_from_127_0_0_6(mesh: CommandLine) -> None:
    """The proxy's listener counts the connection, and the application sees the proxy."""
    before = stat(mesh, "nginx", r"listener\.0\.0\.0\.0_15006\.downstream_cx_total")
    seen = json.loads(page(mesh, "client", f"http://{address(mesh, 'nginx')}/whoami"))
    assert seen["peer"].startswith("127.0.0.6:")
    assert stat(mesh, "nginx", r"listener\.0\.0\.0\.0_15006\.downstream_cx_total") == before + 1


def test_tproxy_keeps_the_clients_address(mesh: CommandLine) -> None:
    """What REDIRECT hides, TPROXY shows."""
    before = stat(mesh, "tproxied", r"listener\.0\.0\.0\.0_15006\.downstream_cx_total")
    seen = json.loads(page(mesh, "client", f"http://{address(mesh, 'tproxied')}/whoami"))
    assert seen["peer"].startswith(address(mesh, "client") + ":")
    assert stat(mesh, "tproxied", r"listener\.0\.0\.0\.0_15006\.downstream_cx_total") == before + 1


def test_outbound_traffic_to_a_service_is_counted_for_it(mesh: CommandLine) -> None:
    """The cluster has the name that Istio gives it."""
    name = r"cluster\.outbound\|8080\|\|service-direct\.default\.svc\.cluster\.local;?\.upstream_rq_total"
    before = stat(mesh, "caller", name)
    assert status(mesh, "caller", "http://service-direct:8080/") == 200
    assert stat(mesh, "caller", name) == before + 1


def test_the_host_field_chooses_the_service(mesh: CommandLine) -> None:
    """Whatever address was dialled on that port, as in Istio's 0.0.0.0_8080 listener."""
    url = "http://service-direct:8080/whoami"
    done = curl(mesh, "caller", "--fail", "-H", "Host: service-istio:8080", url)
    assert json.loads(done.stdout)["pod"] == "nginx"


def test_an_unknown_destination_is_passed_through(mesh: CommandLine) -> None:
    """ALLOW_ANY: by address, no Service involved."""
    assert status(mesh, "caller", f"http://{address(mesh, 'direct')}/") == 200


def test_registry_only_lets_nothing_out_that_is_no_service(mesh: CommandLine) -> None:
    """A port of Services answers 502 for an unknown host; a port of none is closed."""
    assert status(mesh, "strict", "http://service-istio:8080/") == 200
    assert status(mesh, "strict", "-H", "Host: unknown.example", "http://service-istio:8080/") == 502
    assert status(mesh, "strict", f"http://{address(mesh, 'direct')}:80/") == 0


@pytest.mark.parametrize("pod", ["client", "caller"])
def test_a_server_that_speaks_first_is_heard(mesh: CommandLine, pod: str) -> None:
    """Nothing waits for the client's first bytes for longer than the detection's time."""
    done = mesh.exec(pod, "curl", "-sS", "--max-time", "3", "telnet://greeter:25", input="")
    assert "220 greeter" in done.stdout


ADMIN = {
    "/ready": "LIVE",
    "/server_info": '"state": "LIVE"',
    "/stats": "listener.0.0.0.0_15006.downstream_cx_total: ",
    "/stats?filter=downstream_cx_total": "listener.0.0.0.0_15006.downstream_cx_total: ",
    "/stats/prometheus": "# TYPE envoy_",
    "/clusters": "::health_flags::healthy",
    "/listeners": "virtualInbound::0.0.0.0:15006",
    "/memory": '"allocated": "',
    "/config_dump": "outbound|8080||service-istio.default.svc.cluster.local",
    "/certs": '"certificates": [',
}


@pytest.mark.parametrize("path", ADMIN)
def test_the_tutorials_admin_pages_answer(mesh: CommandLine, path: str) -> None:
    """Each has what the tutorial looks for."""
    page(mesh, "caller", "http://service-istio:8080/")
    assert ADMIN[path] in page(mesh, "caller", f"http://localhost:15000{path}")


def test_memory_and_server_info_are_json(mesh: CommandLine) -> None:
    """Numbers are where Envoy has them."""
    assert int(json.loads(page(mesh, "nginx", "http://localhost:15000/memory"))["allocated"]) > 0
    assert json.loads(page(mesh, "nginx", "http://localhost:15000/server_info"))["state"] == "LIVE"


@pytest.mark.parametrize("url", ["http://localhost:15020/stats/prometheus", "http://localhost:15090/stats/prometheus"])
def test_metrics_can_be_scraped(mesh: CommandLine, url: str) -> None:
    """The proxy's own port and the agent's merged page; each family has one TYPE line."""
    text = page(mesh, "nginx", url)
    kinds = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert kinds
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("url", ["http://localhost:15021/healthz/ready", "http://localhost:15020/healthz/ready"])
def test_readiness_is_told_by_proxy_and_agent(mesh: CommandLine, url: str) -> None:
    """Both ports answer 200."""
    assert status(mesh, "nginx", url) == 200


def test_the_tutorials_probe_goes_by_the_agent(mesh: CommandLine) -> None:
    """The application listens on :80 only; the kubelet asks 15020, and no metric of the service counts that."""
    assert mesh.pod("nginx")["ready"]
    assert status(mesh, "client", f"http://{address(mesh, 'nginx')}:15020/app-health/nginx/readyz") == 200
    assert status(mesh, "nginx", "http://localhost:15020/app-health/nobody/readyz") == 400
    before = stat(mesh, "nginx", r"http\.inbound_.*\.downstream_rq_total")
    page(mesh, "client", f"http://{address(mesh, 'nginx')}:15020/app-health/nginx/readyz")
    assert stat(mesh, "nginx", r"http\.inbound_.*\.downstream_rq_total") == before


def log_lines(mesh: CommandLine, pod: str) -> list[str]:
    """Return the access log of a pod's proxy."""
    done = mesh.run("logs", pod, "--lab", mesh.name, "-c", "istio-proxy")
    return [line for line in done.stdout.splitlines() if line.startswith("[20")]


def logged(mesh: CommandLine, pod: str, path: str) -> str:
    """Return the line of the request with this path, once it is there."""

    def found() -> str:
        return next((line for line in log_lines(mesh, pod) if f" {path} " in line), "")

    return str(await_true(found, f"a log line for {path}"))


def test_the_access_log_has_istios_fields(mesh: CommandLine) -> None:
    """Method, path, status, flags, host, address and cluster stand where Istio's format has them."""
    assert status(mesh, "caller", "-A", "tester", "http://service-direct:8080/size/3?logged") == 200
    line = logged(mesh, "caller", "/size/3?logged")
    pattern = (
        r'\[[-0-9T:.]+Z\] "GET /size/3\?logged HTTP/1\.1" 200 - via_upstream - "-" 0 3 \d+ \d+ "-" "tester" '
        r'"[^"]*" "service-direct:8080" "[0-9.]+:80" outbound\|8080\|\|service-direct\.default\.svc\.cluster\.local;? '
        r"[0-9.]+:\d+ [0-9.]+:8080 [0-9.]+:\d+ - \S+"
    )
    assert re.fullmatch(pattern, line), line


def test_an_upstream_that_refuses_is_503_with_its_flags(mesh: CommandLine) -> None:
    """The sidecar accepts first; that it tried again (URX) and failed (UF) is in its answer and in its log."""
    assert status(mesh, "caller", "http://broken:8080/refused") == 503
    assert '" 503 URX,UF ' in logged(mesh, "caller", "/refused")


SMUGGLING = (
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
)


@pytest.mark.parametrize("request_", SMUGGLING)
def test_what_two_servers_could_read_differently_is_refused(mesh: CommandLine, request_: str) -> None:
    """It never reaches the application, and other connections go on."""
    ask = (
        f"import socket; c = socket.create_connection(({address(mesh, 'nginx')!r}, 80), 5); "
        f"c.sendall({request_.encode()!r}); print(c.recv(999)[:12].decode())"
    )
    done = mesh.exec("client", "/usr/bin/python3", "-c", ask)
    assert done.stdout.strip() in ("HTTP/1.1 400", "HTTP/1.1 501"), done
    assert status(mesh, "client", f"http://{address(mesh, 'nginx')}/") == 200


def test_apply_brings_a_service_into_running_proxies(mesh: CommandLine, tmp_path: Path) -> None:
    """A new Service answers by its name, from plain and meshed pods, and kubectl's word says what was done."""
    path = tmp_path / "more.yaml"
    path.write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: extra}\n"
        "spec: {selector: {app: direct}, ports: [{name: http, port: 9090, targetPort: 80}]}\n"
    )
    done = mesh.run("apply", str(path), "--lab", mesh.name)
    assert (done.returncode, done.stdout.split()) == (0, ["service/extra", "created"]), done.stderr

    def answers() -> bool:
        return (
            status(mesh, "caller", "http://extra:9090/") == 200 and status(mesh, "client", "http://extra:9090/") == 200
        )

    await_true(answers, "the new Service answers")
    await_true(
        lambda: stat(mesh, "caller", r"cluster\.outbound\|9090\|\|extra\..*\.upstream_rq_total"),
        "and goes by its cluster",
    )
