"""The results of a run, computed once from its files; draws nothing, writes nothing, prints nothing.

The gate, the answer, the figures, the page and the exports all read an `Analysis`: it is the one place where the
samples of a recorded run become medians of its lab builds, and the tables that follow from them.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge import decomposition, ratios, statistics, summary
from sidelab.bench.judge.answer import RunAnswer, answer
from sidelab.bench.judge.decomposition import TermEstimate
from sidelab.bench.judge.ratios import RatioRow
from sidelab.bench.judge.statistics import Floats
from sidelab.bench.judge.summary import Summary
from sidelab.bench.record.reader import Run, read_run
from sidelab.lab.errors import InputError

PAGE = "report.html"


@dataclass(frozen=True, eq=False)
class Analysis:
    """The results of a run. Each table is computed on first use, and kept.

    Callers share one table, so they must not change it.
    """

    run: Run
    _medians: dict[str, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def medians_against(self, arm: str) -> pd.DataFrame:
        """Return `statistics.rebuild_medians` of this run: each arm's differences to `arm`, in µs, a column a build."""
        if arm not in self._medians:
            self._medians[arm] = statistics.rebuild_medians(self.run.samples, arm)
        return self._medians[arm]

    @cached_property
    def levels(self) -> pd.DataFrame:
        """`statistics.rebuild_levels` of this run: each arm's median time, in µs, a column a build."""
        return statistics.rebuild_levels(self.run.samples)

    @cached_property
    def builds(self) -> dict[tuple[str, str, str], Floats]:
        """The median difference to the reference in each lab build, in µs, by arm, connection and phase."""
        found = self.medians_against(self.run.plan.reference)
        return dict(zip(found.index, found.to_numpy(dtype=float), strict=True))

    @cached_property
    def summary(self) -> Summary:
        """Estimates, intervals, noise floors and verdicts, as in `summary.csv`."""
        plan = self.run.plan
        return summary.summarise(self.run.samples, self.medians_against(plan.reference), plan)

    @cached_property
    def twin_alarm(self) -> bool:
        """Whether two identical arms differ by more than chance explains."""
        return summary.twin_alarm(self.summary, self.run.plan)

    @cached_property
    def caveats(self) -> tuple[Caveat, ...]:
        """All caveats: the recorded ones, the reader's own, and those that the samples raise."""
        return (*self.run.caveats, *summary.caveats(self.run.samples, self.summary, self.run.plan))

    @cached_property
    def ratios(self) -> tuple[RatioRow, ...]:
        """The plan's ratios, as in `ratios.csv`."""
        return tuple(ratios.compare(self.run.plan, self.medians_against, self.run.loads))

    @cached_property
    def terms(self) -> tuple[TermEstimate, ...]:
        """The parts of the overhead, if the plan has terms, as in `decomposition.csv`."""
        return tuple(decomposition.decompose(self.run.plan, self.medians_against))

    @cached_property
    def answer(self) -> RunAnswer:
        """The answer to the plan's question, in words."""
        run = self.run
        said = answer(run.plan, self.summary, terms=self.terms, ratios=self.ratios, rates=run.rates)
        if run.complete:
            return said
        cut = f"This run is {run.facts['state']}: it ended in build {run.samples['rebuild'].max()} of {run.rebuilds}."
        return said._replace(warnings=(cut, *said.warnings))

    @property
    def page(self) -> Path:
        """Where the run's page is, once it is drawn."""
        return self.run.directory / PAGE


def analyse(directory: Path) -> Analysis:
    """Read `results/<run>/`, whole or interrupted, once.

    Raises `InputError` if it is not a run, or was cut before its first measured round.
    """
    run = read_run(directory)
    counted = statistics.measured(run.samples)
    if counted.empty:
        raise InputError(f"{directory} was cut during its first warm-up, so there is nothing to report; measure again")
    if not (counted["arm"] == run.plan.reference).any():
        missing = f"{directory} holds no measured request of {run.plan.reference}, which all others are compared with"
        raise InputError(f"{missing}; restore the files as they were written, or measure again")
    return Analysis(run)
