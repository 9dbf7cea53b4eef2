import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.bench.judge.verdict import GATED, ArmVerdict, judge, judge_twin, margin_us

NAN = math.nan


@pytest.mark.parametrize(
    ("difference", "low", "high", "floor", "margin", "expected"),
    [
        (0.5, -0.5, 1.5, 0.3, 2.0, "equivalent"),
        (1.2, 1.0, 1.4, 0.3, 2.0, "equivalent"),
        (8.0, 7.0, 9.0, 0.3, 2.0, "changed"),
        (-8.0, -9.0, -7.0, 0.3, 2.0, "changed"),
        (8.0, 7.0, 9.0, 9.5, 2.0, "inconclusive"),
        (1.9, 1.5, 2.3, 0.3, 2.0, "inconclusive"),
        (3.0, -1.0, 7.0, 0.3, 2.0, "inconclusive"),
        (8.0, 7.0, 9.0, NAN, 2.0, "inconclusive"),
        (8.0, NAN, NAN, 0.3, 2.0, "inconclusive"),
        (NAN, NAN, NAN, NAN, NAN, "inconclusive"),
    ],
)
def test_judge(difference: float, low: float, high: float, floor: float, margin: float, expected: str):
    """Inside the margin is equivalent; beyond 0, floor and margin is changed; all else, the unknown too, is neither."""
    assert expected == judge(difference, low, high, floor, margin)


@pytest.mark.parametrize(
    ("low", "high", "p_value", "expected"),
    [
        (0.1, 0.3, 0.01, "changed"),
        (0.1, 0.3, 0.06, "equivalent"),
        (0.1, 0.3, NAN, "equivalent"),
        (-1.0, 5.0, 0.5, "inconclusive"),
        (NAN, NAN, NAN, "inconclusive"),
    ],
)
def test_judge_twin(low: float, high: float, p_value: float, expected: str):
    """The twin alarms by its interval at Holm's level alone, however small the difference; rows not gated never do."""
    assert expected == judge_twin(low, high, 2.0, p_value)


@settings(deadline=None, max_examples=200)
@given(st.floats(-50, 50), st.floats(0, 20), st.floats(0, 10), st.floats(0, 10))
def test_a_change_is_always_visible(difference: float, half_width: float, floor: float, margin: float):
    """Nothing below the smallest visible effect is ever called changed, and the mirror image has the same verdict."""
    verdict = judge(difference, difference - half_width, difference + half_width, floor, margin)
    if verdict == ArmVerdict.CHANGED:
        assert abs(difference) >= max(half_width, floor, margin)
    assert verdict == judge(-difference, -difference - half_width, -difference + half_width, floor, margin)


def test_margin_is_the_larger_of_both():
    """The margin is 2 µs for a fast reference and 2 % for a slow one; without a reference's median it is the 2 µs."""
    assert [2.0, 10.0, 2.0] == [margin_us(p50, 2.0, 0.02) for p50 in (90.0, 500.0, NAN)]


def test_gated_rows_are_few_and_named():
    """The rows that may alarm are declared: connect, first byte and total of a new connection, total of a kept one."""
    assert 4 == len(GATED) == len(set(GATED))
