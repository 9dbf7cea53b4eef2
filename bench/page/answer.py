"""The page's first screen: the answer in one sentence, what casts doubt on all of it, and a card per arm."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd

from bench.page import bars
from bench.page.html import Markup, element, join
from bench.plan import Plan
from bench.reader import Run
from bench.summary import Row, microseconds, rows, twin_alarm
from bench.verdict import Verdict

_NOUN: Final = {"new": "a new connection", "keep-alive": "a kept-alive one"}
TITLE: Final = {"new": "new connection", "keep-alive": "kept-alive"}

_SHAPES: Final = {
    Verdict.CHANGED: '<path d="M8 1 15 8 8 15 1 8Z" fill="currentColor"/>',
    Verdict.EQUIVALENT: '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="3"/>',
    Verdict.INCONCLUSIVE: '<path d="M3 3h10v10H3Z" fill="none" stroke="currentColor" stroke-width="3"/>',
    Verdict.REFERENCE: '<path d="M2 8h12" stroke="currentColor" stroke-width="3"/>',
    Verdict.NOT_APPLICABLE: '<path d="M2 8h12" stroke="currentColor" stroke-width="1"/>',
}
"""A shape for each verdict, the figures' own; the word stands beside it."""


def chip(verdict: Verdict) -> Markup:
    """Say a verdict in word, colour and shape."""
    shape = Markup(f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SHAPES[verdict]}</svg>')
    return element("span", shape, str(verdict), class_=f"chip {str(verdict).replace(' ', '-')}")


def headline(summary: pd.DataFrame, plan: Plan) -> str:
    """Answer in one sentence, however many arms there are: how many add what, and the noise floor."""
    table = rows(summary)
    others = [arm.name for arm in plan.arms if arm.name not in (plan.reference, plan.twin)]
    clauses = [
        f"on {_NOUN[connection]} {_counted([table[name, connection, 'total'] for name in others])}"
        for connection in plan.connections
    ]
    floors = " and ".join(
        f"{microseconds(table[plan.twin, each, 'total'].floor_us)} \N{MICRO SIGN}s" for each in plan.connections
    )
    said = "; ".join([*clauses, f"two identical arms differ by {floors} (the noise floor)"])
    return f"{said[0].upper()}{said[1:]}."


def _counted(found: Sequence[Row]) -> str:
    groups = {
        "add": [row for row in found if row.verdict == Verdict.CHANGED and row.overhead_us > 0],
        "save": [row for row in found if row.verdict == Verdict.CHANGED and row.overhead_us <= 0],
        "equivalent": [row for row in found if row.verdict == Verdict.EQUIVALENT],
        "inconclusive": [row for row in found if row.verdict == Verdict.INCONCLUSIVE],
    }
    parts: list[str] = []
    for kind, members in groups.items():
        if not members:
            continue
        who = _who(members, len(found), last=not parts)
        many = len(members) > 1
        if kind in ("add", "save"):
            parts.append(f"{who} {kind if many else kind + 's'} {_range(members)}")
        elif kind == "equivalent":
            parts.append(f"{who} {'make' if many else 'makes'} no difference that matters")
        else:
            parts.append(f"{who} {'are' if many else 'is'} inconclusive")
    *most, final = parts or ["there is nothing to compare"]
    return f"{', '.join(most)} and {final}" if most else final


def _who(members: Sequence[Row], total: int, *, last: bool) -> str:
    """Name a single arm, count several."""
    if len(members) == 1:
        return members[0].arm
    return f"all {total} arms" if len(members) == total and last else f"{len(members)} of {total} arms"


def _range(members: Sequence[Row]) -> str:
    sizes = sorted(abs(row.overhead_us) for row in members)
    ends = list(dict.fromkeys((microseconds(sizes[0]), microseconds(sizes[-1]))))
    return f"{' to '.join(ends)} \N{MICRO SIGN}s"


def alerts(run: Run, summary: pd.DataFrame) -> Iterator[Markup]:
    """Yield what has to be read before any number: a run that is not whole, twins that differ."""
    if not run.complete:
        builds = run.samples["rebuild"].nunique()
        said = f"This run is {run.facts['state']}: it ended in lab build {builds} of {run.rebuilds}."
        yield element("p", said, class_="alert", role="alert")
    if twin_alarm(summary, run.plan):
        said = "Two identical arms differ in this run by more than chance explains: distrust all of it."
        yield element("p", said, class_="alert", role="alert")


def cards(summary: pd.DataFrame, plan: Plan) -> Markup:
    """Make a card for each arm in the plan's order, the reference and its twin last."""
    table = rows(summary)
    last = (plan.reference, plan.twin)
    names = [arm.name for arm in plan.arms if arm.name not in last] + list(last)
    scale = bars.scale([row for row in table.values() if row.phase == "total"])
    made = []
    for name in names:
        parts = [element("h3", name), element("p", plan.arm(name).describe(), class_="what")]
        parts += [_cost(table[name, each, "total"], scale) for each in plan.connections]
        if name == plan.twin:
            parts.append(element("p", f"Built exactly like {plan.reference}: its difference is noise.", class_="what"))
        made.append(element("article", *parts, class_="card"))
    return join((bars.legend(), element("div", *made, class_="cards")))


def _cost(row: Row, scale: bars.Scale) -> Markup:
    verdict = Verdict(row.verdict)
    top = element("p", element("span", TITLE[row.connection], class_="connection"), chip(verdict), class_="top")
    unit = element("small", " \N{MICRO SIGN}s")
    if verdict == Verdict.NOT_APPLICABLE:
        return element("div", top, class_="cost")
    if verdict == Verdict.REFERENCE:
        value = element("p", element("b", microseconds(row.p50_us), unit), " median", class_="value")
        return element("div", top, value, class_="cost")
    interval = "no interval" if np.isnan(row.low_us) else f"[{microseconds(row.low_us)}, {microseconds(row.high_us)}]"
    value = element("p", element("b", microseconds(row.overhead_us, sign=True), unit), f" {interval}", class_="value")
    parts = [top, value, bars.bar(row, scale), bars.axis(scale)]
    if verdict == Verdict.INCONCLUSIVE and not np.isnan(row.smallest_visible_us):
        seen = f"this run could have seen {microseconds(row.smallest_visible_us)} \N{MICRO SIGN}s"
        parts.append(element("p", seen, class_="what"))
    return element("div", *parts, class_="cost")
