"""The bundled proxy as its container runs it."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from tools import PATIENCE_S

from sidelab.lab.errors import InputError, PodError
from sidelab.sidecar.config.intent import Intent, Ports
from sidelab.sidecar.proxy.main import run

ROOT = Path(__file__).parents[3]
_NO_ADDRESS = '{"host": "a.b.svc.cluster.local", "addresses": ["10.96.0.300"], "ports": [{"port": 1}]}'
_RUN = "import sys; from sidelab.sidecar.proxy.main import run; run(sys.argv)"


def _free_ports() -> Ports:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(5)]
        outbound, inbound, admin, health, stats = (each.getsockname()[1] for each in servers)
    return Ports(outbound=outbound, inbound=inbound, admin=admin, health=health, stats=stats)


def _get(port: int, path: str, method: str = "GET") -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


class _Running:
    """A proxy in a process of its own, started by the contract's command line."""

    def __init__(self, folder: Path, intent: Intent) -> None:
        self.path = folder / "intent.json"
        self.path.write_text(intent.to_json())
        argv = [sys.executable, "-c", _RUN, "sidelab-proxy", "--intent", str(self.path)]
        self.process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while self.process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError):
                assert " 200 OK\r\n" in _get(intent.ports.health, "/healthz/ready")
                break

    def change(self, text: str) -> None:
        """Put another file in the intent's place, and say so."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.rename(self.path)
        self.process.send_signal(signal.SIGHUP)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[_Running]:
    """Yield a proxy that is ready."""
    running = _Running(tmp_path, Intent(ports=_free_ports(), drain_s=1.0))
    with running.process:
        yield running
        running.process.kill()


def _intent(running: _Running) -> Intent:
    return Intent.from_json(running.path.read_text())


def test_run_serves_on_all_ports_until_terminated(running: _Running) -> None:
    """The proxy listens on its ports, and returns on SIGTERM with nothing to complain about."""
    ports = _intent(running).ports
    for port in (ports.outbound, ports.inbound, ports.admin, ports.health, ports.stats):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    running.process.send_signal(signal.SIGTERM)
    assert 0 == running.process.wait(timeout=30)
    assert running.process.stderr is not None
    assert "" == running.process.stderr.read()


def test_hangup_has_the_intent_read_again(running: _Running) -> None:
    """After SIGHUP the file's new intent is in force: the admin page shows it, and open connections stay open."""
    intent = _intent(running)
    with socket.create_connection(("127.0.0.1", intent.ports.inbound), timeout=PATIENCE_S):
        running.change(msgspec.structs.replace(intent, outbound_policy="REGISTRY_ONLY").to_json())
        while "REGISTRY_ONLY" not in _get(intent.ports.admin, "/config_dump"):
            assert running.process.poll() is None


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", "intent"),
        ('{"version": 7}', "version"),
        ('{"ports": {"inbound": 1}}', "ports"),
        (f'{{"services": [{_NO_ADDRESS}]}}', "10.96.0.300"),
    ],
)
def test_broken_file_keeps_the_intent_before(running: _Running, broken: str, words: str) -> None:
    """A file that is no intent, or asks for what cannot change, changes nothing; standard error says why."""
    ports = _intent(running).ports
    changed = json.loads(_intent(running).to_json()) | json.loads(broken) if broken != "{" else None
    running.change(broken if changed is None else json.dumps(changed))
    assert running.process.stderr is not None
    complaint = running.process.stderr.readline()
    assert "the intent before stays in force" in complaint
    assert words in complaint
    assert "LIVE" in _get(ports.health, "/healthz/ready")


def test_quit_answers_and_ends(running: _Running) -> None:
    """POST /quitquitquit is answered, and the process ends well without anybody telling it to drain."""
    assert _get(_intent(running).ports.admin, "/quitquitquit", "POST").endswith("\r\n\r\nOK\n")
    assert 0 == running.process.wait(timeout=30)


def _started(folder: Path, text: str) -> list[str]:
    path = folder / "intent.json"
    path.write_text(text)
    return ["sidelab-proxy", "--intent", str(path)]


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"version": 7}', "version"), ('{"concurrency": 2}', "concurrency"), (f'{{"services": [{_NO_ADDRESS}]}}', "300")],
)
def test_intent_must_be_one(tmp_path: Path, text: str, words: str) -> None:
    """An intent that is none, or wants more workers than there are, stops the proxy before it listens."""
    with pytest.raises(InputError, match=words):
        run(_started(tmp_path, text))


def test_intent_must_be_there(tmp_path: Path) -> None:
    """A file that is missing is named, and so is a command line without one."""
    with pytest.raises(InputError, match="nothing"):
        run(["sidelab-proxy", "--intent", str(tmp_path / "nothing.json")])
    with pytest.raises(InputError, match="--intent"):
        run(["sidelab-proxy"])


def test_taken_port_is_named(tmp_path: Path) -> None:
    """A port that another process has is an error that names it, and leaves nothing open."""
    with socket.create_server(("", 0)) as taken:
        ports = msgspec.structs.replace(_free_ports(), inbound=taken.getsockname()[1])
        with pytest.raises(PodError, match=str(ports.inbound)):
            run(_started(tmp_path, Intent(ports=ports).to_json()))
