"""The bundled proxy as its container runs it."""

import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.errors import InputError, PodError
from sidecar.intent import ENVIRONMENT, Intent, Ports
from sidecar.proxy.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
_RUN = """
import os
from types import SimpleNamespace
from sidecar.proxy.main import main
main(SimpleNamespace(args=(), env=os.environ, ready=lambda: print("ready", flush=True)))
"""


class _Context:
    def __init__(self, intent: str) -> None:
        self.args: tuple[str, ...] = ()
        self.env: Mapping[str, str] = {ENVIRONMENT: intent}

    def ready(self) -> None:
        raise AssertionError("it was to fail before")


def _free_ports() -> Ports:
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("", 0))) for _ in range(4)]
        outbound, inbound, admin, health = (server.getsockname()[1] for server in servers)
    return Ports(outbound=outbound, inbound=inbound, admin=admin, health=health)


def test_ready_then_terminated() -> None:
    """The proxy says ready once it listens, and returns on SIGTERM."""
    intent = Intent(ports=_free_ports())
    argv = [sys.executable, "-c", _RUN]
    environment = {ENVIRONMENT: intent.to_json()}
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        for port in (intent.ports.outbound, intent.ports.inbound, intent.ports.admin, intent.ports.health):
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(timeout=30)


def test_intent_must_be_one() -> None:
    """An intent that is none stops the proxy before it listens."""
    with pytest.raises(InputError, match="version"):
        main(_Context('{"version": 7}'))


def test_more_than_one_worker_is_refused() -> None:
    """The bundled proxy has one loop, and says so rather than run less than was asked for."""
    with pytest.raises(InputError, match="concurrency"):
        main(_Context('{"concurrency": 2}'))


def test_taken_port_is_named() -> None:
    """A port that another process has is an error that names it, and leaves nothing open."""
    with socket.create_server(("", 0)) as taken:
        free = _free_ports()
        ports = Ports(outbound=free.outbound, inbound=taken.getsockname()[1], admin=free.admin, health=free.health)
        with pytest.raises(PodError, match=str(ports.inbound)):
            main(_Context(Intent(ports=ports).to_json()))
