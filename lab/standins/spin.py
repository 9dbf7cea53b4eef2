"""A connection of the nginx stand-in whose answers come later by a known time: the truth that a harness must recover.

The time is spun, not slept: a sleep ends late by the timer's slack (50 µs, prctl(2) PR_SET_TIMERSLACK). A server
without a delay does not import this. One with a delay of 0 answers by the same code as one with 20 µs,
so that these two differ by 20 µs and nothing else: the code alone took half a microsecond.
"""

import socket
from time import perf_counter_ns

from sidelab.lab.errors import PodError
from sidelab.lab.standins.nginx_answers import DELAY, Connection, ServerView

MOST_US = 100_000.0

_TRIALS = 501
_TRIAL_NS = 5000


class Spinning(Connection):
    """Answers each request `spin_ns` later than it would, with the processor kept busy until then."""

    __slots__ = ("_spin_ns",)

    def __init__(self, server: ServerView, accepted: socket.socket, address: tuple[str, int], spin_ns: int) -> None:
        super().__init__(server, accepted, address)
        self._spin_ns = spin_ns

    def _answer(self, head: bytes) -> None:
        spin(self._spin_ns)
        super()._answer(head)


def spin(spin_ns: int) -> None:
    """Keep the processor busy for at least `spin_ns`."""
    end = perf_counter_ns() + spin_ns
    while perf_counter_ns() < end:
        pass


def spin_ns(text: str) -> int:
    """Return for how long to spin so that an answer comes later than with a value of 0 by the variable's value, `text`.

    The loop ends with the first look at the clock that is late enough, some tens of nanoseconds after the time asked
    for: that is measured here, and taken off. Raises `PodError` for what is no time, or too long a one.
    """
    try:
        asked_us = float(text)
    except ValueError:
        asked_us = -1.0
    if not 0 <= asked_us <= MOST_US:
        raise PodError(f"nginx: {DELAY} = {text!r}: give microseconds, 0 to {MOST_US:,.0f}")
    return max(0, round(asked_us * 1000) - _overrun_ns()) if asked_us else 0


def _overrun_ns() -> int:
    """Return how much more than was asked for `spin` takes longer than a `spin` of 0."""
    return _took_ns(_TRIAL_NS) - _TRIAL_NS - _took_ns(0)


def _took_ns(asked_ns: int) -> int:
    """Return the median time of `spin`."""
    trials = []
    for _ in range(_TRIALS):
        start = perf_counter_ns()
        spin(asked_ns)
        trials.append(perf_counter_ns() - start)
    return sorted(trials)[_TRIALS // 2]
