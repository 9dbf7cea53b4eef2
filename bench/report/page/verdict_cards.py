"""The verdicts on the page: a card per arm, and the sign of a verdict. `bench.judge.answer` has the answer in words."""

from typing import Final

import numpy as np

from sidelab.bench.judge.summary import Summary, SummaryRow, microseconds
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.page import bars
from sidelab.bench.report.page.html import Markup, element, join

TITLE: Final = {"new": "new connection", "keep-alive": "kept-alive"}

_SHAPES: Final = {
    ArmVerdict.CHANGED: '<path d="M8 1 15 8 8 15 1 8Z" fill="currentColor"/>',
    ArmVerdict.EQUIVALENT: '<circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="3"/>',
    ArmVerdict.INCONCLUSIVE: '<path d="M3 3h10v10H3Z" fill="none" stroke="currentColor" stroke-width="3"/>',
    ArmVerdict.REFERENCE: '<path d="M2 8h12" stroke="currentColor" stroke-width="3"/>',
    ArmVerdict.NOT_APPLICABLE: '<path d="M2 8h12" stroke="currentColor" stroke-width="1"/>',
}
"""A shape for each verdict, the same as in the figures; the word is beside it."""


def chip(verdict: ArmVerdict) -> Markup:
    """Show a verdict by word, colour and shape."""
    shape = Markup(f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SHAPES[verdict]}</svg>')
    return element("span", shape, str(verdict), class_=f"chip {str(verdict).replace(' ', '-')}")


def cards(table: Summary, plan: Plan) -> Markup:
    """Make a card for each arm in the plan's order, the reference and its twin last."""
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


def _cost(row: SummaryRow, scale: bars.Scale) -> Markup:
    verdict = ArmVerdict(row.verdict)
    top = element("p", element("span", TITLE[row.connection], class_="connection"), chip(verdict), class_="top")
    unit = element("small", " \N{MICRO SIGN}s")
    if verdict == ArmVerdict.NOT_APPLICABLE:
        return element("div", top, class_="cost")
    if verdict == ArmVerdict.REFERENCE:
        value = element("p", element("b", microseconds(row.p50_us), unit), " median", class_="value")
        return element("div", top, value, class_="cost")
    interval = "no interval" if np.isnan(row.low_us) else f"[{microseconds(row.low_us)}, {microseconds(row.high_us)}]"
    value = element("p", element("b", microseconds(row.overhead_us, sign=True), unit), f" {interval}", class_="value")
    parts = [top, value, bars.bar(row, scale), bars.axis(scale)]
    if verdict == ArmVerdict.INCONCLUSIVE and not np.isnan(row.smallest_visible_us):
        seen = f"this run could have seen {microseconds(row.smallest_visible_us)} \N{MICRO SIGN}s"
        parts.append(element("p", seen, class_="what"))
    return element("div", *parts, class_="cost")
