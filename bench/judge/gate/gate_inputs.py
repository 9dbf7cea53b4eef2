"""One run's figures for the rows that a gate judges, and the reasons not to trust it; pure.

Every result is an array in the order of the given cells, with a column per rebuild if there are several values.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge import statistics, summary
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.gate.budget import GatedCell
from sidelab.bench.judge.statistics import Floats
from sidelab.bench.judge.verdict import margin_us
from sidelab.bench.record.reader import unfinished
from sidelab.lab.errors import InputError


class Measured:
    """A run that a gate judges; raises `InputError` if an arm of its plan has no measured request.

    `overheads` are the gated rows of its summary, without reference and twin.
    """

    def __init__(self, found: Analysis) -> None:
        self._found = found
        self._run = run = found.run
        measured = statistics.measured(run.samples)
        missing = sorted({arm.name for arm in run.plan.arms} - set(measured["arm"].unique()))
        if missing:
            raise InputError(
                f"{run.directory} holds no measured request of {', '.join(missing)}, so there is nothing to judge; "
                f"measure again"
            )
        self._rebuilds = sorted(measured["rebuild"].unique())
        named = (run.plan.reference, run.plan.twin)
        self.overheads = tuple(row for row in found.summary.values() if row.gated and row.n and row.arm not in named)

    def differences(self, cells: Sequence[GatedCell]) -> Floats:
        """Return each cell's rebuild medians of the paired differences, arm - against."""
        tables = {each: self._found.medians_against(each) for each in {cell.against for cell in cells}}
        whole = pd.concat(tables, names=["against"]).reindex(columns=self._rebuilds)
        keys = [(cell.against, cell.arm, cell.connection, cell.phase) for cell in cells]
        return whole.reindex(pd.MultiIndex.from_tuples(keys)).to_numpy(dtype=float)

    def limits_us(self, cells: Sequence[GatedCell]) -> Floats:
        """Return the limit of each cell; a share is of the other arm's own median in that rebuild."""
        fixed = np.array([[cell.at_most_us or 0.0] for cell in cells])
        share = np.array([[(cell.at_most_percent or 0.0) / 100] for cell in cells])
        keys = pd.MultiIndex.from_tuples([(cell.against, cell.connection, cell.phase) for cell in cells])
        levels = self._found.levels.reindex(index=keys, columns=self._rebuilds)
        return fixed + np.where(share == 0.0, 0.0, share * levels.to_numpy(dtype=float))

    def floors_us(self, cells: Sequence[GatedCell]) -> Floats:
        """Return the noise floor of each cell; if the twins alarm, at least as much as they may differ."""
        return np.array([self._floor_us(self._found.summary[self._run.plan.twin, *cell[2:4]]) for cell in cells])

    def _floor_us(self, twin: summary.SummaryRow) -> float:
        return max(twin.floor_us, abs(twin.low_us), abs(twin.high_us)) if self._found.twin_alarm else twin.floor_us

    def margins_us(self, cells: Sequence[GatedCell]) -> Floats:
        """Return how much slower than the other arm is negligible; 0 where a limit is given."""
        plan = self._run.plan
        return np.array(
            [
                0.0
                if cell.limited
                else margin_us(
                    self._found.summary[cell.against, cell.connection, cell.phase].p50_us,
                    plan.margin_us,
                    plan.margin_ratio,
                )
                for cell in cells
            ]
        )

    def doubts(self, arms: set[str]) -> tuple[Caveat, ...]:
        """List what keeps this run from passing: it is not whole, its twins differ, requests of these arms failed."""
        run = self._run
        found = []
        recorded = len(run.samples)
        if not run.complete or recorded != run.requests:
            state = run.facts["state"] if not run.complete else "torn"
            found.append(unfinished(run.name, state, recorded, run.requests))
        if self._found.twin_alarm:
            what = f"in {run.name} two identical arms differ by more than chance explains"
            found.append(Caveat(what, "stop what else runs on the machine, measure again"))
        failed = int(statistics.unanswered(run.samples)["arm"].isin(arms).sum())
        if failed:
            what = f"in {run.name} {failed} requests of the arms that are judged were not answered 2xx"
            found.append(Caveat(what, "read the pods' logs, measure again"))
        return tuple(found)

    def caveats(self, arms: set[str]) -> tuple[Caveat, ...]:
        """List what else casts doubt on this run: whatever is not already among the `doubts` for these arms."""
        run = self._run
        said = [unfinished("this run", str(run.facts["state"]), len(run.samples), run.requests)]
        if self._found.twin_alarm:
            said.append(summary.restless(run.plan))
        failed = statistics.unanswered(run.samples)
        if len(failed) and set(failed["arm"].unique()) <= arms:
            said.append(summary.failures(run.samples))
        return tuple(each for each in self._found.caveats if each not in said)


def count(medians: Floats) -> npt.NDArray[np.int_]:
    """Count the rebuilds that have a value."""
    known: npt.NDArray[np.int_] = (~np.isnan(medians)).sum(axis=1)
    return known
