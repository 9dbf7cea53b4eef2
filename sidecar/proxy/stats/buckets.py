"""Histograms like Envoy's and Prometheus': how many values were at most each of a series of bounds.

Pure. Callers keep a plain list of counts, one per bound and one for values above the last, and add to
`counts[bisect_left(bounds, value)]`: a class around it would cost more than the counting.
"""

from collections.abc import Sequence
from itertools import accumulate

DURATIONS_MS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000),
    *(1_800_000, 3_600_000),
)
"""Envoy's default bounds, taken from its `/stats/prometheus`; Istio does not change them."""

SIZES_BYTES = tuple(10**power for power in range(10))
"""Powers of ten up to 1 GB."""


def new_counts(bounds: Sequence[float]) -> list[int]:
    """Return a count of 0 for each of `bounds` and for values above the last."""
    return [0] * (len(bounds) + 1)


def cumulative(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, int]]:
    """Return each bound, as Prometheus writes it in `le`, with the number of values that were at most that."""
    names = [*(f"{bound:.10g}" for bound in bounds), "+Inf"]
    return list(zip(names, accumulate(counts), strict=True))
