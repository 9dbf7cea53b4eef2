"""Decide when a run has measured enough: its intervals are narrow enough, or its time is up; pure.

Only the width decides, never the differences themselves, so the estimates stay unbiased. But a run that stops the
first time its intervals look narrow stops on a spread that is too small by chance. Two things keep the 95 % interval
honest: no check before `least_rebuilds`, and `MORE_REBUILDS` after the first check that passed. In simulation
(`bench.studies.stopping`: normal rebuild medians, spreads that need 6 to 39 rebuilds) the interval then covers 94 to
95 %; without the second 93.8 to 95 %, and without either, from 3 rebuilds on, 90 to 92 %. The time budget does not
depend on any measurement.
"""

import numpy as np
import pandas as pd

from sidelab.bench.base.samples import COLUMNS, PHASES, RequestSample, column
from sidelab.bench.judge.statistics import estimate, rebuild_medians
from sidelab.bench.judge.verdict import GATED
from sidelab.bench.plan.plan import Plan, Stop

MORE_REBUILDS = 4


class StopRule:
    """Decide after each rebuild whether the run goes on."""

    def __init__(self, plan: Plan, budget_s: float | None = None) -> None:
        """Take the rule from the plan; `budget_s`, if given, replaces the plan's."""
        self._plan = plan
        self._stop: Stop = plan.stop
        self._budget_s = plan.stop.budget_s if budget_s is None else budget_s
        self._medians: list[pd.DataFrame] = []
        self._last: int | None = None

    def reason(self, rebuild: int, samples: list[RequestSample], elapsed_s: float, longest_s: float) -> str:
        """Return why the run ends after this rebuild; "" if it goes on.

        `samples` are this rebuild's; `longest_s` is the longest rebuild's time, `elapsed_s` that of all so far.
        """
        if self._stop.half_width_us:
            self._look(rebuild, samples)
            if self._last is not None and rebuild >= self._last:
                return f"all gated intervals are at most {self._stop.half_width_us:g} µs to either side"
        if self._budget_s and rebuild >= 2 and elapsed_s + longest_s > self._budget_s:
            return f"the time budget of {self._budget_s:g} s is used up"
        return ""

    def _look(self, rebuild: int, samples: list[RequestSample]) -> None:
        frame = pd.DataFrame(samples, columns=list(COLUMNS))
        times = [column(phase) for phase in PHASES]
        self._medians.append(rebuild_medians(frame.astype(dict.fromkeys(times, "float64")), self._plan.reference))
        if self._last is None and rebuild >= self._stop.least_rebuilds and self._narrow():
            self._last = rebuild + MORE_REBUILDS

    def _narrow(self) -> bool:
        medians = pd.concat(self._medians, axis=1)
        arm = medians.index.get_level_values("arm")
        gated = np.array([key[1:] in GATED for key in medians.index])
        judged = medians[gated & (arm != self._plan.reference)].to_numpy(dtype=float)
        measured = judged[~np.isnan(judged).all(axis=1)]
        return bool((estimate(measured).half_width <= self._stop.half_width_us).all())
