"""Histograms as Envoy and Prometheus have them: how many values were at most each of a row of bounds.

Pure. Who counts keeps a plain list of counts, one for each bound and one for what is above the last, and adds to
`counts[bisect_left(bounds, value)]`: a class around it would cost more than the counting.
"""

from collections.abc import Sequence
from itertools import accumulate

DURATIONS_MS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000),
    *(1_800_000, 3_600_000),
)
"""Envoy's default bounds, read off its `/stats/prometheus`; Istio leaves them as they are."""

SIZES_BYTES = tuple(10**power for power in range(10))
"""Powers of ten up to 1 GB."""


def new_counts(bounds: Sequence[float]) -> list[int]:
    """Return a count of 0 for each of `bounds` and for what is above."""
    return [0] * (len(bounds) + 1)


def cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Return how many values were at most each bound: the bound as Prometheus' `le` writes it, and the number."""
    names = [*(f"{bound:.10g}" for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
