"""The proxy as a child process: started by fork or exec, signalled, and never left behind.

It has its own process group, so that signals to the container's group reach only the agent, which decides what to
forward. Knows the contract, and nothing about what a proxy does.
"""

import contextlib
import importlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from sidelab.lab.base.exhausted import fork
from sidelab.lab.base.processes.parent_death import die_with_parent
from sidelab.lab.base.processes.stop import ask_then_kill
from sidelab.lab.errors import PodError
from sidelab.lab.runtime.forkserver import end_with
from sidelab.sidecar.config.contract import ENTRIES, full_command

_FIRST_DESCRIPTOR, _DESCRIPTORS = 3, 1 << 20


class ProxyChild:
    """A started proxy; `status` is None while it runs, then its exit status (128 + n for signal n)."""

    def __init__(self, proxy: Sequence[str], intent: str, home: str, env: Mapping[str, str]) -> None:
        """Start the command line `proxy` in the directory `home` with the intent's file.

        Call it before there are threads, signal handlers, or descriptors beyond the container's: a forked proxy
        inherits them. Raises `PodError` for a program that cannot be run.
        """
        argv = full_command(proxy, intent)
        if argv[0] not in ENTRIES and not os.access(argv[0], os.X_OK):
            raise PodError(f"proxy {argv[0]}: no executable file: name one that uid {os.getuid()} may run")
        self.name = argv[0].rpartition("/")[2]
        self.status: int | None = None
        parent = os.getpid()
        self.pid = fork()
        if self.pid == 0:
            end_with(lambda: _become(argv, home, env, parent))
        # Parent and child both do it, because either may be first; after an exec the child has done it itself.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(self.pid, self.pid)

    def signal(self, number: int) -> None:
        """Send a signal to the proxy (SIGKILL also to its children); do nothing once it has ended."""
        if self.status is not None:
            return
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def stop(self, after: Callable[[float, Callable[[], None]], object], grace_s: float) -> None:
        """Ask the proxy to end, and kill it after `grace_s` seconds; `after` is an event loop's timer function."""
        ask_then_kill(self.signal, after, grace_s)

    def reap(self) -> bool:
        """Collect the exit status if the proxy has ended; returns whether it has."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = 128 - code if code < 0 else code
        return self.status is not None


def _become(argv: Sequence[str], home: str, env: Mapping[str, str], parent: int) -> None:
    os.setpgid(0, 0)
    die_with_parent(parent)
    # A proxy that does not handle SIGHUP must not die of it; ignoring it survives an exec.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # The container's connection to the fork server is among them; its owner, up the stack, is never used again.
    os.closerange(_FIRST_DESCRIPTOR, _DESCRIPTORS)
    os.chdir(home)
    entry = ENTRIES.get(argv[0])
    if entry is None:
        _execute(argv, env)
    module, _, function = entry.partition(":")
    getattr(importlib.import_module(module), function)(argv)


def _execute(argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and the program would inherit that
    try:
        os.execve(argv[0], list(argv), dict(env))  # noqa: S606  # no shell is wanted
    except OSError as error:
        raise PodError(f"proxy {argv[0]}: {error.strerror}: it must be a program that this machine can run") from error
