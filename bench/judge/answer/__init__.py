"""What a run answers to its plan's question, in plain words: a headline, three bullets, and what forbids to trust it.

Terminal, page and JSON say the same, because all of them ask here. Which question a plan asks shows in what it has:
ratios compare two programs, terms that add up take an overhead apart, other terms compare pairs of arms, and a plan
without either asks what its arms add. Pure: out of a summary and the tables beside it, no files and no lab.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from sidelab.bench.judge.answer import openrates, overheads, pairs, parts, two_programs
from sidelab.bench.judge.answer.words import NOUNS, short
from sidelab.bench.judge.decomposition import Term, adds_up_to
from sidelab.bench.judge.ratios import Row as Ratio
from sidelab.bench.judge.summary import Row, rows, twin_alarm
from sidelab.bench.plan.plan import Plan


class Answer(NamedTuple):
    """`headline` and `bullets` are sentences; `warnings` have to be read before either, and mostly there are none."""

    headline: str
    bullets: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def answer(
    plan: Plan,
    summary: pd.DataFrame,
    *,
    terms: Sequence[Term] = (),
    ratios: Sequence[Ratio] = (),
    rates: pd.DataFrame | None = None,
) -> Answer:
    """Answer a plan's question by its tables, as `bench.judge.analysis` makes them."""
    table = rows(summary)
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
    warnings = tuple(_warnings(plan, summary, table))
    return Answer(headline, (*others[:2], _noise(plan, summary, table)), warnings)


def _warnings(plan: Plan, summary: pd.DataFrame, table: dict[tuple[str, str, str], Row]) -> Iterator[str]:
    if twin_alarm(summary, plan):
        yield (
            f"Do not trust these numbers: two identical arms differ by {_floors(plan, table)}, more than chance "
            "explains. Stop what else runs on this machine, and measure again."
        )


def _noise(plan: Plan, summary: pd.DataFrame, table: dict[tuple[str, str, str], Row]) -> str:
    """Say how much is noise, how often it was measured, and what an overhead is not."""
    requests = int(summary.loc[summary["phase"] == "total", "n"].sum())
    builds = max(table[plan.twin, each, "total"].rebuilds for each in plan.connections)
    built = "1 build" if builds == 1 else f"{builds} builds"
    return (
        f"Noise: two identical arms differ by {_floors(plan, table)}; {built} of the lab, {requests:,} requests. An "
        "overhead is the median difference of requests made at about the same moment, not the difference of the "
        "medians shown."
    )


def _floors(plan: Plan, table: dict[tuple[str, str, str], Row]) -> str:
    floors = [f"{short(table[plan.twin, each, 'total'].floor_us)} µs on {NOUNS[each]}" for each in plan.connections]
    return " and ".join(floors)
