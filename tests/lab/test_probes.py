import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from lab.loop import Loop, Timer
from lab.manifest.pod import Exec, Probe
from lab.probes import _FIRST_RETRY_S, Prober


class ManualLoop(Loop):
    """A loop whose time passes when told."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._order = count()
        self._due: list[tuple[float, int, Timer]] = []

    def after(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Remember the call for later."""
        timer = Timer(call)
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


def _prober(**timings: Any) -> tuple[ManualLoop, Commands, Prober, list[tuple[bool, str]]]:
    loop, commands = ManualLoop(), Commands()
    heard: list[tuple[bool, str]] = []
    probe = Probe(exec=Exec(command=("check",)), **timings)
    prober = Prober(loop, probe, ("", 0), commands.execute, lambda ready, reason: heard.append((ready, reason)))
    return loop, commands, prober, heard


def test_a_command_that_passes_makes_ready_and_is_run_again_after_the_period():
    """Readiness is told once, and the next probe comes a period later."""
    loop, commands, prober, heard = _prober(period_seconds=10)
    loop.advance(0)
    commands.end(0)
    assert [(True, "")] == heard
    loop.advance(9.9)
    assert commands.started == 1
    loop.advance(0.2)
    assert commands.started == 2
    prober.stop()
    loop.close()


def test_until_it_has_been_ready_a_container_is_probed_sooner():
    """After a first failure soon, then after double that time and so on, up to the period."""
    loop, commands, prober, heard = _prober(period_seconds=10)
    starts = []
    for _ in range(4):
        while not commands.running:
            loop.advance(_FIRST_RETRY_S / 8)
        starts.append(round(loop.now_s / _FIRST_RETRY_S))
        commands.end(1)
    assert starts == [0, 1, 3, 7]
    assert [(False, "readiness probe failed: exit status 1")] * 4 == heard
    prober.stop()
    loop.close()


def test_as_many_failures_as_the_threshold_make_unready():
    """Fewer change the reason alone; a success in between begins the count again."""
    loop, commands, prober, heard = _prober(period_seconds=1, failure_threshold=2)
    loop.advance(0)
    for status in (0, 1, 0, 1, 1):
        commands.end(status)
        loop.advance(1)
    assert [True, True, True, True, False] == [ready for ready, _ in heard]
    assert heard[-1] == (False, "readiness probe failed: exit status 1")
    prober.stop()
    loop.close()


def test_a_command_that_takes_too_long_has_failed_and_its_end_counts_no_more():
    """It is killed at the deadline; when it ends, late, no second chain of probes begins."""
    loop, commands, prober, heard = _prober(period_seconds=1, timeout_seconds=1)
    loop.advance(1)
    assert ([(False, "readiness probe failed: timed out")], 1) == (heard, commands.killed)
    loop.advance(0.1)
    assert commands.started == 2
    commands.end(-9)  # the first, which was killed
    assert len(heard) == 1
    commands.end(0)  # the second
    assert heard[1:] == [(True, "")]
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
