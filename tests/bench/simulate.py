"""Samples with known truth: arms of any speed, autocorrelated noise, tails, and rebuilds that differ."""

import numpy as np
import pandas as pd

from sidelab.bench.base.samples import COLUMNS, WARMUP_ROUND, RequestSample
from sidelab.bench.plan.plan import Plan
from sidelab.bench.plan.request_order import rounds

# Median µs of connect, starttransfer, total on a new connection; and of total on a kept-alive one.
TRUTH_US = {
    "direct": (36.0, 44.0, 90.0, 28.0),
    "direct-twin": (36.0, 44.0, 90.0, 28.0),
    "rules-only": (36.9, 44.9, 91.0, 28.8),
    "tcp": (42.0, 172.0, 242.0, 105.0),
    "http": (40.0, 128.0, 176.0, 118.0),
    "both": (43.0, 204.0, 253.0, 165.0),
}


def noise(rng: np.random.Generator, shape: tuple[int, ...], *, rho: float, scale_us: float) -> np.ndarray:
    """Draw AR(1) noise along the last axis: marginal deviation `scale_us`, correlation `rho` of neighbours."""
    steps = rng.normal(0.0, scale_us * np.sqrt(1 - rho**2), shape)
    steps[..., 0] = rng.normal(0.0, scale_us, shape[:-1])
    for k in range(1, shape[-1]):
        steps[..., k] += rho * steps[..., k - 1]
    return steps


def samples(plan: Plan, seed: int, *, extra_us: dict[str, float] | None = None) -> list[list[RequestSample]]:
    """Simulate a whole run of `plan`, one list per round, in the order of its schedule."""
    rng = np.random.default_rng(seed)
    extra = extra_us or {}
    recorded = []
    for rebuild in range(1, plan.rebuilds + 1):
        shift = {arm.name: rng.normal(0.0, (0.15, 0.3, 0.5, 0.4)) for arm in plan.arms}
        for round_, slots in rounds(plan, seed, rebuild):
            drift = noise(rng, (1, len(slots)), rho=0.95, scale_us=1.5)[0]
            rows = []
            for position, slot in enumerate(slots):
                truth = np.array(TRUTH_US[slot.arm]) + shift[slot.arm] + extra.get(slot.arm, 0.0)
                slow = 1.6 if round_ == WARMUP_ROUND else 1.0
                jitter = slow * rng.lognormal(0.0, 0.07) + (rng.exponential(1.5) if rng.random() < 0.02 else 0.0)
                connect, first, total, kept = (float(t) for t in truth * jitter + drift[position])
                if slot.connection == "new":
                    times = (
                        None,
                        connect,
                        None,
                        connect + 0.8,
                        max(first, connect + 3.0),
                        total + rng.exponential(1.0),
                    )
                else:
                    times = (None, None, None, 0.4, kept - 2.0, kept)
                rows.append(RequestSample(rebuild, round_, position, slot.arm, slot.connection, *times, 200, 612))
            recorded.append(rows)
    return recorded


def frame(recorded: list[list[RequestSample]]) -> pd.DataFrame:
    """Make the frame that the reader would return for these rounds."""
    table = pd.DataFrame([row for rows in recorded for row in rows], columns=list(COLUMNS))
    table = table.astype({name: "float64" for name in COLUMNS if name.endswith("_us")})
    return table.astype({"arm": "category", "connection": "category"})
