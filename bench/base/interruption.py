"""Turn Ctrl-C, SIGTERM and SIGHUP into an exception, so that everything ends in order; never while a file is written.

A signal that our parent process ignores (nohup, a shell's background jobs) stays ignored. After the first signal the
verb keeps and draws what it has; a second one is raised at once, so that it ends the drawing, too. No signal is raised
while a module is imported: half a module would be left, and some that are written in C do not survive that. One that
arrives where Python drops exceptions (in a finalizer, in a fork hook) is raised again.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Hook = Callable[["sys.UnraisableHookArgs"], object]
_POSTPONED_S = 0.02


class Interrupted(KeyboardInterrupt):
    """A signal told us to end: `number` is the signal's, `str()` the line for the user, "" if there is none yet."""

    def __init__(self, number: int, line: str = "") -> None:
        super().__init__(line)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell reports for a program that the signal ended."""
        return 128 + self.number


class _Signals:
    """The signals of this process; there is one instance."""

    def __init__(self) -> None:
        self._holding = 0
        self._held = self._postponed = 0

    def arrived(self, number: int, frame: FrameType | None) -> None:
        """Raise the signal that has arrived, or keep the first one until `release`."""
        if _importing(frame):
            self._postpone(number)
        elif self._holding and not self._held:
            self._held = number
        else:
            raise Interrupted(number)

    def postponed(self, _alarm: int, frame: FrameType | None) -> None:
        """Deliver a signal that came at a bad moment; called by the timer."""
        self.arrived(self._postponed, frame)

    def dropped(self, report: Hook, unraisable: "sys.UnraisableHookArgs") -> None:
        """Deliver a signal again if Python dropped its exception; pass any other dropped exception to `report`."""
        if isinstance(unraisable.exc_value, Interrupted):
            self._postpone(unraisable.exc_value.number)
        else:
            report(unraisable)

    def _postpone(self, number: int) -> None:
        self._postponed = number
        signal.setitimer(signal.ITIMER_REAL, _POSTPONED_S)

    def hold(self) -> None:
        """Hold the next signal back."""
        self._holding += 1

    def release(self) -> None:
        """Raise the signal that was held back, if any."""
        self._holding -= 1
        number, self._held = self._held, 0 if not self._holding else self._held
        if number and not self._holding:
            raise Interrupted(number)


_signals = _Signals()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


@contextmanager
def raised() -> Iterator[None]:
    """Raise `Interrupted` in the block for a signal, unless it was ignored when we started. Main thread only."""
    alarmed = signal.signal(signal.SIGALRM, _signals.postponed)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    report = sys.unraisablehook
    sys.unraisablehook = partial(_signals.dropped, report)
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _signals.arrived)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = report
        if alarmed != _signals.postponed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarmed)


@contextmanager
def held() -> Iterator[None]:
    """Finish the block, which writes a file, before a signal is raised; a second signal does not wait."""
    _signals.hold()
    try:
        yield
    finally:
        _signals.release()
