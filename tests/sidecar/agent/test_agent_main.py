"""An agent and its proxy as two processes: what each does when the other, the pod, or who runs them changes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from agent_rig import ask
from tools import PATIENCE_S

from sidelab.lab.cluster.podinfo import PodInfo
from sidelab.lab.cluster.state import State
from sidelab.sidecar.config.agent_settings import ENVIRONMENT, Settings
from sidelab.sidecar.config.contract import BUNDLED
from sidelab.sidecar.config.intent import Intent, Ports

ROOT = Path(__file__).parents[3]
RUN = """
import os, sys
from types import SimpleNamespace
from sidelab.sidecar.agent.delivery import Paths
from sidelab.sidecar.agent.main import Agent
from sidelab.lab.runtime.forkserver import end_with
home = sys.argv[1]
paths = Paths(home=home, intent=home + "/intent.json", state=home + "/c/state.json", podinfo=home + "/p/pod.json")
def run():
    context = SimpleNamespace(args=(), env=dict(os.environ), ready=lambda: print("ready", flush=True))
    agent = Agent(context, paths)
    agent.run()
    raise SystemExit(agent.status)
end_with(run)
"""
PROXY = """#!{python}
import json, os, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
path = sys.argv[sys.argv.index("--intent") + 1]
def read(*_):
    intent = json.load(open(path))
    print("intent", intent["workload"]["app"], flush=True)
    return intent
def end(*_):
    print("drain", flush=True)
    if "--stubborn" not in sys.argv:
        os._exit(3)
signal.signal(signal.SIGTERM, end)
intent = read()
if "--deaf" not in sys.argv:
    signal.signal(signal.SIGHUP, read)
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
print("in", os.getcwd(), os.getpgid(0) == os.getpid(), flush=True)
ThreadingHTTPServer(("127.0.0.1", intent["ports"]["health"]), Health).serve_forever()
"""


def free_ports() -> Ports:
    """Return ports that nobody has at the moment."""
    with ExitStack() as stack:
        names = Ports.__struct_fields__
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in names]
        return Ports(**{name: each.getsockname()[1] for name, each in zip(names, servers, strict=True)})


@dataclass
class Running:
    """An agent: its process, its directory, its ports, and what it and its proxy have written."""

    process: "subprocess.Popen[str]"
    home: Path
    ports: Ports

    def line(self) -> str:
        """Return the next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    @property
    def proxy(self) -> int:
        """The proxy's process id."""
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(child)

    def label(self, app: str) -> None:
        """Change the pod's label."""
        publish(self.home / "p" / "pod.json", pod(app))

    def ended(self) -> int:
        """Return the exit status."""
        return self.process.wait(PATIENCE_S)


def pod(app: str, **annotations: str) -> PodInfo:
    """Return a pod with this label."""
    return PodInfo(
        namespace="default", name="a", service_account="default", ipv4="127.0.0.1", ipv6="", labels={"app": app},
        annotations=annotations,
    )  # fmt: skip


def publish(path: Path, value: Any) -> None:
    """Rename a file into place, as the lab does."""
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(value))
    new.rename(path)


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for `condition`, which another process brings about."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


