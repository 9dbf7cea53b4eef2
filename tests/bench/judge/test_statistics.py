from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from sidelab.bench.base.samples import COLUMNS
from sidelab.bench.judge import statistics
from sidelab.bench.studies import coverage

RUNS = 2_000


@pytest.mark.parametrize("rebuilds", coverage.REBUILDS)
@pytest.mark.parametrize("build_us", [0.0, 1.0])
def test_interval_covers_the_truth(rebuilds: int, build_us: float):
    """Over 2000 runs with autocorrelation and tails, 93 to 97 % of the 95 % intervals hold the true difference."""
    rng = np.random.default_rng(rebuilds)
    assert 0.93 <= coverage.coverage(rng, RUNS, rebuilds, build_us) <= 0.97


def test_interval_of_two_runs_covers_the_truth():
    """The same holds for the difference of two runs with unequal spreads and numbers of rebuilds."""
    assert 0.93 <= coverage.welch_coverage(np.random.default_rng(1), RUNS, 10, 1.0) <= 0.97


@pytest.mark.parametrize("rebuilds", coverage.REBUILDS)
def test_twin_alarms_no_more_than_promised(rebuilds: int):
    """Four gated rows, one alarm a run: identical arms alarm in no more runs than 5 % explains at alpha = 0.01."""
    alarms = coverage.alarms(np.random.default_rng(100 + rebuilds), RUNS, rebuilds)
    assert not coverage.too_many(alarms, RUNS)


@pytest.mark.parametrize("against", ["arm", "run", "budget"])
def test_gate_is_seldom_red_without_cause_and_never_blind(against: str):
    """Equal builds are red in no more runs than 5 % explains, a build slower by 30 µs in at least 99 %."""
    rng = np.random.default_rng(7)
    quiet = coverage.gate(rng, 500, 10, against=against, slower_us=0.0)
    slower = coverage.gate(rng, 500, 10, against=against, slower_us=30.0)
    assert not coverage.too_many(quiet.regression, 500)
    assert 500 == sum(quiet)
    assert slower.regression >= 495


def test_power_grows_with_the_effect():
    """A large effect is found nearly always, one of a half-width half the time, none as rarely as promised."""
    rng = np.random.default_rng(4)
    found = [coverage.power(rng, RUNS, 10, effect_us) for effect_us in (0.0, 0.7, 2.1)]
    assert 0.03 <= found[0] <= 0.07
    assert 0.3 <= found[1] <= 0.7
    assert found[2] >= 0.99


def test_estimate_is_the_textbook_t_interval():
    """Mean, interval and p-value are those of Student's one-sample t-test, and a missing rebuild is left out."""
    values = np.array([3.0, 1.0, 4.0, 1.0, 5.0, np.nan])
    expected = stats.ttest_1samp(values[:5], 0.0)
    interval = expected.confidence_interval(0.95)
    got = statistics.estimate(values)
    np.testing.assert_allclose([2.8, interval.low, interval.high, expected.pvalue], np.array(got))
    assert (interval.high - interval.low) / 2 == pytest.approx(float(got.half_width))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([np.nan, np.nan], [np.nan] * 4),
        ([2.0, np.nan], [2.0, np.nan, np.nan, np.nan]),
        ([2.0, 2.0], [2.0, 2.0, 2.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0, 0.0, 1.0]),
    ],
)
def test_estimate_at_its_edges(values: list[float], expected: list[float]):
    """One rebuild has no interval, none has nothing, and equal rebuilds leave no doubt; nothing warns."""
    np.testing.assert_equal(np.array(statistics.estimate(np.array(values))), np.array(expected))


@pytest.mark.parametrize("sizes", [(5, 5), (3, 12), (2, 2)])
def test_welch_is_the_textbook_interval(sizes: tuple[int, int]):
    """Difference, interval and p-value are those of Welch's t-test, and missing rebuilds are left out."""
    rng = np.random.default_rng(sum(sizes))
    ours, theirs = rng.normal(3.0, 1.0, sizes[0]), rng.normal(1.0, 4.0, sizes[1])
    expected = stats.ttest_ind(ours, theirs, equal_var=False)
    interval = expected.confidence_interval(0.95)
    got = statistics.welch(np.append(ours, np.nan), theirs)
    difference = ours.mean() - theirs.mean()
    np.testing.assert_allclose([difference, interval.low, interval.high, expected.pvalue], np.array(got))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([2.0, 2.0], [2.0, 2.0], [0.0, 0.0, 0.0, 1.0]),
        ([3.0, 3.0], [2.0, 2.0], [1.0, 1.0, 1.0, 0.0]),
        ([3.0, np.nan], [2.0, 2.0], [1.0, np.nan, np.nan, np.nan]),
        ([np.nan, np.nan], [2.0, 2.0], [np.nan] * 4),
    ],
)
def test_welch_at_its_edges(ours: list[float], theirs: list[float], expected: list[float]):
    """Without spread there is no doubt, with one rebuild no interval, with none nothing; nothing warns."""
    np.testing.assert_equal(np.array(statistics.welch(np.array(ours), np.array(theirs))), np.array(expected))


