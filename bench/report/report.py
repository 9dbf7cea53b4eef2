"""What can be made again of a run's files: tables, figures, the page; prints nothing, needs no root.

Every file is replaced in one step, so that whoever ends it early leaves the old one or the new one.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from sidelab.bench.judge import decomposition
from sidelab.bench.judge.analysis import Analysis, analyse
from sidelab.bench.record.records import write_whole, writing
from sidelab.bench.report import figures, page
from sidelab.bench.report.page import Content

SUMMARY_CSV = "summary.csv"
RATIOS_CSV = "ratios.csv"


def report(directory: Path) -> Analysis:
    """Analyse a run and draw it; raises what `bench.judge.analysis.analyse` and `draw` raise."""
    return draw(analyse(directory))


def draw(found: Analysis) -> Analysis:
    """Write the tables, the figures and the page of a run again, and note their paths.

    Raises `InputError` where they cannot be written.
    """
    directory = found.run.directory
    with writing(directory):
        paths = [_write(found.summary, directory / SUMMARY_CSV)]
        if found.ratios:
            paths.append(_write(pd.DataFrame(found.ratios), directory / RATIOS_CSV))
        if found.terms:
            paths.append(_write(pd.DataFrame(found.terms), directory / decomposition.CSV))
        drawn = figures.draw(found.run, found.summary, found.ratios, found.terms, found.caveats, directory)
        content = Content(found.run, found.summary, found.answer, found.caveats, drawn, found.ratios, found.terms)
        write_whole(found.page, page.render(content))
    pictures = [path for each in drawn for path in each.paths]
    return replace(found, paths=(*paths, *pictures, found.page))


def _write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table with fixed decimals: the same bytes from the same samples."""
    write_whole(path, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    return path
