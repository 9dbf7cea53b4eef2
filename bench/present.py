"""What a person sees at the end of a run: the table, the answer in a sentence, the doubts, and where the files are."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.decomposition import Term, laid_out
from bench.openloop.table import table as openrates
from bench.ratios import Row as Ratio
from bench.report import report
from bench.summary import Row, microseconds, rows
from bench.tables import titled

# What a person compares; summary.csv has every phase, each with its own overhead and verdict.
_SHOWN = ("namelookup", "connect", "appconnect", "starttransfer", "total")


def present(directory: Path) -> None:
    """Make the tables, the figures and the page of a run and print them; raises what `bench.report.report` raises."""
    found = report(directory)
    table = rows(found.summary)
    console = Console(file=sys.stdout)
    for connection in found.run.plan.connections:
        console.print(_table(connection, [row for row in table.values() if row.connection == connection]))
    if found.terms:
        console.print(_terms(found.terms))
    if found.ratios:
        console.print(_ratios(found.ratios))
    if len(found.run.rates):
        console.print(openrates(found.run.rates, found.run.plan))
    console.print(found.answer, highlight=False)
    for caveat in found.caveats:
        console.print(f"note: {caveat}", highlight=False, markup=False)
    console.print(f"\n{directory}/", highlight=False, soft_wrap=True)
    for path in found.paths:
        console.print(f"  {path.name}", highlight=False)


def _table(connection: str, found: list[Row]) -> Table:
    """Lay out arms down: each phase's median, then what the total has more than the reference's, and the verdict."""
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


def _terms(found: Sequence[Term]) -> Table:
    """Lay out the terms of the overhead: what each adds to the gated phases, with its interval."""
    table = titled("what each part adds, µs [95 %]")
    columns, cells = laid_out(found)
    table.add_column("part", no_wrap=True)
    for connection, phase in columns:
        table.add_column(f"{connection}\n{phase}", justify="right", no_wrap=True)
    for name, row in cells.items():
        table.add_row(name, *map(_term, row))
    return table


def _term(term: Term | None) -> str:
    if term is None:
        return "n/a"
    center, low, high = (microseconds(term.mean_us, sign=True), *map(microseconds, (term.low_us, term.high_us)))
    return f"{center}\n[{low}, {high}]"


def _ratios(found: Sequence[Ratio]) -> Table:
    """Lay out what was compared: both costs, the ratio with its interval, the target and whether it is met."""
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


def _median(row: Row | None) -> str:
    return "n/a" if row is None or not row.n else f"{row.p50_us:.1f}"


def _overhead(row: Row) -> str:
    if math.isnan(row.overhead_us):
        return "reference"
    center, low, high = (microseconds(value, sign=True) for value in (row.overhead_us, row.low_us, row.high_us))
    return f"{center} [{low}, {high}]"
