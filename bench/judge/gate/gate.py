"""The verdict for CI: whether a run keeps its budget, or is no slower than another run; pure, from files alone.

What is compared is always an overhead within one run, an arm's time minus another arm's at about the same moment;
never an absolute time. Two runs are compared by their overheads, as two independent estimates. A run that cannot be
trusted (it is not whole, requests failed, its identical arms differ) cannot pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.base.samples import PHASES, column
from sidelab.bench.judge import statistics, summary
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.gate import budget, comparable
from sidelab.bench.judge.gate.budget import GatedCell, Limit
from sidelab.bench.judge.gate.gate_inputs import Measured, count
from sidelab.bench.judge.statistics import Estimate, Floats
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.judge.verdict import ALPHA, GATED, GateOutcome, outcomes
from sidelab.bench.record.reader import Run, read_run
from sidelab.lab.errors import InputError

EXIT_STATUS = {GateOutcome.PASS: 0, GateOutcome.REGRESSION: 1, GateOutcome.INCONCLUSIVE: 4}


class GateRow(NamedTuple):
    """One gated row: times in µs, NaN where unknown.

    `difference_us` with `low_us` and `high_us` is the estimate and its 95 % interval; `limit_us` is the most it may be,
    `limit` the same in words; `p_value` is for "the difference is exactly its limit", Holm-adjusted over the rows.
    An excess over the limit of more than `smallest_visible_us` would certainly have been a regression.
    """

    arm: str
    against: str
    connection: str
    phase: str
    rebuilds: int
    difference_us: float
    low_us: float
    high_us: float
    limit: str
    limit_us: float
    p_value: float
    floor_us: float
    margin_us: float
    smallest_visible_us: float
    verdict: GateOutcome

    @property
    def name(self) -> str:
        """Return the row's name: arm, kind of connection, phase."""
        return f"{self.arm}, {self.connection}, {self.phase}"

    @property
    def interval(self) -> str:
        """Format the difference with its interval."""
        center, low, high = (microseconds(each, sign=True) for each in (self.difference_us, self.low_us, self.high_us))
        return f"{center} µs [{low}, {high}]"


@dataclass(frozen=True)
class GateResult:
    """The gate's result. `doubts` keep a run from passing, `caveats` do not; `standard` is what it is compared with.

    `overheads` are the run's own: what every arm adds to the reference, in the phases that may raise an alarm.
    """

    run: str
    standard: str
    rows: tuple[GateRow, ...]
    overheads: tuple[summary.SummaryRow, ...]
    doubts: tuple[Caveat, ...]
    caveats: tuple[Caveat, ...]

    @property
    def verdict(self) -> GateOutcome:
        """A regression if any row is one; a pass if all rows pass and there are no doubts."""
        found = {row.verdict for row in self.rows}
        if GateOutcome.REGRESSION in found:
            return GateOutcome.REGRESSION
        return GateOutcome.PASS if found == {GateOutcome.PASS} and not self.doubts else GateOutcome.INCONCLUSIVE

    @property
    def exit_status(self) -> int:
        """0 passed, 1 a regression was proven, 4 inconclusive."""
        return EXIT_STATUS[self.verdict]

    def of(self, outcome: GateOutcome) -> list[GateRow]:
        """Return the rows with that outcome."""
        return [row for row in self.rows if row.verdict is outcome]

    @property
    def sentence(self) -> str:
        """Return the verdict and its reason in one sentence."""
        proven, open_ = self.of(GateOutcome.REGRESSION), self.of(GateOutcome.INCONCLUSIVE)
        if proven:
            worst = max(proven, key=lambda row: row.difference_us - row.limit_us)
            return (
                f"Regression: {len(proven)} of {len(self.rows)} rows exceed {self.standard}, most of all {worst.name} "
                f"with {worst.interval} against {worst.against} ({worst.limit})."
            )
        if self.verdict is GateOutcome.PASS:
            return f"Pass: all {len(self.rows)} rows keep to {self.standard}."
        if self.doubts:
            return f"Inconclusive against {self.standard}: {'; '.join(doubt.what for doubt in self.doubts)}."
        blind = max((row.smallest_visible_us for row in open_), default=float("nan"))
        return (
            f"Inconclusive: {len(open_)} of {len(self.rows)} rows are neither proven to keep to {self.standard} nor to "
            f"exceed it; an excess of {microseconds(blind)} µs would have shown."
        )

    @property
    def heading(self) -> str:
        """The sentence for use above a list of the doubts: it leaves the reasons to the list."""
        if self.verdict is not GateOutcome.INCONCLUSIVE or not self.doubts:
            return self.sentence
        many = f"are {len(self.doubts)} reasons" if len(self.doubts) > 1 else "is a reason"
        return f"Inconclusive against {self.standard}: there {many} to distrust the comparison."