def row(round_: int, position: int, arm: str, total_us: float, connection: str = "new"):
    """Make one request of rebuild 1 that has a total only."""
    return (1, round_, position, arm, connection, None, None, None, None, None, total_us, 200, 5)


def frame(*rows: Any):
    """Make a frame of requests as the reader would."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({name: "float64" for name in COLUMNS if name.endswith("_us")})


def test_pairs_are_formed_by_occurrence_within_a_round():
    """The arm's k-th request meets the reference's k-th of the same round and connection, whatever lies between."""
    samples = frame(
        row(1, 0, "b", 20.0),
        row(1, 1, "b", 31.0),
        row(1, 2, "a", 10.0),
        row(1, 3, "a", 50.0, "keep-alive"),
        row(1, 4, "a", 11.0),
        row(1, 5, "b", 90.0, "keep-alive"),
        row(2, 1, "a", 100.0),
        row(2, 0, "b", 160.0),
    )
    table = statistics.rebuild_medians(samples, "a")
    assert np.median([20.0 - 10.0, 31.0 - 11.0, 160.0 - 100.0]) == table.loc[("b", "new", "total"), 1]
    assert 40.0 == table.loc[("b", "keep-alive", "total"), 1]
    assert 0.0 == table.loc[("a", "new", "total"), 1]


def test_warmup_is_left_out_and_absent_phases_are_unknown():
    """Round 0 never counts, and a phase that no request had has no difference, not a difference of 0."""
    samples = frame(row(0, 0, "a", 1.0), row(0, 1, "b", 99.0), row(1, 0, "a", 1.0), row(1, 1, "b", 3.0))
    table = statistics.rebuild_medians(samples, "a")
    assert 2.0 == table.loc[("b", "new", "total"), 1]
    assert np.isnan(table.loc[("b", "new", "connect"), 1])


def test_floor_is_the_spread_around_zero():
    """The floor counts a lasting difference as well as a scattered one, and does not depend on how many rebuilds."""
    assert 3.0 == statistics.noise_floor(np.array([3.0, 3.0, 3.0]))
    assert 3.0 == statistics.noise_floor(np.array([3.0, -3.0] * 10))
    assert 5.0 == statistics.noise_floor(np.array([7.0, np.nan, 1.0]))
    assert np.isnan(statistics.noise_floor(np.array([np.nan])))


@pytest.mark.parametrize(
    ("n", "q", "known"),
    [(19, 0.5, False), (20, 0.5, True), (99, 0.9, False), (100, 0.9, True), (999, 0.99, False), (1000, 0.99, True)],
)
def test_percentiles_need_ten_requests_beyond_them(n: int, q: float, known: bool):
    """A percentile is refused below n = 10 / (1 - q), and unknown values do not count towards n."""
    values = np.concatenate([np.arange(n, dtype=float), [np.nan] * 50])
    result = statistics.percentile(values, q)
    assert known == (not np.isnan(result))
    if known:
        assert np.quantile(np.arange(n), q) == result


def test_holm_by_hand():
    """Holm multiplies the smallest by all, the next by one less, never falls, stops at 1 and passes unknown ones by."""
    adjusted = statistics.holm(np.array([0.04, 0.01, np.nan, 0.03, 0.9]))
    np.testing.assert_allclose([0.09, 0.04, np.nan, 0.09, 0.9], adjusted)
    np.testing.assert_allclose([1.0, 1.0], statistics.holm(np.array([0.6, 0.8])))


@settings(deadline=None, max_examples=100)
@given(arrays.arrays(float, (3, 5), elements=st.one_of(st.floats(0, 1), st.just(np.nan))))
def test_holm_adjusts_each_family_alone(p_values: np.ndarray):
    """Families side by side are adjusted as each would be alone, never below the given value, in the same order."""
    adjusted = statistics.holm(p_values)
    np.testing.assert_array_equal(np.stack([statistics.holm(row) for row in p_values]), adjusted)
    known = ~np.isnan(p_values)
    assert (known == ~np.isnan(adjusted)).all()
    assert (adjusted[known] >= p_values[known]).all()
    for given_, found in zip(p_values, adjusted, strict=True):
        order = np.argsort(given_[~np.isnan(given_)], kind="stable")
        assert (np.diff(found[~np.isnan(found)][order]) >= 0).all()


def test_levels_are_medians_of_a_rebuild():
    """The time itself is taken per rebuild, warm-up left out, and unknown where the phase does not exist."""
    samples = frame(row(0, 0, "a", 99.0), row(1, 0, "a", 1.0), row(1, 1, "a", 5.0), row(1, 2, "a", 6.0))
    table = statistics.rebuild_levels(samples)
    assert 5.0 == table.loc[("a", "new", "total"), 1]
    assert np.isnan(table.loc[("a", "new", "connect"), 1])


def test_smallest_visible_is_the_widest_of_three():
    """What can be seen is limited by the interval, the floor or the margin, whichever is widest."""
    visible = [
        statistics.smallest_visible(*(np.array(x) for x in case)) for case in ((3.0, 1, 2), (1, 3, 2), (1, 2, 3))
    ]
    assert [3.0, 3.0, 3.0] == visible
