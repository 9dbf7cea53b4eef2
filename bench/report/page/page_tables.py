"""The numbers of a run as tables: medians and overheads by phase, ratios, terms, rates."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.decomposition import TermEstimate, laid_out
from sidelab.bench.judge.ratios import RatioRow
from sidelab.bench.judge.summary import Summary, SummaryRow, microseconds
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.figures.ratios_figure import quotient
from sidelab.bench.report.page.html import Markup, element, table
from sidelab.bench.report.page.verdict_cards import chip

_CAPTION: Final = {
    "new": "A new connection per request, in µs",
    "keep-alive": "Requests on a kept-alive connection, in µs",
}


def totals(found: Summary, plan: Plan) -> Iterator[Markup]:
    """Yield a table per kind of connection: medians by phase, the tail, the overhead in the total, the verdict."""
    for connection in plan.connections:
        phases = [phase for phase in PHASES if any(found[arm.name, connection, phase].n for arm in plan.arms)]
        lines = []
        for arm in plan.arms:
            total = found[arm.name, connection, "total"]
            medians = [_time(found[arm.name, connection, phase].p50_us) for phase in phases]
            judged = (chip(ArmVerdict(total.verdict)), _overhead(total))
            tail = (_time(total.p90_us), _time(total.p99_us), f"{total.n:,}")
            lines.append([arm.name, *judged, *medians, *tail])
        headings = ["arm", "verdict", "overhead [95\N{NO-BREAK SPACE}%]", *(f"{phase} p50" for phase in phases)]
        yield table(_CAPTION[connection], [*headings, "total p90", "total p99", "n"], lines)


def every_row(found: Summary, plan: Plan) -> Markup:
    """Make the folded table of every judged row: each arm, connection and phase that exists."""
    headings = "arm,connection,phase,verdict,overhead [95\N{NO-BREAK SPACE}%],p50,floor,margin,smallest visible".split(
        ","
    )
    lines = [
        [
            row.arm,
            row.connection,
            f"{row.phase}{' (gated)' if row.gated else ''}",
            chip(ArmVerdict(row.verdict)),
            _overhead(row),
            *map(_time, (row.p50_us, row.floor_us, row.margin_us, row.smallest_visible_us)),
        ]
        for row in found.values()
        if row.n and row.arm != plan.reference
    ]
    return element(
        "details",
        element("summary", "Every phase, with noise floor, margin and the smallest difference that would have shown"),
        table("Differences in µs, as in summary.csv", headings, lines),
    )


def ratios(compared: Sequence[RatioRow]) -> Markup:
    """Make the table of one arm's cost as a multiple of another's."""
    lines = []
    for row in compared:
        costs = " / ".join(f"{cost:,.0f}" if cost >= 1000 else f"{cost:.1f}" for cost in (row.value, row.other))
        ratio = f"{quotient(row.ratio)} [{quotient(row.low)}, {quotient(row.high)}]"
        lines.append([row.what, f"{row.arm} / {row.against}", f"{costs} {row.unit}", ratio, row.target, row.verdict])
    headings = ("what", "arms", "costs", "ratio [95\N{NO-BREAK SPACE}%]", "target", "verdict")
    return table("One arm as a multiple of the other, over lab builds", headings, lines)


def terms(found: Sequence[TermEstimate]) -> Markup:
    """Make the table of the overhead's terms: a row each, a column for each gated connection and phase."""
    columns, cells = laid_out(found)
    lines = [
        [name, *("n/a" if each is None else _interval(each.mean_us, each.low_us, each.high_us) for each in row)]
        for name, row in cells.items()
    ]
    headings = ["term", *(f"{connection}: {phase}" for connection, phase in columns)]
    return table("What each part adds, in µs [95 %]", headings, lines)


def rates(found: pd.DataFrame, plan: Plan) -> Markup:
    """Make the table of the open loop: means over lab builds for each rate and arm."""
    columns = {
        "achieved_per_s": "answered per s",
        "p50_us": "p50 µs",
        "p90_us": "p90 µs",
        "p99_us": "p99 µs",
        "p999_us": "p99.9 µs",
        "cpu_s_per_1000": "CPU s per 1000",
        "memory_kib": "memory KiB",
    }
    shown = {name: title for name, title in columns.items() if name in found.columns}
    numbers = found[list(shown)].astype(float)
    means = numbers.where(numbers >= 0).groupby([found["rate_per_s"], found["arm"]], observed=True).mean()
    lines = []
    for rate in sorted(found["rate_per_s"].unique()):
        for arm in (each.name for each in plan.arms if (rate, each.name) in means.index):
            values = [float(value) for value in means.loc[(rate, arm)]]
            lines.append([arm, f"{rate:,.0f}", *("n/a" if np.isnan(value) else _plain(value) for value in values)])
    return table("Open loop: latency from the intended start", ["arm", "rate per s", *shown.values()], lines)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _time(us: float) -> str:
    return "n/a" if np.isnan(us) else microseconds(us)


def _overhead(row: SummaryRow) -> str:
    return "" if np.isnan(row.overhead_us) else _interval(row.overhead_us, row.low_us, row.high_us)


def _interval(mean: float, low: float, high: float) -> str:
    if np.isnan(mean):
        return "n/a"
    return f"{microseconds(mean, sign=True)} [{microseconds(low)}, {microseconds(high)}]"
