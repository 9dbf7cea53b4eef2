import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from sidelab.lab.base.loop import Loop
from sidelab.lab.base.timers import Timer, Timers
from sidelab.lab.manifest import Exec, Probe
from sidelab.lab.plan.blueprint import PlannedCheck, ProbePlan
from sidelab.lab.runtime.probes import FIRST_RETRY_S, ProbeOutcome, Prober


class ManualLoop(Loop):
    """A loop whose time passes when told."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._order = count()
        self._due: list[tuple[float, int, Timer]] = []

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Remember the call for later."""
        timer = Timer(Timers(), call)
        heapq.heappush(self._due, (self.now_s + delay_s, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end_s = self.now_s + seconds
        while self._due and self._due[0][0] <= end_s:
            self.now_s, _, timer = heapq.heappop(self._due)
            if timer.call is not None:
                timer.call()
        self.now_s = end_s


class Commands:
    """Stands in for the runtime: a command that was started ends when the test says so."""

    def __init__(self) -> None:
        self.running: list[Callable[[int], None]] = []
        self.started = 0
        self.killed = 0

    def execute(self, argv: tuple[str, ...], done: Callable[[int], None]) -> Callable[[], None]:
        """Take note of a command."""
        assert argv == ("check",)
        self.started += 1
        self.running.append(done)
        return self._kill

    def _kill(self) -> None:
        self.killed += 1

    def end(self, status: int) -> None:
        """End the oldest command that runs."""
        self.running.pop(0)(status)


PASSED = ProbeOutcome(passed=True)


def _failed(reason: str = "exit status 1", *, counts: bool) -> ProbeOutcome:
    return ProbeOutcome(passed=False, reason=reason, counts=counts)


def _prober(*, patient: bool = False, **timings: Any) -> tuple[ManualLoop, Commands, Prober, list[ProbeOutcome]]:
    loop, commands = ManualLoop(), Commands()
    heard: list[ProbeOutcome] = []
    command = Exec(command=("check",))
    plan = ProbePlan(PlannedCheck(command, ("", 0)), Probe(exec=command, **timings))
    prober = Prober(loop, plan, commands.execute, heard.append, patient=patient, clock=lambda: loop.now_s)
    return loop, commands, prober, heard


def test_a_command_that_passes_is_told_and_run_again_after_the_period():
    """The next probe begins a period after the one before began."""
    loop, commands, prober, heard = _prober(period_seconds=10)
    loop.advance(0)
    commands.end(0)
    assert [PASSED] == heard
    loop.advance(9.9)
    assert commands.started == 1
    loop.advance(0.2)
    assert commands.started == 2
    prober.stop()
    loop.close()


def test_until_it_has_passed_a_probe_is_repeated_sooner():
    """After a first failure soon, then after double that time and so on, up to the period."""
    loop, commands, prober, heard = _prober(period_seconds=10)
    starts = []
    for _ in range(4):
        while not commands.running:
            loop.advance(FIRST_RETRY_S / 8)
        starts.append(round(loop.now_s / FIRST_RETRY_S))
        commands.end(1)
    assert starts == [0, 1, 3, 7]
    assert [_failed(counts=False)] * 4 == heard
    prober.stop()
    loop.close()


def test_a_probe_that_waits_to_be_repeated_is_asked_at_once_when_hurried():
    """Not before its first time, nor while it is asked, nor once it has passed."""
    loop, commands, prober, _ = _prober(period_seconds=10)
    prober.hurry()
    assert commands.started == 0
    loop.advance(0)
    prober.hurry()
    loop.advance(0)
    assert commands.started == 1
    commands.end(1)
    prober.hurry()
    loop.advance(0)
    assert commands.started == 2
    commands.end(0)
    prober.hurry()
    loop.advance(0)
    assert commands.started == 2
    prober.stop()
    loop.close()


def test_what_is_repeated_sooner_counts_as_often_as_on_a_node():
    """With a period of 10 s the third failure that counts comes after 20 s, however many there were meanwhile."""
    loop, commands, prober, heard = _prober(period_seconds=10, failure_threshold=3)
    while not any(outcome.counts for outcome in heard):
        while not commands.running:
            loop.advance(FIRST_RETRY_S)
        commands.end(1)
    assert 20 == pytest.approx(loop.now_s, abs=0.1)
    assert len(heard) > 10
    prober.stop()
    loop.close()


def test_a_patient_probe_is_never_repeated_sooner():
    """A container that has to be alive is not taken for dead in a hurry: three failures take two periods."""
    loop, commands, prober, heard = _prober(patient=True, period_seconds=10, failure_threshold=3)
    loop.advance(0)
    for second in (10, 20):
        commands.end(1)
        loop.advance(9.9)
        assert not commands.running
        loop.advance(second - loop.now_s)
    commands.end(1)
    assert [False, False, True] == [outcome.counts for outcome in heard]
    prober.stop()
    loop.close()


def test_as_many_failures_as_the_threshold_count():
    """Fewer are told and don't count; a success in between begins the count again."""
    loop, commands, prober, heard = _prober(period_seconds=1, failure_threshold=2)
    loop.advance(0)
    for status in (0, 1, 0, 1, 1):
        commands.end(status)
        loop.advance(1)
    assert [PASSED, _failed(counts=False), PASSED, _failed(counts=False), _failed(counts=True)] == heard
    prober.stop()
    loop.close()


def test_as_many_successes_as_the_threshold_count():
    """Fewer are not even told."""
    loop, commands, prober, heard = _prober(success_threshold=2)
    loop.advance(0)
    commands.end(0)
    assert heard == []
    loop.advance(FIRST_RETRY_S)
    commands.end(0)
    assert [PASSED] == heard
    prober.stop()
    loop.close()


def test_a_command_that_takes_too_long_has_failed_and_its_end_counts_no_more():
    """It is killed at the deadline; when it ends, late, no second chain of probes begins."""
    loop, commands, prober, heard = _prober(period_seconds=1, timeout_seconds=1)
    loop.advance(1)
    assert ([_failed("timed out", counts=False)], 1) == (heard, commands.killed)
    loop.advance(0.1)
    assert commands.started == 2
    commands.end(-9)  # the first, which was killed
    assert len(heard) == 1
    commands.end(0)  # the second
    assert [PASSED] == heard[1:]
    loop.advance(1)
    assert commands.started == 3
    prober.stop()
    loop.close()


def test_after_stop_nothing_is_told():
    """A command that still runs is killed, its end is ignored, and there is no further probe."""
    loop, commands, prober, heard = _prober()
    loop.advance(0)
    prober.stop()
    assert commands.killed == 1
    commands.end(0)
    loop.advance(100)
    assert ([], 1) == (heard, commands.started)
    loop.close()


def test_who_hears_a_result_may_stop_the_prober():
    """A failure that ends the container is the last that is asked."""
    loop, commands, prober, heard = _prober(failure_threshold=1)

    def hear(outcome: ProbeOutcome) -> None:
        heard.append(outcome)
        prober.stop()

    prober._on_result = hear
    loop.advance(0)
    commands.end(1)
    loop.advance(100)
    assert ([_failed(counts=True)], 1) == (heard, commands.started)
    loop.close()
