"""The open loop's histogram."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.bench.openloop.histogram import Histogram, bucket, middle

VALUES = st.lists(st.integers(0, 10**13), min_size=1, max_size=300)


@settings(deadline=None, max_examples=200)
@given(VALUES, st.sampled_from([0.01, 0.5, 0.9, 0.99, 0.999]))
def test_quantiles_are_the_exact_ones_to_three_digits(values: list[int], q: float) -> None:
    """A quantile lies within 0.05 % of the least value that has a share q at or below it."""
    exact = sorted(values)[max(1, math.ceil(q * len(values) - 1e-9)) - 1]
    assert abs(Histogram.of(values).quantile(q) - exact) <= exact / 2048


@settings(deadline=None, max_examples=100)
@given(VALUES, VALUES)
def test_merged_halves_are_the_whole(some: list[int], others: list[int]) -> None:
    """Two histograms added are that of all values, also after a trip as pairs."""
    whole = Histogram.of(some + others)
    assert whole == Histogram.of(some) + Histogram.from_pairs(Histogram.of(others).pairs())
    assert len(some) + len(others) == len(whole)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 10**15))
def test_buckets_ascend_and_hold_their_middle(value: int) -> None:
    """A larger value never has a smaller bucket, and a bucket's middle belongs to it."""
    assert bucket(value) <= bucket(value + 1) <= bucket(value) + 1
    assert bucket(value) == bucket(math.floor(middle(bucket(value))))


def test_percentile_without_a_tail_is_refused() -> None:
    """Below n = 10 / (1 - q) a percentile is NaN."""
    assert math.isnan(Histogram.of(range(999)).percentile(0.99))
    assert Histogram.of(range(1000)).percentile(0.99) == 989.0
