"""What can be made again of a run's files: `summary.csv`, figures, the answer; prints nothing, needs no root."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import figures
from bench.caveats import Caveat
from bench.reader import Run, read_run
from bench.statistics import measured
from bench.summary import caveats as sample_caveats
from bench.summary import sentence, summarise
from lab.errors import InputError

SUMMARY_CSV = "summary.csv"


@dataclass(frozen=True)
class Report:
    """What a run says: `summary` as in `bench.summary.summarise`, `answer` one sentence, `paths` the files written."""

    run: Run
    summary: pd.DataFrame
    answer: str
    caveats: tuple[Caveat, ...]
    paths: tuple[Path, ...]


def report(directory: Path) -> Report:
    """Write `summary.csv` and the figures of `results/<run>/` again, whole or interrupted.

    Raises `InputError` if it is no run, or was cut before its first measured round.
    """
    run = read_run(directory)
    if measured(run.samples).empty:
        raise InputError(f"{directory} was cut during its first warm-up, so there is nothing to report; measure again")
    summary = summarise(run.samples, run.plan)
    caveats = (*run.caveats, *sample_caveats(run.samples, summary, run.plan))
    answer = sentence(summary, run.plan)
    if not run.complete:
        rebuilds = run.samples["rebuild"].nunique()
        answer = f"This run is {run.facts['state']} after {rebuilds} of {run.plan.rebuilds} rebuilds. {answer}"
    path = directory / SUMMARY_CSV
    # Fixed decimals: the same bytes from the same samples.
    summary.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    return Report(run, summary, answer, caveats, (path, *figures.draw(run, summary, caveats, directory)))
