"""Ctrl-C, SIGTERM and SIGHUP while something is measured or drawn: an exception, never in the midst of a file.

A signal that our parent has had ignored (nohup, a shell's background jobs) stays ignored. The first signal lets the
verb keep and draw what it has; a second one is raised wherever it arrives, so that it ends the drawing, too.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked us to end: `number` says which, `str()` is the line for the user, "" where there is none yet."""

    def __init__(self, number: int, line: str = "") -> None:
        super().__init__(line)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell reports for a program that the signal has ended."""
        return 128 + self.number


class _Signals:
    """The signals of this process; there is one of it."""

    def __init__(self) -> None:
        self._holding = 0
        self._held = 0

    def arrived(self, number: int, _frame: FrameType | None) -> None:
        """Raise the signal that has arrived, or keep the first one until `release`."""
        if self._holding and not self._held:
            self._held = number
            return
        raise Interrupted(number)

    def hold(self) -> None:
        """Keep the next signal back."""
        self._holding += 1

    def release(self) -> None:
        """Raise what was kept back."""
        self._holding -= 1
        number, self._held = self._held, 0 if not self._holding else self._held
        if number and not self._holding:
            raise Interrupted(number)


_signals = _Signals()


@contextmanager
def raised() -> Iterator[None]:
    """Raise `Interrupted` in the block for a signal, unless our parent has had it ignored. In the main thread only."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _signals.arrived)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """Finish the block, which writes a file, before a signal is raised; a second signal does not wait."""
    _signals.hold()
    try:
        yield
    finally:
        _signals.release()
