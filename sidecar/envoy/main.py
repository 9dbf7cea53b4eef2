"""Runs Envoy by the contract that every sidecar's proxy follows (see `sidecar.config.contract`): files, child, signals.

    python -m sidelab.sidecar.envoy --intent /run/istio/intent.json [--envoy PATH|VERSION] [--print lds]

The configuration goes into the working directory. SIGHUP reads the intent again and replaces what changed: Envoy
keeps every connection whose listener stayed the same, and ends others with a response. SIGTERM drains: Envoy is no
longer ready, closes inbound connections with their next response, and ends once none is open or `drain_s` is over; a
second SIGTERM ends it at once. The intent's ports, workers and metrics are fixed at the start.
"""

import os
import select
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from sidelab.lab.base.processes.stop import ask_then_kill
from sidelab.lab.base.timers import Timers
from sidelab.lab.errors import InputError, PodError
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy import ask_admin
from sidelab.sidecar.envoy.command_line import command
from sidelab.sidecar.envoy.configuration import config_files
from sidelab.sidecar.envoy.envoy_child import EnvoyChild
from sidelab.sidecar.envoy.find_binary import find_envoy

_LOOK_AGAIN_S = 0.1
_END_S = 2.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


def run(argv: Sequence[str]) -> None:
    """Run Envoy by the command line `argv`, which begins with a program name; return when Envoy ends with status 0.

    Raises `SystemExit` with any other status, `InputError` for an invalid intent or binary, `MachineError` for a
    version that is not installed, `PodError` for a port that is taken.
    """
    parser = ArgumentParser(prog="python -m sidelab.sidecar.envoy", description="Run Envoy as a sidecar's proxy.")
    parser.add_argument("--intent", type=Path, required=True, metavar="FILE", help="what it must do, as JSON")
    parser.add_argument("--envoy", default="", metavar="BINARY", help="an absolute path, or a version such as 1.35.0")
    parser.add_argument(
        "--print",
        choices=("bootstrap", "lds", "cds"),
        metavar="PART",
        help="show a part of the configuration instead: bootstrap, lds or cds",
    )
    options = parser.parse_args(argv[1:])
    if options.print:
        _print(options.intent, options.print)
        return
    status = _Sidecar(options.intent, find_envoy(options.envoy)).live()
    if status:
        sys.exit(status)


def _print(path: Path, part: str) -> None:
    intent = _read(path)
    for name, text in config_files.initial(intent, str(Path.cwd()), ipv6=config_files.has_ipv6(intent)).items():
        if name == f"{part}.json":
            sys.stdout.write(msgspec.json.format(text) + "\n")


def _read(path: Path) -> Intent:
    try:
        return Intent.from_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: give the file with the intent") from error


def _say(text: str) -> None:
    """Write to the container's log."""
    sys.stderr.write(f"sidelab: {text}\n")
    sys.stderr.flush()


class _Sidecar:
    """Runs Envoy from its start to its end."""

    def __init__(self, path: Path, envoy: Path) -> None:
        self._path = path
        self._folder = Path.cwd()
        self._intent = _read(path)
        self._ipv6 = config_files.has_ipv6(self._intent)
        self._envoy = envoy
        self._draining = False
        self._ends_s = float("inf")
        self._timers = Timers()
        self._asked = False

    def live(self) -> int:
        """Start Envoy, handle signals until it ends, and return its status; raises `PodError` for a taken port."""
        intent = self._intent
        _try_ports(intent, ipv6=self._ipv6)
        config_files.publish(self._folder, config_files.initial(intent, str(self._folder), ipv6=self._ipv6))
        with ExitStack() as undone:
            signals = _signals(undone)
            child = EnvoyChild(command(intent, str(self._folder / config_files.BOOTSTRAP), envoy=str(self._envoy)))
            while (status := child.status()) is None:
                self._turn(child, signals)
            child.finish()
        if status and not self._draining:
            _say(f"envoy: it ended with status {status}; its last words: {child.reason() or 'none'}")
        return status

    def _turn(self, child: EnvoyChild, signals: socket.socket) -> None:
        """Wait for signals or output, and handle them."""
        poll = select.poll()
        for fd in (signals.fileno(), *child.outputs):
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(_LOOK_AGAIN_S * 1000 if self._draining else None):
            if fd in child.outputs:
                child.relay(fd)
            else:
                for number in signals.recv(64):
                    self._signalled(number)
        if self._draining:
            self._end(child)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reload()
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._draining:
                self._ends_s = 0.0
                return
            self._draining = True
            self._ends_s = time.monotonic() + self._intent.drain_s
            try:
                ask_admin.start_draining(self._intent.ports.admin)
            except OSError:  # it does not serve yet, or no longer: there is nothing to drain
                self._ends_s = 0.0

    def _reload(self) -> None:
        try:
            intent = _read(self._path)
        except InputError as error:
            _say(f"{error}; the old one stays")
            return
        config_files.publish(self._folder, config_files.dynamic(intent, ipv6=self._ipv6))
        self._intent = intent

    def _end(self, child: EnvoyChild) -> None:
        """Stop Envoy once no connection is open or the time is over."""
        self._timers.expire()
        if not self._asked and (time.monotonic() >= self._ends_s or self._idle()):
            self._asked = True
            ask_then_kill(child.kill, self._timers.after, _END_S)

    def _idle(self) -> bool:
        ports = self._intent.ports
        with suppress(OSError):
            return not ask_admin.active_connections(ports.admin, (ports.health, ports.stats))
        return True


def _signals(undone: ExitStack) -> socket.socket:
    """Return a socket that delivers the number of each signal as a byte, until `undone` is closed."""
    reading, writing = (undone.enter_context(each) for each in socket.socketpair())
    writing.setblocking(False)
    undone.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writing.fileno()))
    for number in _SIGNALS:
        undone.callback(signal.signal, number, signal.signal(number, lambda _number, _frame: None))
    return reading


def _try_ports(intent: Intent, *, ipv6: bool) -> None:
    """Raise `PodError` for a port in use: Envoy would share it, or run without it and only log that."""
    ports = intent.ports
    wanted = [(socket.AF_INET, "127.0.0.1", ports.admin)]
    for port in (ports.outbound, ports.inbound, ports.health, ports.stats):
        wanted.append((socket.AF_INET, "0.0.0.0", port))
        if ipv6:
            wanted.append((socket.AF_INET6, "::", port))
    for family, host, port in wanted:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                trial.bind((host, port))
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise PodError(f"envoy: {host}:{port}: {reason}: let nothing else in the pod use this port") from error
