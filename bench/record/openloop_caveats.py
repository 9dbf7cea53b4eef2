"""Caveats about open loops: a late generator, a rate that was not reached, errors; pure."""

import pandas as pd

from sidelab.bench.base.caveats import Caveat

_LATE_US = 200.0
_LATE_RATIO = 0.5
KEPT_UP = 0.98
"""A rate counts as reached when at least this share of it was answered; below it the numbers describe a queue."""


def caveats(rates: pd.DataFrame) -> list[Caveat]:
    """List what casts doubt on the rows of `rates.csv`, each kind once; empty if nothing does.

    The generator was late if the 99th percentile of its lag is more than 200 µs and more than half of that of the
    latency, of which it is a part.
    """
    found = []
    lag = rates["lag_p99_us"].astype(float)
    late = (lag > _LATE_US) & (lag > _LATE_RATIO * rates["p99_us"].astype(float))
    if late.any():
        found.append(
            Caveat(
                f"in {int(late.sum())} of {len(rates)} open loops the load generator itself was late (p99 of its lag "
                f"up to {lag[late].max():,.0f} µs), which counts as latency",
                "ask for a lower rate, or give the client a CPU of its own",
            )
        )
    slow = rates["achieved_per_s"].astype(float) < KEPT_UP * rates["rate_per_s"].astype(float)
    if slow.any():
        found.append(
            Caveat(
                f"the rate asked for was not reached in {int(slow.sum())} of {len(rates)} open loops "
                f"({', '.join(sorted(rates.loc[slow, 'arm'].unique()))}): their latencies are those of a growing queue",
                "ask for a lower rate",
            )
        )
    errors = int(rates["errors"].sum())
    if errors:
        arms = ", ".join(sorted(rates.loc[rates["errors"] > 0, "arm"].unique()))
        found.append(Caveat(f"{errors:,} requests of open loops failed ({arms})", "look at the logs of the arm's pods"))
    return found
