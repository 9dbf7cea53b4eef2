"""When a container is probed, and what the results mean: Kubernetes' timings and thresholds.

One thing is quicker than in the kubelet: until a container has passed for the first time, a failed readiness or startup
probe is repeated after a hundredth of a second, doubling up to the period: a lab should not wait ten seconds for a
server that takes one. Such repetitions count as failures at most once a period, as on a node.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sidelab.lab.base.incidents import FAILURES, reason_of
from sidelab.lab.base.loop import Loop
from sidelab.lab.plan.blueprint import ProbePlan
from sidelab.lab.runtime.probes.attempt import Execute, ProbeAttempt, begin
from sidelab.lab.runtime.probes.probe_outcome import ProbeOutcome

if TYPE_CHECKING:
    from sidelab.lab.base.timers import Timer

FIRST_RETRY_S = 0.01
_NEVER_S = float("-inf")


class Prober:
    """Runs one probe of one container until `stop`.

    `on_result` hears of each answer that counts, because as many like it came in a row as the threshold wants, and of
    each failure.
    """

    def __init__(
        self,
        loop: Loop,
        plan: ProbePlan,
        execute: Execute,
        on_result: Callable[[ProbeOutcome], None],
        *,
        after_s: float = 0.0,
        patient: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin `after_s` seconds from now; a `patient` one never repeats a failed probe before its period."""
        self._loop = loop
        self._plan = plan
        self._execute = execute
        self._on_result = on_result
        self._clock = clock
        self._eager = not patient
        self._retry_s = FIRST_RETRY_S
        self._last = False  # the last answer that counted, and how many like it came in a row
        self._run = 0
        self._failed_at_s = _NEVER_S
        self._begun_at_s = 0.0
        self._attempt: ProbeAttempt | None = None
        self._deadline: Timer | None = None
        self._stopped = False
        self._next = loop.after(after_s, self._begin)

    def stop(self) -> None:
        """Stop probing; no callback is called afterwards."""
        self._stopped = True
        self._next.cancel()
        self._end_attempt()

    def hurry(self) -> None:
        """Probe again now, if it has only failed so far: what it depends on may have begun to serve."""
        if self._eager and self._failed_at_s > _NEVER_S and self._attempt is None and not self._stopped:
            self._next.cancel()
            self._retry_s = FIRST_RETRY_S
            self._next = self._loop.after(0, self._begin)

    def _begin(self) -> None:
        self._begun_at_s = self._clock()
        self._deadline = self._loop.after(self._plan.timing.timeout_seconds, self._too_late)
        try:
            self._attempt = begin(self._loop, self._plan.check, self._execute, self._finish)
        except FAILURES as error:
            self._finish(ProbeOutcome(passed=False, reason=reason_of(error)))

    def _too_late(self) -> None:
        self._finish(ProbeOutcome(passed=False, reason="timed out"))

    def _end_attempt(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None

    def _finish(self, outcome: ProbeOutcome) -> None:
        self._end_attempt()
        outcome = replace(outcome, counts=self._counts(outcome))
        if outcome.counts or not outcome.passed:
            self._on_result(outcome)
        if not self._stopped:
            self._next = self._loop.after(self._delay_s(outcome), self._begin)

    def _counts(self, outcome: ProbeOutcome) -> bool:
        timing, now_s = self._plan.timing, self._clock()
        if not outcome.passed:
            if self._eager and now_s - self._failed_at_s < timing.period_seconds:
                return False
            self._failed_at_s = now_s
        self._run = self._run + 1 if outcome.passed == self._last else 1
        self._last = outcome.passed
        if self._run < (timing.success_threshold if outcome.passed else timing.failure_threshold):
            return False
        self._eager = self._eager and not outcome.passed
        return True

    def _delay_s(self, outcome: ProbeOutcome) -> float:
        """Return the time to the next probe: a period runs from the start of one probe to the start of the next."""
        now_s = self._clock()
        delay_s = max(0.0, self._begun_at_s + self._plan.timing.period_seconds - now_s)
        if not self._eager:
            return delay_s
        delay_s = min(delay_s, self._retry_s)
        if not outcome.passed:  # despite early repetitions, the failure that counts comes on time
            delay_s = min(delay_s, max(0.0, self._failed_at_s + self._plan.timing.period_seconds - now_s))
            self._retry_s *= 2
        return delay_s
