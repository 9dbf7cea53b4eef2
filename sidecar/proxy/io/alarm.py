"""A descriptor that becomes readable at a given time: timerfd_create(2), for which Python has no function before 3.13.

With it the loop waits without a timeout, so timers cost nothing in turns in which none expires.
"""

import contextlib
import ctypes
import math
import os

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Alarm:
    """One timer, not set at first."""

    def __init__(self) -> None:
        self._descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._descriptor < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._descriptor

    def set(self, at_s: float) -> None:
        """Ring when time.monotonic() reaches `at_s`, at once if it has; replaces any time set before."""
        seconds = math.floor(at_s)
        value = _Timespec(seconds, max(1, int((at_s - seconds) * 1e9)))
        _libc.timerfd_settime(
            self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(_Itimerspec(_Timespec(0, 0), value)), None
        )

    def quiet(self) -> None:
        """Stop ringing; has no effect if the alarm was set again since it rang."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)
