"""`summary.csv`: samples and their plan → a row per arm x connection x phase; pure.

This reads no directory and draws nothing. The caveats here are those that the samples themselves raise.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.base.samples import PHASES, column
from sidelab.bench.judge import statistics
from sidelab.bench.judge.verdict import GATED, ArmVerdict, judge, judge_twin, margin_us
from sidelab.bench.plan.plan import Plan


class SummaryRow(NamedTuple):
    """A row of `summary.csv`: one arm, kind of connection and phase. Times are µs, NaN where there is no value.

    `n` counts the requests in which the phase exists, over all rebuilds; percentiles are over all of them, NaN if n is
    too small for one. `overhead_us` with `low_us` and `high_us` is the estimate against the reference and its 95 %
    interval over `rebuilds` rebuilds, `floor_us` the twin's spread, `gated` whether the row may raise an alarm.
    `p_value` is for "no difference"; in the twin's gated rows it is Holm-adjusted over them.
    """

    arm: str
    connection: str
    phase: str
    n: int
    p50_us: float
    p90_us: float
    p99_us: float
    rebuilds: int
    overhead_us: float
    low_us: float
    high_us: float
    p_value: float
    floor_us: float
    margin_us: float
    smallest_visible_us: float
    gated: bool
    verdict: str


SUMMARY_COLUMNS = SummaryRow._fields

Summary = Mapping[tuple[str, str, str], SummaryRow]
"""The rows by (arm, connection, phase), in the plan's order of arms and connections and curl's order of phases."""

_LEAST_REBUILDS = 10
_DRIFT_RATIO = 1.5


def summarise(samples: pd.DataFrame, medians: pd.DataFrame, plan: Plan) -> Summary:
    """Compute every row; `medians` are `statistics.rebuild_medians` of the samples against the plan's reference."""
    grid = pd.MultiIndex.from_product(
        [[arm.name for arm in plan.arms], list(plan.connections), list(PHASES)], names=["arm", "connection", "phase"]
    )
    table = _percentiles(samples).reindex(grid)
    table["n"] = table["n"].fillna(0).astype(int)

    medians = medians.reindex(grid)
    estimate = statistics.estimate(medians.to_numpy(dtype=float))
    table["rebuilds"] = medians.notna().sum(axis=1)
    table["overhead_us"], table["low_us"], table["high_us"] = estimate.mean, estimate.low, estimate.high
    table["p_value"] = estimate.p_value

    kinds = [(connection, phase) for _, connection, phase in grid]
    twin = medians.loc[plan.twin]
    floor_us = dict(zip(twin.index, statistics.noise_floor(twin.to_numpy(dtype=float)), strict=True))
    p50_us = table["p50_us"].to_dict()
    table["floor_us"] = [floor_us[kind] for kind in kinds]
    table["margin_us"] = [
        margin_us(p50_us[(plan.reference, *kind)], plan.margin_us, plan.margin_ratio) for kind in kinds
    ]
    table["smallest_visible_us"] = statistics.smallest_visible(
        estimate.half_width, table["floor_us"].to_numpy(), table["margin_us"].to_numpy()
    )
    table["gated"] = [kind in GATED for kind in kinds]

    is_twin = grid.get_level_values("arm") == plan.twin
    gate = is_twin & table["gated"].to_numpy()
    table.loc[gate, "p_value"] = statistics.holm(table.loc[gate, "p_value"].to_numpy(dtype=float))
    is_reference = grid.get_level_values("arm") == plan.reference
    nothing = is_reference | (table["n"] == 0).to_numpy()
    table.loc[nothing, ["overhead_us", "low_us", "high_us", "p_value", "smallest_visible_us"]] = np.nan
    table.loc[nothing, "rebuilds"] = 0
    flat = table.assign(verdict="").reset_index()[list(SUMMARY_COLUMNS)]
    rows = [SummaryRow(**{str(name): each for name, each in record.items()}) for record in flat.to_dict("records")]
    return {row[:3]: row._replace(verdict=str(_verdict(row, plan))) for row in rows}


def twin_alarm(summary: Summary, plan: Plan) -> bool:
    """Return whether two identical arms differ in this run: its only alarm, judged by the twin's gated rows."""
    return any(row.arm == plan.twin and row.verdict == ArmVerdict.CHANGED for row in summary.values())


