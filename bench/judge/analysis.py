"""What a run says, out of its files: the tables and the answer; draws nothing, writes nothing, prints nothing."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge import decomposition, ratios
from sidelab.bench.judge.answer import Answer, answer
from sidelab.bench.judge.statistics import measured
from sidelab.bench.judge.summary import caveats as sample_caveats
from sidelab.bench.judge.summary import summarise
from sidelab.bench.record.reader import Run, read_run
from sidelab.lab.errors import InputError

PAGE = "report.html"


@dataclass(frozen=True)
class Analysis:
    """What a run says.

    `summary` is as in `bench.judge.summary.summarise`, `ratios` as in `bench.judge.ratios.compare`, `terms` as in
    `bench.judge.decomposition.decompose`; `paths` are the files that `bench.report.report` has written: tables, then
    figures, last the page.
    """

    run: Run
    summary: pd.DataFrame
    answer: Answer
    caveats: tuple[Caveat, ...]
    ratios: tuple[ratios.Row, ...]
    terms: tuple[decomposition.Term, ...]
    paths: tuple[Path, ...] = ()

    @property
    def page(self) -> Path:
        """Where the run's page is, once it was drawn."""
        return self.run.directory / PAGE


def analyse(directory: Path) -> Analysis:
    """Read `results/<run>/`, whole or interrupted, and judge it.

    Raises `InputError` if it is no run, or was cut before its first measured round.
    """
    run = read_run(directory)
    counted = measured(run.samples)
    if counted.empty:
        raise InputError(f"{directory} was cut during its first warm-up, so there is nothing to report; measure again")
    if not (counted["arm"] == run.plan.reference).any():
        missing = f"{directory} holds no measured request of {run.plan.reference}, which all others are compared with"
        raise InputError(f"{missing}; restore the files as they were written, or measure again")
    summary = summarise(run.samples, run.plan)
    compared = tuple(ratios.compare(run.plan, run.samples, run.loads))
    terms = tuple(decomposition.decompose(run.plan, run.samples))
    said = answer(run.plan, summary, terms=terms, ratios=compared, rates=run.rates)
    if not run.complete:
        last = run.samples["rebuild"].max()
        cut = f"This run is {run.facts['state']}: it ended in build {last} of {run.rebuilds}."
        said = said._replace(warnings=(cut, *said.warnings))
    caveats = (*run.caveats, *sample_caveats(run.samples, summary, run.plan))
    return Analysis(run, summary, said, caveats, compared, terms)
