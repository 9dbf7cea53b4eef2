"""A proxy that sidelab has never heard of, as a sidecar: the HAProxy of examples/haproxy, in both directions."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from command_line import ROOT, CommandLine, await_true, descendants, outside
from test_agent_pods import ask, proxy_container
from tools import needs

_PROGRAM = ROOT / "examples" / "haproxy" / "haproxy-sidecar"
_PLACE = "/opt/sidelab/examples/haproxy/haproxy-sidecar"

pytestmark = [
    pytest.mark.kernel,
    needs("haproxy"),
]

MANIFEST = (ROOT / "examples" / "haproxy" / "pod.yaml").read_text().replace(_PLACE, str(_PROGRAM))


def requests(line: CommandLine, pod: str, backend: str) -> float:
    """Return how many HTTP requests a backend of the pod's HAProxy has had."""
    _, text = ask(line, pod, "http://localhost:15020/stats/prometheus")
    found = re.search(rf'(?m)^haproxy_backend_http_requests_total{{proxy="{re.escape(backend)}"}} (\S+)$', text)
    return float(found[1]) if found else -1.0


OUTBOUND = "outbound_8080_web.default.svc.cluster.local-http"


def test_a_request_passes_both_proxies(shared: CommandLine):
    """By the Service's name it leaves through the client's HAProxy and arrives through the server's; each counts it."""
    await_true(lambda: ask(shared, "client", "http://web:8080/")[0] == 200, "the endpoint is known")
    before = requests(shared, "client", OUTBOUND), requests(shared, "web", "InboundPassthroughCluster-http")
    code = "import urllib.request as r; a = r.urlopen('http://web:8080/'); print(a.headers['x-peer'].split(':')[0])"
    done = shared.exec("client", sys.executable, "-c", code)
    assert "127.0.0.6\n" == done.stdout, done.stderr
    after = requests(shared, "client", OUTBOUND), requests(shared, "web", "InboundPassthroughCluster-http")
    assert (before[0] + 1, before[1] + 1) == after


def test_a_server_that_speaks_first_is_passed_through(shared: CommandLine):
    """What is no HTTP goes on as bytes, when the client has said nothing for as long as the intent says."""
    server = "import socket; s = socket.create_server(('', 7000)); c, _ = s.accept(); c.sendall(b'hello'); c.close()"
    started = shared.start("exec", "web", "--lab", shared.name, "--", sys.executable, "-c", server)
    client = (
        "import socket, sys\n"
        "try:\n"
        "    with socket.create_connection((sys.argv[1], 7000), timeout=5) as s: print(s.recv(9).decode())\n"
        "except OSError: pass"
    )
    address = shared.pod("web")["ipv4"]
    await_true(
        lambda: shared.exec("client", sys.executable, "-c", client, address).stdout == "hello\n", "the server spoke"
    )
    started.wait(10)


def test_the_pod_is_ready_when_haproxy_is(shared: CommandLine):
    """The agent asks the health port of the contract."""
    assert 200 == ask(shared, "web", "http://localhost:15020/healthz/ready")[0]
    assert proxy_container(shared, "web")["ready"]


def test_nothing_outlives_the_agent(sidelab: CommandLine):
    """A killed agent ends the program, HAProxy's master and its worker; the container starts again."""
    manifest = MANIFEST.split("---", maxsplit=1)[0]
    assert 0 == sidelab.up(sidelab.manifest(manifest)).returncode
    supervisor = sidelab.state()["pid"]

    def proxies() -> set[int]:
        return {pid for pid, each in descendants(supervisor).items() if each.name == "haproxy"}

    before = proxies()
    assert 2 == len(before)
    os.kill(outside(supervisor, proxy_container(sidelab, "web")["pid"]), signal.SIGKILL)
    await_true(lambda: proxy_container(sidelab, "web")["restarts"] == 1, "the container is restarted")
    await_true(lambda: sidelab.pod("web")["ready"], "the pod is ready again")
    await_true(lambda: len(proxies()) == 2 and not proxies() & before, "only the new ones live")


def test_the_example_says_where_its_program_is():
    """The manifest in the repository and this test agree about the path that is replaced."""
    assert 2 == Path(ROOT / "examples" / "haproxy" / "pod.yaml").read_text().count(_PLACE)