def caveats(samples: pd.DataFrame, summary: Summary, plan: Plan) -> list[Caveat]:
    """List the caveats that the samples raise: failures, few rebuilds, drift within a build, twins that differ."""
    found = []
    if len(statistics.unanswered(samples)):
        found.append(failures(samples))
    rebuilds = int(statistics.measured(samples)["rebuild"].nunique())
    if rebuilds < _LEAST_REBUILDS:
        found.append(
            Caveat(f"only {rebuilds} rebuilds, the unit of replication", f"measure at least {_LEAST_REBUILDS}")
        )
    drift = _drift(samples)
    if drift:
        found.append(Caveat(drift, "fewer new connections per build, more rebuilds; look for TIME_WAIT with ss -s"))
    if twin_alarm(summary, plan):
        found.append(restless(plan))
    return found


def failures(samples: pd.DataFrame) -> Caveat:
    """Return the caveat that counts, by arm, the requests that were not answered 2xx."""
    failed = statistics.unanswered(samples)
    arms = ", ".join(f"{arm}: {count}" for arm, count in failed["arm"].value_counts().sort_index().items() if count)
    return Caveat(
        f"{len(failed)} of {len(samples)} requests were not answered 2xx ({arms})",
        "read that pod's log; measure again",
    )


def restless(plan: Plan) -> Caveat:
    """Return the caveat that the twins differ."""
    return Caveat(
        f"{plan.twin} differs from {plan.reference}, its exact copy (expected in 1 of 20 quiet runs)",
        "pin client and lab, stop what else runs, measure again",
    )


def _percentiles(samples: pd.DataFrame) -> pd.DataFrame:
    """Compute counts and percentiles per arm, connection and phase."""
    counted = []
    for (arm, connection), group in statistics.measured(samples).groupby(["arm", "connection"], observed=True):
        for phase in PHASES:
            values = group[column(phase)].to_numpy(dtype=float)
            quantiles = [statistics.percentile(values, q) for q in (0.5, 0.9, 0.99)]
            counted.append((arm, connection, phase, np.count_nonzero(~np.isnan(values)), *quantiles))
    columns = ["arm", "connection", "phase", "n", "p50_us", "p90_us", "p99_us"]
    return pd.DataFrame(counted, columns=columns).set_index(["arm", "connection", "phase"])


def _verdict(row: SummaryRow, plan: Plan) -> ArmVerdict:
    if row.n == 0:
        return ArmVerdict.NOT_APPLICABLE
    if row.arm == plan.reference:
        return ArmVerdict.REFERENCE
    if row.arm == plan.twin:
        return judge_twin(row.low_us, row.high_us, row.margin_us, row.p_value if row.gated else float("nan"))
    return judge(row.overhead_us, row.low_us, row.high_us, row.floor_us, row.margin_us)


def _drift(samples: pd.DataFrame) -> str:
    """Find the build in which `connect` of a new connection grew most from first third to last; '' if none did."""
    new = samples[samples["connection"] == "new"].sort_values(["rebuild", "round", "position"], kind="stable")
    keys = ["rebuild", "arm"]
    groups = new.groupby(keys, observed=True)["connect_us"]
    share = groups.cumcount() / groups.transform("size")
    first = new[share < 1 / 3].groupby(keys, observed=True)["connect_us"].median()
    last = new[share >= 2 / 3].groupby(keys, observed=True)["connect_us"].median()
    thirds = pd.DataFrame({"first": first, "last": last}).dropna().reset_index()
    growth = thirds["last"] / thirds["first"]
    if growth.empty or growth.max() < _DRIFT_RATIO:
        return ""
    place = int(growth.to_numpy().argmax())
    rebuild, arm, first_us, last_us = (thirds[name].tolist()[place] for name in ("rebuild", "arm", "first", "last"))
    return (
        f"connect drifted within {int((growth >= _DRIFT_RATIO).sum())} of {len(growth)} builds of an arm, "
        f"most in rebuild {rebuild} of {arm}: {microseconds(first_us)} to {microseconds(last_us)} µs"
    )


def microseconds(value: float, *, sign: bool = False) -> str:
    """Format a time without its unit: three significant digits or one decimal, a real minus, `?` if unknown."""
    if np.isnan(value):
        return "?"
    digits = 0 if abs(value) >= 99.95 else 1
    value = round(value, digits) + 0.0  # adding 0 removes the sign of a negative zero
    return (f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}").replace("-", "\N{MINUS SIGN}")
