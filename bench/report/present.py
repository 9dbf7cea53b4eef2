"""The output at the end of a run, as text or as JSON: the answer, the tables, the reasons to doubt it."""

import math
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.decomposition import TermEstimate, laid_out
from sidelab.bench.judge.ratios import RatioRow
from sidelab.bench.judge.summary import SummaryRow, microseconds
from sidelab.bench.report.openloop_table import table as openrates
from sidelab.bench.report.terminal_tables import console, titled

SCHEMA: Final = 1

_TOGETHER: Final = re.compile(r"(?<=\d) (?=µs|%|MiB)|(?<=µs) (?=\[)|(?<=,) (?=\S+\])")
"""The spaces between a number and its unit and within an interval, at which no line may break."""

# The phases that people compare; summary.csv has every phase, each with its own overhead and verdict.
_SHOWN = ("namelookup", "connect", "appconnect", "starttransfer", "total")


def present(found: Analysis) -> None:
    """Print a run's result: warnings, the answer, the tables, and every reason to doubt it."""
    table, plan = found.summary, found.run.plan
    printer = console()
    for line in (*found.answer.warnings, found.answer.headline):
        _say(printer, line)
    for bullet in found.answer.bullets:
        _say(printer, bullet, "- ")
    printer.print()
    for connection in plan.connections:
        printer.print(_table(connection, [row for row in table.values() if row.connection == connection]))
    if found.terms:
        printer.print(_terms(found.terms))
    if found.ratios:
        printer.print(_ratios(found.ratios))
    if len(found.run.rates):
        printer.print(openrates(found.run.rates, plan))
    for caveat in found.caveats:
        _say(printer, str(caveat), "note: ")


def _say(printer: Console, text: str, begin: str = "") -> None:
    """Print a sentence: on a terminal wrapped between words and indented, elsewhere as one line, for other programs."""
    width = printer.width if printer.is_terminal else sys.maxsize
    kept = _TOGETHER.sub("\N{NO-BREAK SPACE}", begin + text)
    lines = textwrap.wrap(
        kept, width, subsequent_indent=" " * len(begin), break_long_words=False, break_on_hyphens=False
    )
    said = "\n".join(lines).replace("\N{NO-BREAK SPACE}", " ")
    printer.print(said, highlight=False, markup=False, soft_wrap=True)


def document(found: Analysis, paths: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the same as JSON values; null means unknown, `paths` are the files that were drawn."""
    facts = found.run.facts
    return {
        "schema": SCHEMA,
        "run": str(found.run.directory),
        "plan": found.run.plan.name,
        "state": facts["state"],
        "answer": found.answer._asdict(),
        "rows": [_known(row._asdict()) for row in found.summary.values()],
        "terms": [_known(term._asdict()) for term in found.terms],
        "ratios": [_known(ratio._asdict()) for ratio in found.ratios],
        "caveats": [{"what": each.what, "cure": each.cure} for each in found.caveats],
        "page": str(found.page) if found.page.exists() else None,
        "paths": [str(path) for path in paths],
    }


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(each, float) and math.isnan(each) else each for key, each in values.items()}


def _table(connection: str, found: list[SummaryRow]) -> Table:
    """Lay out a row per arm: each phase's median, then the total's excess over the reference, and the verdict."""
    title = {"new": "a new connection per request", "keep-alive": "requests on a kept-alive connection"}[connection]
    table = titled(f"{title}, median µs")
    cells = {(row.arm, row.phase): row for row in found}
    phases = [phase for phase in _SHOWN if any(row.phase == phase and row.n for row in found)]
    table.add_column("arm", no_wrap=True)
    for phase in phases:
        table.add_column(phase.replace("transfer", "\ntransfer"), justify="right")
    table.add_column("overhead [95 %]", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for arm in dict.fromkeys(row.arm for row in found):
        total = cells[arm, "total"]
        medians = (_median(cells.get((arm, phase))) for phase in phases)
        table.add_row(arm, *medians, _overhead(total), str(total.verdict) if not math.isnan(total.overhead_us) else "")
    return table


def _terms(found: Sequence[TermEstimate]) -> Table:
    """Lay out the terms of the overhead: what each adds to the gated phases, with its interval."""
    table = titled("what each part adds, µs [95 %]")
    columns, cells = laid_out(found)
    table.add_column("part", no_wrap=True)
    for connection, phase in columns:
        table.add_column(f"{connection}\n{phase}", justify="right", no_wrap=True)
    for name, row in cells.items():
        table.add_row(name, *map(_term, row))
    return table


def _term(term: TermEstimate | None) -> str:
    if term is None:
        return "n/a"
    center, low, high = (microseconds(term.mean_us, sign=True), *map(microseconds, (term.low_us, term.high_us)))
    return f"{center}\n[{low}, {high}]"


def _ratios(found: Sequence[RatioRow]) -> Table:
    """Lay out the comparisons: both costs, the ratio with its interval, the target and whether it is met."""
    table = titled("one arm as a multiple of the other, over lab builds")
    table.add_column("what\n  arms", no_wrap=True)
    for heading in ("costs\nratio [95 %]", "target\n"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found:
        costs = " / ".join(f"{cost:,.0f}" if cost >= 1000 else f"{cost:.1f}" for cost in (row.value, row.other))
        ratio = f"{row.ratio:.2f} [{row.low:.2f}, {row.high:.2f}]"
        arms = f"{row.what}\n  {row.arm} / {row.against}"
        table.add_row(arms, f"{costs} {row.unit}\n{ratio}", f"{row.target}\n{row.verdict}")
    return table


def _median(row: SummaryRow | None) -> str:
    return "n/a" if row is None or not row.n else "?" if math.isnan(row.p50_us) else f"{row.p50_us:.1f}"


def _overhead(row: SummaryRow) -> str:
    if math.isnan(row.overhead_us):
        return "reference"
    center, low, high = (microseconds(value, sign=True) for value in (row.overhead_us, row.low_us, row.high_us))
    return f"{center} [{low}, {high}]"
