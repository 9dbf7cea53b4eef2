"""How much higher a percentile of an open loop is in one arm than in another; pure."""

import pandas as pd

from sidelab.bench.judge import statistics


def added_us(rates: pd.DataFrame, arm: str, reference: str, column: str) -> statistics.Estimate:
    """Estimate how much a percentile of `arm` exceeds the reference's at one rate, rebuild by rebuild."""
    by_arm = rates.pivot_table(index="rebuild", columns="arm", values=column, dropna=False)
    return statistics.estimate((by_arm[arm] - by_arm[reference]).to_numpy(dtype=float))
