"""One probe of a container, or one run of its hook: with any handler, it either finishes once or is closed."""

from collections.abc import Callable
from typing import Protocol

from sidelab.lab.base.loop import Loop
from sidelab.lab.manifest import GRPC, Exec, HTTPGet, Sleep
from sidelab.lab.plan.blueprint import PlannedCheck
from sidelab.lab.runtime.probes.http_get import HttpCheck
from sidelab.lab.runtime.probes.probe_outcome import Finish, ProbeOutcome
from sidelab.lab.runtime.probes.probe_stream import Stream

Execute = Callable[[tuple[str, ...], Callable[[int], None]], Callable[[], None]]
"""Runs a command in the container, calls back later with its status, and returns how to kill it."""


class ProbeAttempt(Protocol):
    """What is under way."""

    def close(self) -> None:
        """Give up; no callback is called afterwards."""


def begin(
    loop: Loop, check: PlannedCheck, execute: Execute, finish: Finish, *, any_answer: bool = False
) -> ProbeAttempt:
    """Begin; `finish` is called once, later. With `any_answer` every HTTP status passes, as for a hook.

    Raises `OSError` where the address can't be reached at all.
    """
    handler = check.handler
    match handler:
        case Exec():
            return _Command(handler, execute, finish)
        case HTTPGet():
            return HttpCheck(loop, handler, check.address, finish, any_answer=any_answer)
        case GRPC():
            from sidelab.lab.runtime.probes import grpc  # noqa: PLC0415  # see its docstring

            return grpc.GrpcCheck(loop, handler, check.address, finish)
        case Sleep():
            return _Pause(loop, handler, finish)
        case _:
            return _Dial(loop, check.address, finish)


class _Command:
    """A command in the container; one that was given up may still end at any time, but no longer counts."""

    def __init__(self, exec_: Exec, execute: Execute, finish: Finish) -> None:
        self._finish: Finish | None = finish
        self._kill = execute(tuple(exec_.command), self._ended)

    def close(self) -> None:
        if self._finish is not None:
            self._finish = None
            self._kill()

    def _ended(self, status: int) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish(ProbeOutcome(status == 0, "" if status == 0 else f"exit status {status}"))


class _Pause:
    def __init__(self, loop: Loop, sleep: Sleep, finish: Finish) -> None:
        self._timer = loop.after(sleep.seconds, lambda: finish(ProbeOutcome(passed=True)))

    def close(self) -> None:
        self._timer.cancel()


class _Dial:
    """A connection that passes when it opens."""

    def __init__(self, loop: Loop, address: tuple[str, int], finish: Finish) -> None:
        self._finish = finish
        self._stream = Stream(loop, address, self)

    def close(self) -> None:
        self._stream.close()

    def opened(self) -> None:
        self._stream.close()
        self._finish(ProbeOutcome(passed=True))

    def received(self, data: bytes) -> None:
        """Ignore the data."""

    def ended(self, reason: str) -> None:
        self._finish(ProbeOutcome(passed=False, reason=reason))
