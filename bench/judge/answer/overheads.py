"""What each arm adds to a request: the answer of a plan without ratios and terms; pure."""

import numpy as np

from sidelab.bench.judge.answer.words import NOUNS, effect, of_arm, sentence, short, through
from sidelab.bench.judge.summary import Summary
from sidelab.bench.plan.plan import Plan

_MOST = 6
"""The most arms in one sentence; the tables have all of them."""


def sentences(plan: Plan, table: Summary) -> list[str]:
    """Return the headline, about the plan's first sidecar, and a bullet for each kind of connection."""
    names = judged(plan)
    if not names:
        return [f"There is nothing to compare: the plan has no arm but {plan.reference} and its twin."]
    first, *others = plan.connections
    chief = _chief(plan, names)
    found = of_arm(table, plan, chief, first)
    said = [f"{sentence(found, first, through(plan.arm(chief)))}."]
    if len(names) > 1:
        said.append(listed(plan, table, [name for name in names if name != chief], first, described=True))
    return said + [listed(plan, table, names, each) for each in others]


def judged(plan: Plan) -> list[str]:
    """Return the names of all arms but the reference and its twin."""
    return [arm.name for arm in plan.arms if arm.name not in (plan.reference, plan.twin)]


def listed(plan: Plan, table: Summary, names: list[str], connection: str, *, described: bool = False) -> str:
    """Return one sentence on what each arm adds to a request; `described` includes what each arm is."""
    clauses = []
    for name in names[:_MOST]:
        said = f"{name} ({plan.arm(name).describe()})" if described else name
        clauses.append(f"{said}: {effect(of_arm(table, plan, name, connection))}")
    if len(names) > _MOST:
        clauses.append(f"and {len(names) - _MOST} more, see the table")
    return f"On {NOUNS[connection]}{_base(plan, table, connection, described=described)} – {'; '.join(clauses)}."


def _base(plan: Plan, table: Summary, connection: str, *, described: bool) -> str:
    """Return the reference's time, in brackets; '' if there are too few requests for a median."""
    base_us = table[plan.reference, connection, "total"].p50_us
    if np.isnan(base_us):
        return ""
    what = f": {plan.arm(plan.reference).describe()}" if described else ""
    return f" ({short(base_us)} µs in {plan.reference}{what})"


def _chief(plan: Plan, names: list[str]) -> str:
    """Choose the arm of the headline: the first with a sidecar at the server, else with any sidecar, else the first."""
    arms = [plan.arm(name) for name in names]
    ranked = ([a for a in arms if a.server == "injected"], [a for a in arms if a.injected], arms)
    return next(each[0].name for each in ranked if each)
