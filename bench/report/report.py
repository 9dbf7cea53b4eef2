"""Everything that is made from a run's files: tables, figures, the page; prints nothing, needs no root.

Every file is replaced in one step, so that an early end leaves the old one or the new one.
"""

from pathlib import Path

import pandas as pd

from sidelab.bench.judge import decomposition
from sidelab.bench.judge.analysis import Analysis, analyse
from sidelab.bench.record.records import write_whole, writing
from sidelab.bench.report import figures, page

SUMMARY_CSV = "summary.csv"
RATIOS_CSV = "ratios.csv"


def report(directory: Path) -> tuple[Path, ...]:
    """Analyse a run and draw it; returns what `draw` does, and raises what it and `bench.judge.analysis.analyse` do."""
    return draw(analyse(directory))


def draw(found: Analysis) -> tuple[Path, ...]:
    """Write the tables, the figures and the page of a run again, and return their paths in that order.

    Raises `InputError` if they cannot be written.
    """
    directory = found.run.directory
    with writing(directory):
        paths = [_write(pd.DataFrame(found.summary.values()), directory / SUMMARY_CSV)]
        if found.ratios:
            paths.append(_write(pd.DataFrame(found.ratios), directory / RATIOS_CSV))
        if found.terms:
            paths.append(_write(pd.DataFrame(found.terms), directory / decomposition.CSV))
        drawn = figures.draw(found, directory)
        write_whole(found.page, page.render(found, drawn))
    pictures = [path for each in drawn for path in each.paths]
    return (*paths, *pictures, found.page)


def _write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table with fixed decimals: the same bytes from the same samples."""
    write_whole(path, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    return path
