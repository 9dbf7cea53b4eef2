"""When an open loop's requests are due."""

from itertools import pairwise

import pytest

from sidelab.bench.openloop.due_times import Kind, starts_ns


def test_uniform_gaps_are_equal_and_keep_the_rate() -> None:
    """1000 per second for 2 s are 2000 requests, a millisecond apart."""
    starts = starts_ns("uniform", 1000, 2, "seed")
    assert 2000 == len(starts)
    assert {1_000_000} == {round((after - before) / 1000) * 1000 for before, after in pairwise(starts)}


def test_exponential_gaps_average_to_the_rate_and_scatter() -> None:
    """Independent arrivals come at the rate on average, and their gaps vary as much as they are long."""
    starts = starts_ns("exponential", 1000, 20, "seed")
    gaps = [after - before for before, after in pairwise(starts)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert (1.0, 1.0) == (round(mean / 1e6, 1), round(spread / mean, 1))


@pytest.mark.parametrize("kind", ["uniform", "exponential"])
def test_a_seed_decides_everything(kind: Kind) -> None:
    """Equal seeds give equal schedules, others other ones; all ascend and end in time."""
    starts = starts_ns(kind, 500, 1, "a")
    assert starts == starts_ns(kind, 500, 1, "a")
    assert starts != starts_ns(kind, 500, 1, "b")
    assert sorted(starts) == starts
    assert starts[-1] < 1_000_000_000
