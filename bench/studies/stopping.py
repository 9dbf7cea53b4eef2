"""Whether the interval's coverage is as claimed when a run stops as soon as its intervals are narrow.

    python -m sidelab.bench.studies.stopping

Simulates runs whose rebuild medians are normal, with spreads that need from few to many rebuilds, under the stop rule
and under two that are less careful. Exit 1 if the rule's own coverage falls below 93 %.
"""

import numpy as np

from sidelab.bench.judge.statistics import CONFIDENCE, estimate
from sidelab.bench.measure.enough import MORE_REBUILDS
from sidelab.bench.plan.plan import Stop

_RUNS = 20_000
_MOST = 60
_SPREADS = (1.0, 1.4, 1.8, 2.2, 2.6, 3.0)
_LEAST_COVERAGE = 0.93


def coverage(spread: float, least: int, more: int, rng: np.random.Generator) -> tuple[float, float]:
    """Return the share of intervals that contain the truth, and the mean number of rebuilds.

    A run stops `more` rebuilds after the first check, from `least` rebuilds on, that finds a half-width of 1 or less.
    """
    medians = rng.normal(0.0, spread, (_RUNS, _MOST))
    last = np.full(_RUNS, _MOST)
    for count in range(_MOST - more, least - 1, -1):
        narrow = estimate(medians[:, :count]).half_width <= 1.0
        last[narrow] = count + more
    found = estimate(np.where(np.arange(_MOST) < last[:, np.newaxis], medians, np.nan))
    return float(((found.low <= 0) & (found.high >= 0)).mean()), float(last.mean())


def main() -> None:
    """Print a table of coverage by rule and spread; judge the rule in use."""
    rng = np.random.default_rng(1)
    least = Stop().least_rebuilds
    rules = {
        f"from {least} rebuilds on, and {MORE_REBUILDS} more": (least, MORE_REBUILDS),
        f"from {least} rebuilds on": (least, 0),
        "from 3 rebuilds on": (3, 0),
    }
    worst = {}
    for name, rule in rules.items():
        found = [coverage(spread, *rule, rng) for spread in _SPREADS]
        worst[name] = min(share for share, _ in found)
        print(f"{name:<32} " + "  ".join(f"{share:.1%} ({rebuilds:4.1f})" for share, rebuilds in found))
    print(f"coverage of the {CONFIDENCE:.0%} interval (mean number of rebuilds), by spread of the rebuild medians")
    raise SystemExit(int(worst[next(iter(rules))] < _LEAST_COVERAGE))


if __name__ == "__main__":
    main()
