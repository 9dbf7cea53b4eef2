"""Queries a running Envoy over its admin port, with a plain socket, because this happens while everything ends."""

import re
import socket

from sidelab.lab.net.ask import ask_port
from sidelab.lab.net.http_answer import AnswerError

_TIMEOUT_S = 1.0
_ACTIVE = re.compile(r"^listener\.(?!admin).+_(\d+)\.downstream_cx_active: (\d+)$", re.MULTILINE)


def ask(port: int, method: str, path: str) -> str:
    """Return the body of an admin page; raises `OSError` if Envoy does not answer in time."""
    # Not `create_connection`: that would import an encoding, from files that the proxy's user may not read.
    with socket.socket() as link:
        try:
            return ask_port(link, port, method, path, _TIMEOUT_S).body.decode(errors="replace")
        except AnswerError as error:
            raise OSError(f"its admin page {path}: {error}") from error


def start_draining(port: int) -> None:
    """Make Envoy answer readiness with 503, and end each inbound connection with its next response.

    Outbound traffic goes on: the application, which is being stopped at the same time, may still have to send.
    """
    ask(port, "POST", "/healthcheck/fail")
    ask(port, "POST", "/drain_listeners?inboundonly&graceful&skip_exit")


def active_connections(port: int, but: tuple[int, ...]) -> int:
    """Return how many captured connections are open, not counting those to the sidecar's own ports `but`."""
    page = ask(port, "GET", "/stats?filter=downstream_cx_active$")
    return sum(int(value) for own, value in _ACTIVE.findall(page) if int(own) not in but)
