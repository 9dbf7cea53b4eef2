"""`pilot-agent` for other programs of the container: `wait` for the proxy, `request` one of its pages.

Flags and output are Istio's (istio.io/latest/docs/reference/commands/pilot-agent).
"""

import socket
import sys
import time
from collections.abc import Mapping, Sequence

from sidelab.lab.errors import InputError, PodError
from sidelab.lab.net.ask import ask_port
from sidelab.lab.net.http_answer import AnswerError
from sidelab.lab.plan.registry import Context
from sidelab.sidecar.config.contract import READY_PATH
from sidelab.sidecar.config.intent import Ports

_FIRST_LOOK_S = 0.005
_REQUEST_S = 30.0


_USAGE = "pilot-agent wait [--url URL] [--timeoutSeconds N] … or pilot-agent request [--debug-port PORT] METHOD PATH"
_FLAGS = ("--url", "--timeoutSeconds", "--requestTimeoutMillis", "--periodMillis", "--debug-port")


def main(context: Context) -> None:
    """Carry out the command in the arguments.

    Raises `InputError` for wrong arguments, `PodError` if the proxy is not ready in time or answers with an error.
    """
    words, flags = _read(context.args)
    if words == ["wait"]:
        port, path = _place(flags.get("--url", f"http://localhost:{Ports().health}{READY_PATH}"))
        timeout_s = _number(flags, "--timeoutSeconds", 60.0)
        request_s = _number(flags, "--requestTimeoutMillis", 500.0) / 1000
        _wait(port, path, timeout_s, request_s, _number(flags, "--periodMillis", 500.0) / 1000)
    elif len(words) == 3 and words[0] == "request":
        _request(int(_number(flags, "--debug-port", Ports().admin)), words[1], words[2])
    else:
        raise InputError(f"pilot-agent: {' '.join(context.args)!r} is not known here: write {_USAGE}")


def _read(args: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate words from flags with values; not by argparse, which the pod's user may not be able to read."""
    words: list[str] = []
    flags: dict[str, str] = {}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            words.append(word)
        elif name not in _FLAGS or not (equals or rest):
            raise InputError(f"pilot-agent: {word} is no flag with a value: write {_USAGE}")
        else:
            flags[name] = value if equals else rest.pop(0)
    return words, flags


def _number(flags: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(flags.get(name, default))
    except ValueError as error:
        raise InputError(f"pilot-agent: {name}: {flags[name]!r} is no number: give one") from error


def _request(port: int, method: str, path: str) -> None:
    try:
        with socket.socket() as link:
            answer = ask_port(link, port, method, f"/{path.lstrip('/')}", _REQUEST_S)
    except (OSError, AnswerError) as error:
        raise PodError(f"pilot-agent: port {port}: {error}: is the proxy running?") from error
    sys.stdout.write(answer.body.decode(errors="replace"))
    if answer.status >= 400:
        raise PodError(f"pilot-agent: {method} {path}: status {answer.status}")


def _place(url: str) -> tuple[int, str]:
    """Return the port and path of a URL of this pod."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.rpartition(":")
    if name not in ("localhost", "127.0.0.1") or not port.isdigit():
        raise PodError(f"pilot-agent: {url}: give a URL like http://localhost:{Ports().health}{READY_PATH}")
    return int(port), f"/{path}"


def _wait(port: int, path: str, timeout_s: float, request_s: float, period_s: float) -> None:
    """Poll until ready, at first more often than Istio, so that a lab need not wait for a whole period."""
    end_s = time.monotonic() + timeout_s
    pause_s = min(_FIRST_LOOK_S, period_s)
    while True:
        try:
            with socket.socket() as link:
                answer = ask_port(link, port, "GET", path, request_s)
            reason = f"status {answer.status}"
            if answer.status == 200:
                return
        except (OSError, AnswerError) as error:
            reason = str(error)
        if time.monotonic() + pause_s > end_s:
            raise PodError(f"pilot-agent: the proxy is not ready after {timeout_s:g} s: {reason}")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, period_s)
