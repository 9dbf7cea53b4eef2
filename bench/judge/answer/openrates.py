"""What sidecars add at a fixed rate of requests, if a plan has rates, as `istio` does; pure."""

import numpy as np
import pandas as pd

from sidelab.bench.judge.openloop_added import added_us
from sidelab.bench.plan.plan import Plan


def sentences(plan: Plan, rates: pd.DataFrame) -> list[str]:
    """Return one sentence about the lowest rate: what each arm adds to the slow requests, and its CPU time."""
    rate = min(rates["rate_per_s"])
    asked = rates[rates["rate_per_s"] == rate]
    arms = [each.name for each in plan.arms if each.name not in (plan.reference, plan.twin)]
    clauses = [_clause(asked, arm, plan.reference) for arm in arms if (asked["arm"] == arm).any()]
    if not clauses:
        return []
    return [f"At {rate:,} requests per second, counted from when each was due: {'; '.join(clauses)}."]


def _clause(asked: pd.DataFrame, arm: str, reference: str) -> str:
    p90, p99 = (_added(asked, arm, reference, column) for column in ("p90_us", "p99_us"))
    cpu = asked.loc[(asked["arm"] == arm) & (asked["cpu_s_per_1000"] >= 0), "cpu_s_per_1000"].astype(float)
    spent = f", {cpu.mean():.2f} s of CPU for 1,000 requests" if len(cpu) else ""
    return f"{arm} adds {p90} to the 90th percentile and {p99} to the 99th{spent}"


def _added(asked: pd.DataFrame, arm: str, reference: str, column: str) -> str:
    found = added_us(asked, arm, reference, column)
    if np.isnan(found.mean):
        return "?"
    width = "" if np.isnan(found.low) else f" ± {found.half_width:,.0f}"
    return f"{found.mean:,.0f}{width} µs"
