"""Envoy as a child process that cannot outlive its parent; its output is passed on, and its last lines are kept."""

import os
import signal
from collections.abc import Sequence

from sidelab.lab.base.exhausted import fork
from sidelab.lab.base.processes.parent_death import die_with_parent

_CHUNK = 1 << 16
_LAST_WORDS_BYTES = 1 << 14
_STDOUT, _STDERR = 1, 2
_NOT_STARTED = 127


class EnvoyChild:
    """A running program, and the pipes of its output (`outputs`): file descriptor here → the one to pass it on to."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Start `argv`; if it cannot be started, the child ends with status 127 and writes the reason."""
        self.last_words = b""
        self.outputs: dict[int, int] = {}
        # Envoy opens /dev/stdout by name. That fails for another user's log file, but not for a pipe of ours.
        piped = [_STDERR] if _may_open_stdout() else [_STDERR, _STDOUT]
        ends = {target: os.pipe() for target in piped}
        parent = os.getpid()
        self.pid = fork()
        if self.pid == 0:
            _become(argv, {target: written for target, (_, written) in ends.items()}, parent)
        for target, (read, written) in ends.items():
            os.close(written)
            self.outputs[read] = target

    def relay(self, source: int) -> None:
        """Pass on what can be read from `source`, one of `outputs`; close it at its end."""
        data = os.read(source, _CHUNK)
        target = self.outputs[source]
        if target == _STDERR:
            self.last_words = (self.last_words + data)[-_LAST_WORDS_BYTES:]
        if not data:
            del self.outputs[source]
            os.close(source)
        while data:
            data = data[os.write(target, data) :]

    def reason(self) -> str:
        """Return the line of its last output that gives the reason of its end: the first critical one or the last."""
        lines = self.last_words.decode(errors="replace").strip().split("\n")
        return next((line for line in lines if "[critical]" in line), lines[-1])

    def finish(self) -> None:
        """Pass on the rest of its output after its end."""
        for source in list(self.outputs):
            while source in self.outputs:
                self.relay(source)

    def status(self) -> int | None:
        """Return the exit status in a shell's form (128 and more for a signal), or None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def kill(self, number: signal.Signals) -> None:
        """Send a signal; `status` must not have returned an exit status yet."""
        os.kill(self.pid, number)


def _may_open_stdout() -> bool:
    try:
        os.close(os.open("/dev/stdout", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _become(argv: Sequence[str], targets: dict[int, int], parent: int) -> None:
    """Turn the forked child into `argv`; never returns."""
    try:
        for target, written in targets.items():
            os.dup2(written, target)
        die_with_parent(parent)
        os.execv(argv[0], tuple(argv))  # noqa: S606  # no shell is wanted
    except OSError as error:
        os.write(_STDERR, f"{argv[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_STARTED)
