"""Whether an instrument finds what is known to be there: injected delays, and a twin without any; pure.

Each check fails by chance in one of a hundred runs of a perfect instrument (`ALPHA`, Holm-corrected over its rows),
while the 95 % intervals that are shown miss the truth in one of twenty.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from sidelab.bench.judge import statistics
from sidelab.bench.judge.statistics import Floats
from sidelab.bench.judge.verdict import GATED

ALPHA: Final = 0.01
PHASE: Final = "total"
"""The phase that a delay before the answer lengthens by exactly that delay."""

LEAST_SEEN_US: Final = 20.0
"""A delay of this size has to be seen; a smaller one may be too small for a noisy machine."""

CLOSE_RATIO: Final = 0.15
"""How far another client's median of the same requests may lie from ours: sending one costs each client differently."""


class RecoveredDelay(NamedTuple):
    """An injected delay and what a client measured of it, in µs, with the 95 % interval over rebuilds.

    `p_value` is for "the measured delay is the injected one" (as far as `row` requires that), `found_p_value` for
    "there is no delay".
    """

    client: str
    connection: str
    injected_us: float
    recovered_us: float
    low_us: float
    high_us: float
    p_value: float
    found_p_value: float

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low_us <= self.injected_us <= self.high_us


class CalibrationOutcome(StrEnum):
    """The result of a check; `SKIPPED` if something it needs is not installed."""

    OK = "ok"
    FAILED = "FAILED"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


class CalibrationCheck(NamedTuple):
    """A question, its answer, and the numbers behind it."""

    name: str
    outcome: CalibrationOutcome
    detail: str


def rows(
    client: str, medians: pd.DataFrame, delays_us: Mapping[str, float], *, asleep: bool = False
) -> list[RecoveredDelay]:
    """Compare the rebuild medians of each delayed arm (`statistics.rebuild_medians`) with its delay.

    `asleep` means that client and CPU sleep meanwhile: what sleeps longer takes longer to wake (`bench.measure.awake`),
    so finding more than the delay is no contradiction, but finding less is.
    """
    found = []
    for arm, injected_us in delays_us.items():
        for connection in sorted({key[1] for key in medians.index}, reverse=True):
            values = medians.xs((arm, connection, PHASE)).to_numpy(dtype=float)
            found.append(row(client, connection, injected_us, values, asleep=asleep))
    return found


def row(
    client: str,
    connection: str,
    injected_us: float,
    differences_us: Floats,
    *,
    asleep: bool = False,
    resolution_us: float = 0.0,
) -> RecoveredDelay:
    """Make a row from the differences to an arm without a delay, one per rebuild.

    `asleep` as for `rows`. A client that counts in steps of `resolution_us` may be off by that much, so five equal
    differences prove nothing.
    """
    estimate = statistics.estimate(differences_us)
    most_us = math.inf if asleep else injected_us + resolution_us
    truth_us = min(max(float(estimate.mean), injected_us - resolution_us), most_us)
    truth = statistics.estimate(differences_us - truth_us)
    numbers = (estimate.mean, estimate.low, estimate.high, truth.p_value, estimate.p_value)
    mean, low, high, p_value, found_p_value = map(float, numbers)
    return RecoveredDelay(client, connection, injected_us, mean, low, high, p_value, found_p_value)


def recovery(found: Sequence[RecoveredDelay]) -> CalibrationCheck:
    """Check that no row's interval, at Holm's level, contradicts its delay."""
    p_values = statistics.holm(np.array([each.p_value for each in found]))
    covered = sum(each.covered for each in found)
    most = max(abs(each.recovered_us - each.injected_us) for each in found)
    said = f"{covered} of {len(found)} 95 % intervals hold it; off by at most {most:.2f} µs; p = {p_values.min():.3f}"
    return CalibrationCheck(f"{found[0].client}: recovers the delay", _outcome(float(p_values.min())), said)


def detection(found: Sequence[RecoveredDelay]) -> CalibrationCheck:
    """Check that the delays that must be seen are seen; if not, the machine was too noisy to tell.

    An instrument that is blind on a quiet machine has intervals that miss the delay: `recovery` fails then.
    """
    large = [each for each in found if each.injected_us >= LEAST_SEEN_US]
    p_values = statistics.holm(np.array([each.found_p_value for each in large]))
    missed = [each for each, p_value in zip(large, p_values, strict=True) if p_value >= 1 - statistics.CONFIDENCE]
    widest = max((each.high_us - each.low_us) / 2 for each in large)
    said = f"{len(large) - len(missed)} of {len(large)} seen; the widest interval is ± {widest:.1f} µs"
    outcome = CalibrationOutcome.INCONCLUSIVE if missed else CalibrationOutcome.OK
    return CalibrationCheck(f"{found[0].client}: sees {LEAST_SEEN_US:g} µs and more", outcome, said)


def quiet(client: str, medians: pd.DataFrame, twin: str) -> CalibrationCheck:
    """Check that the twin does not differ, in the rows that may raise an alarm."""
    keys = [(twin, *kind) for kind in GATED if (twin, *kind) in medians.index]
    estimate = statistics.estimate(medians.loc[keys].to_numpy(dtype=float))
    p_value = float(np.nanmin(statistics.holm(estimate.p_value)))
    total = float(estimate.mean[-1])
    said = f"{keys[-1][1]} {keys[-1][2]} {total:+.2f} µs; Holm-corrected p = {p_value:.3f}"
    return CalibrationCheck(f"{client}: the twin is quiet", _outcome(p_value), said)


def _outcome(p_value: float) -> CalibrationOutcome:
    return CalibrationOutcome.FAILED if p_value < ALPHA else CalibrationOutcome.OK


def close(name: str, own_us: float, other_us: float) -> CalibrationCheck:
    """Check that two clients' medians of the same requests are alike."""
    ratio = own_us / other_us if other_us > 0 else math.nan
    said = f"own {own_us:.1f} µs, {name} {other_us:.1f} µs: ratio {ratio:.2f}"
    outcome = CalibrationOutcome.OK if abs(ratio - 1) <= CLOSE_RATIO else CalibrationOutcome.FAILED
    return CalibrationCheck(f"own client and {name}: the same median", outcome, said)


def status(checks: Sequence[CalibrationCheck]) -> int:
    """Return the exit status: 1 if a check failed, else 4 if one is inconclusive, else 0."""
    outcomes = {check.outcome for check in checks}
    return 1 if CalibrationOutcome.FAILED in outcomes else 4 if CalibrationOutcome.INCONCLUSIVE in outcomes else 0
