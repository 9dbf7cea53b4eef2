"""What can be made again of a run's files: tables, figures, the page, the answer; prints nothing, needs no root."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bench import decomposition, figures, page, ratios
from bench.caveats import Caveat
from bench.page import Content
from bench.reader import Run, read_run
from bench.records import writing
from bench.statistics import measured
from bench.summary import caveats as sample_caveats
from bench.summary import sentence, summarise
from lab.errors import InputError

SUMMARY_CSV = "summary.csv"
RATIOS_CSV = "ratios.csv"
PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """What a run says.

    `summary` is as in `bench.summary.summarise`, `ratios` as in `bench.ratios.compare`, `terms` as in
    `bench.decomposition.decompose`; `answer` is one sentence, `paths` are the files written: tables, then figures, last
    the page.
    """

    run: Run
    summary: pd.DataFrame
    answer: str
    caveats: tuple[Caveat, ...]
    ratios: tuple[ratios.Row, ...]
    terms: tuple[decomposition.Term, ...]
    paths: tuple[Path, ...]


def report(directory: Path) -> Report:
    """Write the tables, the figures and the page of `results/<run>/` again, whole or interrupted.

    Raises `InputError` if it is no run, was cut before its first measured round, or cannot be written to.
    """
    run = read_run(directory)
    if measured(run.samples).empty:
        raise InputError(f"{directory} was cut during its first warm-up, so there is nothing to report; measure again")
    summary = summarise(run.samples, run.plan)
    caveats = (*run.caveats, *sample_caveats(run.samples, summary, run.plan))
    answer = sentence(summary, run.plan)
    if not run.complete:
        rebuilds = run.samples["rebuild"].nunique()
        answer = f"This run is {run.facts['state']} after {rebuilds} of {run.rebuilds} rebuilds. {answer}"
    with writing(directory):
        return _written(run, summary, answer, caveats)


def _written(run: Run, summary: pd.DataFrame, answer: str, caveats: tuple[Caveat, ...]) -> Report:
    directory = run.directory
    compared = tuple(ratios.compare(run.plan, run.samples, run.loads))
    paths = [_write(summary, directory / SUMMARY_CSV)]
    if compared:
        paths.append(_write(pd.DataFrame(compared), directory / RATIOS_CSV))
    terms = tuple(decomposition.decompose(run.plan, run.samples))
    if terms:
        paths.append(_write(pd.DataFrame(terms), directory / decomposition.CSV))
    drawn = figures.draw(run, summary, compared, terms, caveats, directory)
    whole = directory / PAGE
    content = Content(run, summary, answer, caveats, drawn, compared, terms)
    pictures = [path for each in drawn for path in each.paths]
    whole.write_text(page.render(content), encoding="utf-8")
    return Report(run, summary, answer, caveats, compared, terms, (*paths, *pictures, whole))


def _write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table with fixed decimals: the same bytes from the same samples."""
    table.to_csv(path, index=False, float_format="%.4f", lineterminator="\n")
    return path
