"""The stand-ins as processes: what they do with signals, and what they import."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_RUN = """
import sys
from types import SimpleNamespace
from importlib import import_module
module, *args = sys.argv[1:]
ready = lambda: print("ready", flush=True)
import_module(module).main(SimpleNamespace(args=tuple(args), env={}, ready=ready))
"""


def _start(module: str, *args: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", _RUN, module, *args]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize(
    ("module", "port"), [("sidelab.lab.standins.client_pod", False), ("sidelab.lab.standins.nginx", True)]
)
def test_ready_then_terminated(module: str, port: bool) -> None:
    """A stand-in says ready by itself, and returns on SIGTERM."""
    with _start(module, *([str(_free_port())] if port else [])) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=30)


def test_nginx_imports_next_to_nothing() -> None:
    """A thousand pods fork from it: no event loop, no parser library, no manifest."""
    heavy = {"asyncio", "ssl", "http", "email", "logging", "pyroute2", "msgspec", "yaml"}
    program = "import sys, sidelab.lab.standins.nginx, sidelab.lab.standins.client_pod; print(*sys.modules)"
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set() == heavy & set(done.stdout.split())