def judge(directory: Path, *, limits: Path | None = None, base: Path | None = None) -> GateResult:
    """Compare the run in `directory` with a budget file or another run's directory: exactly one of the two.

    Raises `InputError` if either is not a run or not a budget for this run, and if there is nothing to compare.
    """
    if limits is not None and base is None:
        return against_budget(Analysis(read_run(directory)), budget.load(limits), str(limits))
    if base is not None and limits is None:
        if directory.resolve() == base.resolve():
            raise InputError(f"gate: {directory} is compared with itself; give another run as --against")
        return against_base(Analysis(read_run(directory)), Analysis(read_run(base)))
    raise InputError("gate: give either --budget FILE or --against RUN")


def against_budget(held: Analysis, limits: tuple[Limit, ...], where: str) -> GateResult:
    """Compare a run with a budget; `where` names its file. Raises `InputError` for a budget of another plan."""
    run = held.run
    cells = budget.cells(limits, run.plan, where)
    found = Measured(held)
    differences = found.differences(cells)
    _check_phases(cells, differences, run, where)
    limit_us = found.limits_us(cells)
    judged = {name for cell in cells for name in (cell.arm, cell.against)}
    return GateResult(
        run=run.name,
        standard=where,
        rows=_rows(
            cells,
            partial(statistics.estimate, differences - limit_us),
            pd.DataFrame(limit_us).mean(axis=1).to_numpy(),
            found.floors_us(cells),
            found.margins_us(cells),
            count(differences),
        ),
        overheads=found.overheads,
        doubts=found.doubts(judged),
        caveats=found.caveats(judged),
    )


def against_base(held: Analysis, base: Analysis) -> GateResult:
    """Compare each arm's overhead in two runs of one plan; if they measured different things, report only that."""
    run, where, plan = held.run, base.run.name, held.run.plan
    ours = Measured(held)
    unlike = comparable.differences(run, base.run)
    if unlike:
        cure = "compare runs of the same thing: measure the base again"
        doubts = tuple(Caveat(f"{where} measured something else: {each}", cure) for each in unlike)
        return GateResult(run.name, where, (), ours.overheads, (*doubts, *ours.doubts(set())), ours.caveats(set()))
    arms = [arm.name for arm in plan.arms if arm.name not in (plan.reference, plan.twin)]
    if not arms:
        raise InputError(f"plan {plan.name} has no arm but {plan.reference} and its twin: there is nothing to compare")
    kinds = [kind for kind in GATED if kind[0] in plan.connections]
    cells = tuple(GatedCell(arm, plan.reference, *kind) for arm in arms for kind in kinds)
    theirs, judged = Measured(base), {*arms, plan.reference}
    differences, others = ours.differences(cells), theirs.differences(cells)
    in_base = tuple(cell._replace(against=cell.arm) for cell in cells)
    return GateResult(
        run=run.name,
        standard=where,
        rows=_rows(
            tuple(cell._replace(against=f"{cell.arm} in {where}") for cell in cells),
            partial(statistics.welch, differences, others),
            np.zeros(len(cells)),
            np.hypot(ours.floors_us(cells), theirs.floors_us(cells)),
            theirs.margins_us(in_base),
            np.minimum(count(differences), count(others)),
        ),
        overheads=ours.overheads,
        doubts=(*ours.doubts(judged), *theirs.doubts(judged)),
        caveats=(*ours.caveats(judged), *comparable.caveats(run, base.run)),
    )


def _check_phases(cells: Sequence[GatedCell], differences: Floats, run: Run, where: str) -> None:
    """Refuse limits on phases that no request has: those cannot keep a budget."""
    for cell, medians in zip(cells, differences, strict=True):
        if np.isnan(medians).all():
            rows = run.samples[run.samples["connection"] == cell.connection]
            exist = [phase for phase in PHASES if rows[column(phase)].notna().any()]
            raise InputError(
                f"budget {where} limits {cell.phase} of {cell.arm} ({cell.connection}), which no request of this run "
                f"has; these requests have {', '.join(exist)}"
            )


def _rows(
    cells: Sequence[GatedCell],
    estimate: Callable[[float], Estimate],
    limit_us: Floats,
    floor_us: Floats,
    margin_us: Floats,
    rebuilds: npt.NDArray[np.int_],
) -> tuple[GateRow, ...]:
    """Judge all cells as one family; `estimate` returns their excess over the limit at a level of confidence."""
    excess = estimate(statistics.CONFIDENCE)
    p_value = statistics.holm(excess.p_value)
    # Holm's first step: a row that exceeds this half-width is a regression, whatever the other rows are.
    strict = estimate(1 - ALPHA / len(cells))
    visible_us = statistics.smallest_visible(strict.half_width, floor_us, margin_us)
    verdicts = outcomes(excess, p_value, floor_us, margin_us)
    return tuple(
        GateRow(
            *cell[:4],
            rebuilds=int(rebuilds[k]),
            difference_us=float(excess.mean[k] + limit_us[k]),
            low_us=float(excess.low[k] + limit_us[k]),
            high_us=float(excess.high[k] + limit_us[k]),
            limit=cell.limit,
            limit_us=float(limit_us[k]),
            p_value=float(p_value[k]),
            floor_us=float(floor_us[k]),
            margin_us=float(margin_us[k]),
            smallest_visible_us=float(visible_us[k]),
            verdict=GateOutcome(verdicts[k]),
        )
        for k, cell in enumerate(cells)
    )
