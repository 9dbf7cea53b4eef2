"""A run's answer to its plan's question, in plain words: a headline, three bullets, and reasons not to trust it.

Terminal, page and JSON give the same answer, because all take it from here. The plan's content decides its question:
ratios compare two programs, terms that add up take an overhead apart, other terms compare pairs of arms, and without
either the question is what the arms add. Pure: from a summary and the tables beside it, no files and no lab.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from sidelab.bench.judge.answer import openrates, overheads, pairs, parts, two_programs
from sidelab.bench.judge.answer.words import NOUNS, short
from sidelab.bench.judge.decomposition import TermEstimate, adds_up_to
from sidelab.bench.judge.ratios import RatioRow
from sidelab.bench.judge.summary import Summary, twin_alarm
from sidelab.bench.plan.plan import Plan


class RunAnswer(NamedTuple):
    """`headline` and `bullets` are sentences; `warnings`, usually empty, must be read before either."""

    headline: str
    bullets: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def answer(
    plan: Plan,
    table: Summary,
    *,
    terms: Sequence[TermEstimate] = (),
    ratios: Sequence[RatioRow] = (),
    rates: pd.DataFrame | None = None,
) -> RunAnswer:
    """Answer a plan's question from the tables that `bench.judge.analysis` makes."""
    if ratios:
        headline, *others = two_programs.sentences(plan, ratios)
    elif terms and adds_up_to(plan):
        headline, *others = parts.sentences(plan, table, terms)
    elif terms:
        headline, *others = pairs.sentences(plan, table, terms)
    else:
        headline, *others = overheads.sentences(plan, table)
    if rates is not None and len(rates):
        others[1:] = openrates.sentences(plan, rates)
    return RunAnswer(headline, (*others[:2], _noise(plan, table)), tuple(_warnings(plan, table)))


def _warnings(plan: Plan, table: Summary) -> Iterator[str]:
    if twin_alarm(table, plan):
        yield (
            f"Do not trust these numbers: two identical arms differ by {_floors(plan, table)}, more than chance "
            "explains. Stop what else runs on this machine, and measure again."
        )


def _noise(plan: Plan, table: Summary) -> str:
    """Return a sentence on how much is noise, how often it was measured, and what an overhead is not."""
    requests = sum(row.n for row in table.values() if row.phase == "total")
    builds = max(table[plan.twin, each, "total"].rebuilds for each in plan.connections)
    built = "1 build" if builds == 1 else f"{builds} builds"
    return (
        f"Noise: two identical arms differ by {_floors(plan, table)}; {built} of the lab, {requests:,} requests. An "
        "overhead is the median difference of requests made at about the same moment, not the difference of the "
        "medians shown."
    )


def _floors(plan: Plan, table: Summary) -> str:
    floors = [f"{short(table[plan.twin, each, 'total'].floor_us)} µs on {NOUNS[each]}" for each in plan.connections]
    return " and ".join(floors)
