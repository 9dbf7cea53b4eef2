"""What interception's cost is made of: each term of a plan as a difference of arms, with its interval; pure.

A term is how much longer one arm takes than another, paired request by request (`bench.judge.statistics`). An
interaction is what an arm adds beyond what its parts add alone: the terms of a real stack do not simply sum, and the
remainder is reported as its own figure, not hidden in the others.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.statistics import Floats, estimate
from sidelab.bench.judge.verdict import GATED
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan

CSV = "decomposition.csv"


class TermEstimate(NamedTuple):
    """A row of `decomposition.csv`; `rebuilds` counts those with a value. The bounds are NaN below two."""

    term: str
    connection: str
    phase: str
    mean_us: float
    low_us: float
    high_us: float
    rebuilds: int


def decompose(plan: Plan, medians_against: Callable[[str], pd.DataFrame]) -> list[TermEstimate]:
    """Return a row for each term of `plan`, connection and phase that exists, in the plan's order.

    `medians_against` returns the run's `statistics.rebuild_medians` against an arm.
    """
    found = []
    for term in plan.terms:
        for connection in plan.connections:
            for phase in PHASES:
                values = _values(term, medians_against(term.against or plan.reference), (connection, phase))
                if np.isnan(values).all():
                    continue
                over = estimate(values)
                center, low, high = (float(each) for each in (over.mean, over.low, over.high))
                found.append(
                    TermEstimate(term.name, connection, phase, center, low, high, int((~np.isnan(values)).sum()))
                )
    return found


def adds_up_to(plan: Plan) -> str:
    """Return the arm whose overhead the plan's terms add up to; '' if they do not lead from the reference to one."""
    shares: Counter[str] = Counter()
    for term in plan.terms:
        shares[term.arm] += 1
        shares[term.against or plan.reference] -= 1
        for part in term.parts:
            shares[part] -= 1
            shares[plan.reference] += 1
    left = {arm: share for arm, share in shares.items() if share and arm != plan.reference}
    return next(iter(left)) if list(left.values()) == [1] and len(plan.terms) > 1 else ""


def laid_out(found: Sequence[TermEstimate]) -> tuple[list[tuple[str, str]], dict[str, list[TermEstimate | None]]]:
    """Return the gated (connection, phase) pairs that any term has, and by term name its estimates for them."""
    known = {(each.term, each.connection, each.phase): each for each in found}
    columns = [kind for kind in GATED if any(key[1:] == kind for key in known)]
    names = dict.fromkeys(each.term for each in found)
    return columns, {name: [known.get((name, *column)) for column in columns] for name in names}


def _values(term: plans.Term, medians: pd.DataFrame, row: tuple[str, str]) -> Floats:
    """Return the term's value in each rebuild."""

    def of(arm: str) -> Floats:
        keys = pd.MultiIndex.from_tuples([(arm, *row)])
        found: Floats = medians.reindex(keys).to_numpy(dtype=float)[0]
        return found

    # Each arm's difference to the reference, so an interaction needs no arm of its own for the sum of the parts.
    return of(term.arm) - np.sum([of(part) for part in term.parts], axis=0) if term.parts else of(term.arm)
