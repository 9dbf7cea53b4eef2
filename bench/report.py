"""What can be made again of a run's files: `summary.csv`, figures, the answer; prints nothing, needs no root."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import figures, ratios
from bench.caveats import Caveat
from bench.reader import Run, read_run
from bench.statistics import measured
from bench.summary import caveats as sample_caveats
from bench.summary import sentence, summarise
from lab.errors import InputError

SUMMARY_CSV = "summary.csv"
RATIOS_CSV = "ratios.csv"


@dataclass(frozen=True)
class Report:
    """What a run says: `summary` as in `bench.summary.summarise`, `ratios` as in `bench.ratios.compare`.

    `answer` is one sentence, `paths` are the files written, tables before figures.
    """

    run: Run
    summary: pd.DataFrame
    answer: str
    caveats: tuple[Caveat, ...]
    ratios: tuple[ratios.Row, ...]
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
    paths = [path]
    compared = tuple(ratios.compare(run.plan, run.samples, run.loads))
    if compared:
        paths.append(directory / RATIOS_CSV)
        pd.DataFrame(compared).to_csv(paths[-1], index=False, float_format="%.4f", lineterminator="\n")
    paths += figures.draw(run, summary, compared, caveats, directory)
    return Report(run, summary, answer, caveats, compared, tuple(paths))
