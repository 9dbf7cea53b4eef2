"""Check that intervals, alarms and gates do what they promise, on simulated runs with known truth, judged as real ones.

    python bench/studies/coverage.py [RUNS]

A simulated request is slow if its neighbours are (AR(1) noise), one in twenty is very slow, two arms take turns in
random order, and each rebuild shifts the difference. Prints how often 95 % intervals contain the truth, how often
differences are found, how often a run of identical arms alarms, and the gate's outcomes for equal and slower builds.
Exits 1 if a rate is off: coverage outside 93 to 97 %, or more alarms or false regressions than 5 % explains (binomial,
one-sided, alpha = 0.01), or less than 99 % power at +30 µs.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter
from scipy.stats import binomtest

from sidelab.bench.judge import statistics
from sidelab.bench.judge.statistics import Estimate, Floats
from sidelab.bench.judge.verdict import ALPHA, GateOutcome, outcomes

RUNS = 2000
REBUILDS = (5, 10, 20)
REQUESTS = 60
"""Pairs of requests per rebuild: fewer than in any shipped plan, so noise within a rebuild counts for more here."""

CHUNK = 250
_BUILD_US = (0.0, 1.0, 3.0)
_EFFECTS_US = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_TRUTH_US = 5.0
_MARGIN_US = 2.0
_SLOWER_US = 30.0
_ODD_SHARE = 0.1


def noise(rng: np.random.Generator, shape: tuple[int, ...], *, rho: float, scale_us: float) -> Floats:
    """Draw AR(1) noise along the last axis: marginal deviation `scale_us`, correlation `rho` of neighbours."""
    steps = rng.normal(0.0, scale_us * np.sqrt(1 - rho**2), shape)
    steps[..., 0] = rng.normal(0.0, scale_us, shape[:-1])
    drawn: Floats = lfilter([1.0], [1.0, -rho], steps, axis=-1)
    return drawn


def medians(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    *,
    effect_us: float = 0.0,
    build_us: float = 1.0,
    odd_share: float = 0.0,
) -> Floats:
    """Simulate rebuild medians of the paired differences between two arms that differ by `effect_us`.

    The last axis is rebuilds. `build_us` is the standard deviation of a rebuild's shift of the difference; in a share
    of rebuilds, `odd_share`, it is twenty times that (the scheduler put two servers on one core).
    """
    requests = (*shape, 2 * REQUESTS)
    sequence = noise(rng, requests, rho=0.9, scale_us=4.0)
    sequence += np.where(rng.random(requests) < 0.05, rng.exponential(200.0, requests), 0.0)
    # A shuffled block: the arm that each request belongs to, both equally often.
    arm = rng.permuted(np.broadcast_to(np.arange(2 * REQUESTS) % 2, requests), axis=-1).astype(bool)
    pairs = (*shape, REQUESTS)
    middle: Floats = np.median(sequence[arm].reshape(pairs) - sequence[~arm].reshape(pairs), axis=-1)
    spread_us = np.where(rng.random(shape) < odd_share, 20 * build_us, build_us)
    return middle + effect_us + spread_us * rng.normal(0.0, 1.0, shape)


def chunks(runs: int) -> Iterator[int]:
    """Split a number of runs into pieces that fit into memory."""
    yield from [CHUNK] * (runs // CHUNK)
    if runs % CHUNK:
        yield runs % CHUNK


def coverage(rng: np.random.Generator, runs: int, rebuilds: int, build_us: float, odd_share: float = 0.0) -> float:
    """Return the share of runs whose 95 % interval contains the true difference."""
    hits = 0
    for size in chunks(runs):
        simulated = medians(rng, (size, rebuilds), effect_us=_TRUTH_US, build_us=build_us, odd_share=odd_share)
        found = statistics.estimate(simulated)
        hits += int(((found.low <= _TRUTH_US) & (found.high >= _TRUTH_US)).sum())
    return hits / runs


def welch_coverage(rng: np.random.Generator, runs: int, rebuilds: int, build_us: float) -> float:
    """Return the coverage for the difference of two runs, the second with half the rebuilds and twice the spread."""
    hits = 0
    for size in chunks(runs):
        ours = medians(rng, (size, rebuilds), effect_us=_TRUTH_US, build_us=build_us)
        found = statistics.welch(ours, medians(rng, (size, max(3, rebuilds // 2)), build_us=2 * build_us))
        hits += int(((found.low <= _TRUTH_US) & (found.high >= _TRUTH_US)).sum())
    return hits / runs


def power(rng: np.random.Generator, runs: int, rebuilds: int, effect_us: float) -> float:
    """Return the share of runs whose 95 % interval excludes 0 when the arms differ by `effect_us`."""
    found = 0
    for size in chunks(runs):
        estimate = statistics.estimate(medians(rng, (size, rebuilds), effect_us=effect_us))
        found += int((estimate.p_value < ALPHA).sum())
    return found / runs


def alarms(rng: np.random.Generator, runs: int, rebuilds: int, rows: int = 4) -> int:
    """Count the runs in which identical arms alarm, with `rows` gated rows that share much of their noise."""
    found = 0
    for size in chunks(runs):
        shared = medians(rng, (size, 1, rebuilds), build_us=0.3)
        own = rng.normal(0.0, 1.0, (size, rows, rebuilds)) * np.geomspace(0.1, 3.0, rows)[:, np.newaxis]
        adjusted = statistics.holm(statistics.estimate(shared + own).p_value)
        found += int((adjusted.min(axis=-1) < ALPHA).sum())
    return found


class Rates(NamedTuple):
    """How many runs the gate gave each outcome."""

    regression: int
    inconclusive: int
    passed: int


def _count(excess: Estimate, floor_us: Floats, margin_us: float) -> Rates:
    """Judge runs (the first axis) by their rows, as the gate does: red if any row is, green if all are."""
    margins_us = np.full(floor_us.shape, margin_us)
    said = outcomes(excess, statistics.holm(excess.p_value), floor_us, margins_us)
    red = (said == GateOutcome.REGRESSION).any(axis=-1)
    green = (said == GateOutcome.PASS).all(axis=-1)
    return Rates(int(red.sum()), int((~red & ~green).sum()), int(green.sum()))


def gate(
    rng: np.random.Generator,
    runs: int,
    rebuilds: int,
    *,
    against: str,
    slower_us: float,
    odd_share: float = 0.0,
    rows: int = 4,
) -> Rates:
    """Judge runs whose head is slower by `slower_us` in every row.

    `arm`: head and base are arms of one run. `run`: they are two runs. `budget`: the true cost of the base is exactly
    what the budget allows, the hardest case.
    """
    found = np.zeros(3, dtype=int)
    for size in chunks(runs):
        shape = (size, rows, rebuilds)
        floor_us = statistics.noise_floor(medians(rng, shape, build_us=0.5))
        head = medians(rng, shape, effect_us=slower_us, odd_share=odd_share)
        if against == "run":
            floor_us = np.hypot(floor_us, statistics.noise_floor(medians(rng, shape, build_us=0.5)))
            excess = statistics.welch(head, medians(rng, shape, odd_share=odd_share))
        else:
            excess = statistics.estimate(head)
        found += _count(excess, floor_us, 0.0 if against == "budget" else _MARGIN_US)
    return Rates(*found.tolist())


def too_many(count: int, runs: int) -> bool:
    """Return whether `count` of `runs` is more than the nominal 5 % explains (one-sided, alpha = 0.01)."""
    return bool(binomtest(count, runs, ALPHA, alternative="greater").pvalue < 0.01)


def main() -> None:
    """Simulate, print and judge."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    rng = np.random.default_rng(1)
    wrong = False

    print(f"{runs} simulated runs each\n\nshare of 95 % intervals that hold the truth (93 to 97 %)")
    print("  spread of rebuilds  " + "".join(f"{rebuilds:>4} rebuilds" for rebuilds in REBUILDS))
    for title, measure in (("one run", coverage), ("two runs", welch_coverage)):
        for build_us in _BUILD_US:
            rates = [measure(rng, runs, rebuilds, build_us) for rebuilds in REBUILDS]
            wrong |= not all(0.93 <= rate <= 0.97 for rate in rates)
            print(f"  {title:9} {build_us:4.1f} µs   " + "".join(f"{rate:13.1%}" for rate in rates))

    rates = [coverage(rng, runs, rebuilds, 1.0, _ODD_SHARE) for rebuilds in REBUILDS]
    print("  1 in 10 is odd     " + "".join(f"{rate:13.1%}" for rate in rates) + "  (for information)")

    print("\nshare of runs that find a difference (rebuilds spread by 1 µs)")
    for effect_us in _EFFECTS_US:
        rates = [power(rng, runs, rebuilds, effect_us) for rebuilds in REBUILDS]
        print(f"  {effect_us:15.1f} µs   " + "".join(f"{rate:13.1%}" for rate in rates))

    counts = [alarms(rng, runs, rebuilds) for rebuilds in REBUILDS]
    wrong |= any(too_many(count, runs) for count in counts)
    print("\nshare of runs in which identical arms alarm (four rows, Holm; at most 5 %)")
    print("                       " + "".join(f"{count / runs:13.1%}" for count in counts))

    print("\nthe gate, 10 rebuilds:           regression  inconclusive  pass")
    cases = [(slower_us, 0.0) for slower_us in (0.0, 1.0, 3.0, 5.0, _SLOWER_US)] + [(0.0, _ODD_SHARE)]
    for against in ("arm", "run", "budget"):
        for slower_us, odd_share in cases:
            said = gate(rng, runs, 10, against=against, slower_us=slower_us, odd_share=odd_share)
            wrong |= slower_us == 0.0 and too_many(said.regression, runs)
            wrong |= slower_us == _SLOWER_US and said.regression < 0.99 * runs
            red, open_, green = (count / runs for count in said)
            odd = "  1 rebuild in 10 is odd" if odd_share else ""
            print(f"  against {against:8} {slower_us:+5.0f} µs {red:16.1%} {open_:13.1%} {green:7.1%}{odd}")
    raise SystemExit(int(wrong))


if __name__ == "__main__":
    main()
