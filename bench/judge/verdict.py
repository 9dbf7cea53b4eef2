"""The verdict on a difference: `equivalent`, `changed`, or neither; and a gate's outcome for it; pure.

There are three, none of which is a p-value: the interval lies inside the margin, so the arm is as good as the
reference; the interval excludes 0 and the difference is larger than both the noise floor and the margin, so it changed;
or this run cannot tell, and gives the smallest difference that it could have seen.
"""

import math
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sidelab.bench.judge.statistics import Estimate, Floats

ALPHA: Final = 0.05

GATED: Final = (
    ("new", "connect"),
    ("new", "starttransfer"),
    ("new", "total"),
    ("keep-alive", "total"),
)
"""The (connection, phase) rows that may raise an alarm, declared before any measurement.

There is one per part of a request that interception can slow: the handshake (where rules cost), the first byte (where a
proxy costs), the whole, and the whole without a handshake. Every further row would make all of these less sensitive.
"""


class ArmVerdict(StrEnum):
    """One row's judgement; `REFERENCE` and `NOT_APPLICABLE` rows have nothing to judge."""

    EQUIVALENT = "equivalent"
    CHANGED = "changed"
    INCONCLUSIVE = "inconclusive"
    REFERENCE = "reference"
    NOT_APPLICABLE = "not applicable"


def margin_us(reference_p50_us: float, least_us: float, ratio: float) -> float:
    """Return the largest negligible difference: the larger of `least_us` and `ratio` of the reference's median.

    If the reference's median is unknown (NaN), it is `least_us`.
    """
    return least_us if math.isnan(reference_p50_us) else max(least_us, ratio * reference_p50_us)


def judge(difference_us: float, low_us: float, high_us: float, floor_us: float, margin_us: float) -> ArmVerdict:
    """Judge an arm's row by its interval, the noise floor and the margin; NaN (unknown) makes it inconclusive."""
    if -margin_us < low_us and high_us < margin_us:
        return ArmVerdict.EQUIVALENT
    excludes_zero = low_us > 0 or high_us < 0
    # Written so that a NaN floor compares false: without a known floor no change is claimed.
    if excludes_zero and abs(difference_us) > floor_us and abs(difference_us) > margin_us:
        return ArmVerdict.CHANGED
    return ArmVerdict.INCONCLUSIVE


def judge_twin(low_us: float, high_us: float, margin_us: float, holm_p_value: float) -> ArmVerdict:
    """Judge the A/A twin by its interval alone: the floor is computed from the twin, so it could never exceed that.

    `holm_p_value` is the row's p-value, adjusted over the gated rows, and below `ALPHA` exactly when the interval at
    the adjusted level excludes 0: that is the alarm, however small the difference. Rows that are not gated have NaN and
    never alarm.
    """
    if holm_p_value < ALPHA:
        return ArmVerdict.CHANGED
    return ArmVerdict.EQUIVALENT if -margin_us < low_us and high_us < margin_us else ArmVerdict.INCONCLUSIVE


class GateOutcome(StrEnum):
    """A gate's outcome for a row or a run: it got slower, it did not, or this run cannot tell."""

    PASS = "pass"  # noqa: S105 - no password
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"


def outcomes(excess: Estimate, holm_p_value: Floats, floor_us: Floats, margin_us: Floats) -> npt.NDArray[Any]:
    """Judge rows by how much they exceed their limits; return `GateOutcome` values in an array of the same shape.

    A regression takes two things: the interval at Holm's level lies above 0, and the excess is larger than noise floor
    and margin. A pass is an interval that ends at or below the margin; a family of rows passes only as a whole, so that
    needs no correction. NaN (unknown) is inconclusive.
    """
    proven = (holm_p_value < ALPHA) & (excess.mean > np.maximum(floor_us, margin_us)) & (excess.mean > 0)
    passed = excess.high <= margin_us
    return np.select([proven, passed], [GateOutcome.REGRESSION, GateOutcome.PASS], GateOutcome.INCONCLUSIVE).astype(
        object
    )
