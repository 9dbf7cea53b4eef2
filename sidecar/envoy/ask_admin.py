"""Asking a running Envoy over its admin port, with no more than a socket: it is asked while everything ends."""

import re
import socket

from sidelab.lab.net.ask import ask_port
from sidelab.lab.net.http_answer import AnswerError

_TIMEOUT_S = 1.0
_ACTIVE = re.compile(r"^listener\.(?!admin).+_(\d+)\.downstream_cx_active: (\d+)$", re.MULTILINE)


def ask(port: int, method: str, path: str) -> str:
    """Return the body of an admin page; raises `OSError` where Envoy does not answer in time."""
    # Not `create_connection`: that would import an encoding, from where the proxy's user may not read.
    with socket.socket() as link:
        try:
            return ask_port(link, port, method, path, _TIMEOUT_S).body.decode(errors="replace")
        except AnswerError as error:
            raise OSError(f"its admin page {path}: {error}") from error


def start_draining(port: int) -> None:
    """Have Envoy answer 503 to readiness, and end its inbound connections with the next response on each.

    What the application still wants to send may leave: it is being stopped at the same time, and not by us.
    """
    ask(port, "POST", "/healthcheck/fail")
    ask(port, "POST", "/drain_listeners?inboundonly&graceful&skip_exit")


def active_connections(port: int, but: tuple[int, ...]) -> int:
    """Return how many captured connections are open; those to the ports `but` are the sidecar's own."""
    page = ask(port, "GET", "/stats?filter=downstream_cx_active$")
    return sum(int(value) for own, value in _ACTIVE.findall(page) if int(own) not in but)