@contextmanager
def running(
    home: Path, *proxy: str, env: dict[str, str] | None = None, drain_s: float = 5.0, **annotations: str
) -> Iterator[Running]:
    """Run an agent with this proxy; without one it is the bundled one."""
    publish(home / "c" / "state.json", State())
    publish(home / "p" / "pod.json", pod("one", **annotations))
    ports = free_ports()
    settings = Settings(proxy=proxy or (BUNDLED,), base=Intent(ports=ports, ipv6=False, drain_s=drain_s))
    argv = [sys.executable, "-c", RUN, str(home)]
    told = {"PATH": os.environ["PATH"], ENVIRONMENT: settings.to_json(), **(env or {})}
    with subprocess.Popen(
        argv, cwd=ROOT, env=told, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield Running(process, home, ports)
        finally:
            process.kill()


@pytest.fixture
def script(tmp_path: Path) -> str:
    """Return a proxy that says what it hears."""
    path = tmp_path / "proxy"
    path.write_text(PROXY.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "Z"
    except OSError:
        return True


def test_the_bundled_proxy_serves_and_drains(tmp_path: Path):
    """Ready once the proxy is; SIGTERM has it drain, and the agent ends with its status."""
    with running(tmp_path) as agent:
        assert "ready" == agent.line()
        assert 200 == ask(agent.ports.agent, "/healthz/ready")[0]
        status, page = ask(agent.ports.agent, "/stats/prometheus")
        assert (200, True) == (status, b"istio_agent_intents_total 1\n" in page)
        agent.process.terminate()
        assert 0 == agent.ended()


def test_another_program_is_run_as_the_contract_says(tmp_path: Path, script: str):
    """It finds the intent, its directory and a process group of its own; its end is the agent's."""
    with running(tmp_path, script) as agent:
        assert ["intent one", f"in {tmp_path} True", "ready"] == [agent.line() for _ in range(3)]
        agent.process.terminate()
        assert ("drain", 3) == (agent.line(), agent.ended())


def test_a_new_intent_is_told_by_sighup(tmp_path: Path, script: str):
    """The file is there when the signal comes."""
    with running(tmp_path, script) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        agent.label("two")
        assert "intent two" == agent.line()


def test_a_proxy_that_knows_no_sighup_survives_it(tmp_path: Path, script: str):
    """It keeps what it has read, and is not ended."""
    with running(tmp_path, script, "--deaf") as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        agent.label("two")
        eventually(lambda: b"intents_total 2" in ask(agent.ports.agent, "/stats/prometheus")[1], "delivered")
        assert 200 == ask(agent.ports.agent, "/healthz/ready")[0]


def test_a_storm_of_changes_ends_with_the_last(tmp_path: Path, script: str):
    """Changes in crowds are few signals; what the proxy has in the end is the last one, and it is still the same."""
    with running(tmp_path, script) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        before = agent.proxy
        for number in range(300):
            agent.label(f"x{number}")
        heard = ""
        while heard != "intent x299":
            heard = agent.line()
            assert heard.startswith("intent x")
        assert before == agent.proxy


def test_a_storm_of_sighups_is_borne_by_the_bundled_proxy(tmp_path: Path):
    """However many intents come, it serves."""
    with running(tmp_path) as agent:
        assert "ready" == agent.line()
        for number in range(300):
            os.kill(agent.proxy, signal.SIGHUP)
            agent.label(f"x{number}")
        assert 200 == ask(agent.ports.agent, "/healthz/ready")[0]


def test_a_proxy_that_does_not_drain_is_killed(tmp_path: Path, script: str):
    """When its time is over, and a moment more."""
    with running(tmp_path, script, "--stubborn", drain_s=0) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        agent.process.terminate()
        assert ("drain", 128 + signal.SIGKILL) == (agent.line(), agent.ended())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_when_the_proxy_ends_so_does_the_agent(tmp_path: Path, number: int):
    """With 128 and the signal, as a shell says it: so the container is restarted."""
    with running(tmp_path) as agent:
        assert "ready" == agent.line()
        os.kill(agent.proxy, number)
        assert 128 + number == agent.ended()


def test_when_the_agent_is_killed_the_proxy_dies(tmp_path: Path, script: str):
    """Nobody outlives anybody."""
    with running(tmp_path, script) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        proxy = agent.proxy
        agent.process.kill()
        agent.ended()
        eventually(lambda: gone(proxy), "the proxy has ended")


def test_quitquitquit_ends_both_with_status_0(tmp_path: Path, script: str):
    """Even where the proxy's own status is another."""
    with running(tmp_path, script) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        assert (200, b"OK\n") == ask(agent.ports.agent, "/quitquitquit", "POST")
        assert ("drain", 0) == (agent.line(), agent.ended())


def test_a_bad_annotation_later_is_told_and_changes_nothing(tmp_path: Path, script: str):
    """The log says what is wrong, and the next good one is followed."""
    with running(tmp_path, script) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        publish(tmp_path / "p" / "pod.json", pod("two", **{"sidelab.io/protocol": "smoke"}))
        assert agent.line().startswith("sidelab: the proxy keeps its last intent: annotation sidelab.io/protocol")
        agent.label("three")
        assert "intent three" == agent.line()


def test_garbage_in_the_clusters_file_is_told_and_changes_nothing(tmp_path: Path, script: str):
    """The file is named."""
    with running(tmp_path, script) as agent:
        assert "ready" == [agent.line() for _ in range(3)][-1]
        (tmp_path / "c" / "garbage").write_text("{")
        (tmp_path / "c" / "garbage").rename(tmp_path / "c" / "state.json")
        assert f"sidelab: the proxy keeps its last intent: {tmp_path}/c/state.json" in agent.line()
        assert 200 == ask(agent.ports.agent, "/healthz/ready")[0]


@pytest.mark.parametrize(
    ("proxy", "annotations", "status", "words"),
    [
        (("/none/such",), {}, 5, "proxy /none/such: no executable file"),
        (("/etc/passwd",), {}, 5, "proxy /etc/passwd: no executable file"),
        (("/bin/false",), {}, 1, ""),
        ((), {"sidelab.io/concurrency": "2"}, 2, "the bundled proxy has one worker"),
        ((), {"sidelab.io/metrics": "2"}, 2, "sidelab.io/metrics"),
    ],
)
def test_what_cannot_be_run_ends_the_agent(
    tmp_path: Path, proxy: tuple[str, ...], annotations: dict[str, str], status: int, words: str
):
    """With the status of whoever's fault it is, and a sentence where there is one."""
    with running(tmp_path, *proxy, **annotations) as agent:
        output, _ = agent.process.communicate(timeout=PATIENCE_S)
        assert (status, True) == (agent.ended(), words in output), output


def test_the_applications_probes_are_answered(tmp_path: Path, script: str):
    """By the path that the injector made of them."""
    with socket.create_server(("127.0.0.1", 0)) as application:
        told = {"/app-health/web/readyz": {"tcpSocket": {"port": application.getsockname()[1]}}}
        with running(tmp_path, script, env={"ISTIO_KUBE_APP_PROBERS": json.dumps(told)}) as agent:
            assert "ready" == [agent.line() for _ in range(3)][-1]
            assert 200 == ask(agent.ports.agent, "/app-health/web/readyz")[0]
