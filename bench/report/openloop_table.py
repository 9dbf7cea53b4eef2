"""The open loops of a run as a table on the terminal, with figures published elsewhere below it."""

import numpy as np
import pandas as pd
from rich.table import Table

from sidelab.bench.judge import published
from sidelab.bench.judge.openloop_added import added_us
from sidelab.bench.plan.plan import Plan
from sidelab.bench.report.terminal_tables import titled

_KIB_PER_MB = 1e6 / 1024


def table(rates: pd.DataFrame, plan: Plan) -> Table:
    """Lay out a row per rate and arm: means over lab builds, and how much p90 and p99 exceed the reference's.

    At the rate of Istio's published figures those follow, labelled as another machine's.
    """
    found = titled("open loop, latency in µs from the intended start; CPU and memory of the proxies")
    found.add_column("rate/s\n  arm", no_wrap=True)
    for heading in ("p50", "p90\nadded\n±95 %", "p99\nadded\n±95 %", "p99.9", "CPU s\n/1000", "MB"):
        found.add_column(heading, justify="right", no_wrap=True)
    for rate in sorted(rates["rate_per_s"].unique()):
        asked = rates[rates["rate_per_s"] == rate]
        for arm in (each.name for each in plan.arms if (asked["arm"] == each.name).any()):
            found.add_row(f"{rate:,}\n  {arm}", *_cells(asked, arm, plan.reference))
        if rate == published.RATE_PER_S:
            label = published.LABEL.replace(", ", ",\n")
            for each in published.ISTIO:
                found.add_row(f"{label}:\n  {each.what}", *_published(each), style="dim")
    return found


def _cells(asked: pd.DataFrame, arm: str, reference: str) -> list[str]:
    own = asked[asked["arm"] == arm]
    return [
        _us(own["p50_us"].mean()),
        f"{_us(own['p90_us'].mean())}\n{_added(asked, arm, reference, 'p90_us')}",
        f"{_us(own['p99_us'].mean())}\n{_added(asked, arm, reference, 'p99_us')}",
        _us(own["p999_us"].mean()),
        _known(own["cpu_s_per_1000"], "{:.3f}"),
        _known(own["memory_kib"] / _KIB_PER_MB, "{:.0f}"),
    ]


def _published(each: published.Published) -> list[str]:
    latencies = [f"\n{us:+,.0f}" if us else "" for us in (each.added_p90_us, each.added_p99_us)]
    cpu = f"{each.cpu_s_per_1000:.2f}" if each.cpu_s_per_1000 else ""
    return ["", *latencies, "", cpu, f"{each.memory_mb:.0f}" if each.memory_mb else ""]


def _added(asked: pd.DataFrame, arm: str, reference: str, column: str) -> str:
    if arm == reference:
        return ""
    found = added_us(asked, arm, reference, column)
    if np.isnan(found.low):
        return "" if np.isnan(found.mean) else f"{found.mean:+,.0f}"
    return f"{found.mean:+,.0f}\n±{found.half_width:,.0f}"


def _us(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:,.0f}"


def _known(values: "pd.Series[float]", form: str) -> str:
    known = values[values >= 0]
    return form.format(known.mean()) if len(known) else "none"
