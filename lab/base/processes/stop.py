"""Stop a process: ask it to end, and kill it when its time is over."""

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TypeVar

Timer = TypeVar("Timer")


def ask_then_kill(
    send: Callable[[signal.Signals], None],
    after: Callable[[float, Callable[[], None]], Timer],
    grace_s: float,
    first: signal.Signals = signal.SIGTERM,
) -> Timer:
    """Send the signal `first` to a process, and SIGKILL in `grace_s` seconds; return the timer of that.

    `send` sends a signal, and does nothing once the process has ended. `after` is an event loop's: it makes a call
    later.
    """
    send(first)
    return after(grace_s, partial(send, signal.SIGKILL))


def kill(pid: int) -> None:
    """Kill a child of the calling process, and return when it has ended."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
