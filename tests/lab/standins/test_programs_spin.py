"""Injected delays of the nginx stand-in."""

import socket
import threading
from time import perf_counter_ns
from types import SimpleNamespace

import pytest
from tools import PATIENCE_S

from sidelab.lab.errors import PodError
from sidelab.lab.standins import nginx, spin
from sidelab.lab.standins.nginx_answers import Connection


def test_a_delayed_answer_is_the_same_answer_later() -> None:
    """A server with a delay answers what one without does, and not before the delay is over."""
    context = SimpleNamespace(env={"SPIN_US": "3000"})
    listening = nginx.listen(socket.AF_INET, "127.0.0.1", 0)
    address = listening.getsockname()
    server = nginx.NginxServer([listening], "nginx", nginx._connections(context))  # type: ignore[arg-type]  # only env is read
    thread = threading.Thread(target=server.run)
    thread.start()
    with socket.create_connection(address, timeout=PATIENCE_S) as client:
        begun_ns = perf_counter_ns()
        client.sendall(b"GET /size/5 HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = client.recv(1000)
        took_ns = perf_counter_ns() - begun_ns
    server.stop()
    thread.join(10)
    assert answer.endswith(b"\r\n\r\nsidel")
    assert took_ns >= spin.spin_ns("2900")


def test_without_the_variable_nothing_is_different() -> None:
    """Unset or empty, connections are the plain ones."""
    for env in ({}, {"SPIN_US": ""}):
        assert nginx._connections(SimpleNamespace(env=env)) is Connection  # type: ignore[arg-type]  # only env is read


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e9"])
def test_what_is_no_delay_is_refused(text: str) -> None:
    """The message names the variable and the range."""
    with pytest.raises(PodError, match="SPIN_US"):
        spin.spin_ns(text)


def test_the_loops_own_time_is_taken_off() -> None:
    """What is spun is about what was asked for, and nothing for nothing."""
    assert 90_000 < spin.spin_ns("100") < 110_000
    assert 0 == spin.spin_ns("0")
