"""A histogram with three significant digits over any range, as HdrHistogram's: log-linear buckets, mergeable; pure.

Below 2048 every integer has its own bucket; above, each doubling of the value has 1024 buckets, so a bucket is never
wider than 1/1024 of its values, and its middle never further than 1/2048 (0.05 %) from any of them.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Self

from sidelab.bench.base.samples import has_tail

_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
_LINEAR = 2 * _HALF


class Histogram:
    """Counts of non-negative integers, by bucket; `+` merges two of them."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        """Take counts by bucket, as `pairs` returns them."""
        self._counts = Counter(counts or {})

    @classmethod
    def of(cls, values: Iterable[int]) -> Self:
        """Count `values`."""
        return cls(Counter(map(bucket, values)))

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[int, int]]) -> Self:
        """Make a histogram of what `pairs` returned, directly or through JSON."""
        return cls(dict(pairs))

    def pairs(self) -> list[tuple[int, int]]:
        """Return (bucket, count) in ascending order, without empty ones."""
        return sorted(self._counts.items())

    def __add__(self, other: Self) -> Self:
        return type(self)(self._counts + other._counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self._counts == other._counts

    __hash__ = None  # type: ignore[assignment]  # as every container that compares by what it holds

    def __len__(self) -> int:
        """Return how many values were counted."""
        return self._counts.total()

    def percentile(self, q: float) -> float:
        """Return the q-quantile (0 < q < 1): the least value with at least a share q at or below it, to 0.05 %.

        NaN if n < 10 / (1 - q), too few for a tail.
        """
        return self.quantile(q) if has_tail(len(self), q) else math.nan

    def quantile(self, q: float) -> float:
        """Return the q-quantile, for any n but 0."""
        rank = max(1, math.ceil(q * len(self) - 1e-9))
        seen = 0
        for number, count in self.pairs():
            seen += count
            if seen >= rank:
                return middle(number)
        raise ValueError("an empty histogram has no quantile")


def bucket(value: int) -> int:
    """Return the number of the bucket that counts `value`."""
    if value < _LINEAR:
        return max(value, 0)
    shift = value.bit_length() - _HALF_BITS - 1
    return shift * _HALF + (value >> shift)


def middle(number: int) -> float:
    """Return the middle of a bucket's values."""
    if number < _LINEAR:
        return float(number)
    shift = number // _HALF - 1
    least = (number - shift * _HALF) << shift
    return least + ((1 << shift) - 1) / 2
