"""`pilot-agent wait` and `pilot-agent request`, as hooks and people call them."""

import socket
from types import SimpleNamespace

import pytest
from agent_rig import answering, ok

from sidelab.lab.errors import PodError
from sidelab.sidecar.agent.pilot_agent import main


def run(*words: str) -> None:
    """Run the command."""
    main(SimpleNamespace(args=words, env={}, ready=lambda: None))


def test_wait_returns_when_the_proxy_is_ready():
    """It asks again while the answer is another one."""
    with answering(ok(status="503 No"), ok(b"LIVE\n")) as (port, asked, _):
        run("wait", "--url", f"http://localhost:{port}/healthz/ready")
    assert [b"GET /healthz/ready "] * 2 == [each[:19] for each in asked]


def test_wait_gives_up_in_time():
    """What was answered last is told."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PodError, match=r"not ready after 0.02 s: .*Connection refused"):
        run("wait", "--url", f"http://localhost:{port}/healthz/ready", "--timeoutSeconds", "0.02")


def test_request_prints_a_page(capsys: pytest.CaptureFixture[str]):
    """With or without the first slash."""
    for path in ("stats", "/stats"):
        with answering(ok(b"a: 1\n")) as (port, asked, _):
            run("request", f"--debug-port={port}", "GET", path)
        assert (b"GET /stats HTTP/1.1", "a: 1\n") == (asked[0][:19], capsys.readouterr().out)


def test_request_fails_with_a_failing_page():
    """The status is told."""
    with answering(ok(b"no\n", status="404 No")) as (port, asked, _), pytest.raises(PodError, match="status 404"):
        run("request", "--debug-port", str(port), "POST", "drain")
    assert asked[0].startswith(b"POST /drain ")
