"""Arms as multiples of each other."""

import math

import numpy as np
import pandas as pd
import pytest

from sidelab.bench.base.samples import LOAD_COLUMNS
from sidelab.bench.judge import ratios
from sidelab.bench.judge.ratios import MET, MISSED, NO_TARGET, OPEN
from sidelab.bench.plan.plan import Plan, Ratio, from_dict
from sidelab.lab.errors import InputError

PLAN = {
    "name": "compared",
    "connections": ["keep-alive"],
    "arms": [{"name": "direct"}, {"name": "direct-twin"}, {"name": "a"}, {"name": "b"}],
    "loads": [{"connections": 32}],
    "idle_connections": 10,
}


def plan(*compared: dict[str, object]) -> Plan:
    """Return the plan above with ratios."""
    return from_dict({**PLAN, "ratios": list(compared)}, "test.toml")


def loads(rows: list[tuple[int, str, int, float, float, int]]) -> pd.DataFrame:
    """Return a frame of (rebuild, arm, connections, requests/s, p99, private KiB)."""
    whole = [(b, arm, n, 1, 0, rate, p99, p99, p99, kib, kib) for b, arm, n, rate, p99, kib in rows]
    return pd.DataFrame(whole, columns=list(LOAD_COLUMNS))


def no_requests(against: str) -> pd.DataFrame:
    """Return the medians of a run that made no single requests."""
    raise AssertionError(f"nobody needs the medians against {against}")


def test_equal_ratios_in_every_rebuild_leave_no_doubt() -> None:
    """Where each rebuild says a half, the answer is a half, and so are both ends of the interval."""
    value, other = np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 8.0])
    assert ratios.quotient(value, other) == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_covers_a_known_ratio_about_as_often_as_it_says() -> None:
    """Over 2000 simulated runs with noise between rebuilds, 93 to 97 % of the 95 % intervals hold the truth."""
    random = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        slow = random.lognormal(0, 0.2, 10)  # a rebuild that is slow is so for both arms
        value = 30 * slow * random.lognormal(0, 0.1, 10)
        other = 60 * slow * random.lognormal(0, 0.1, 10)
        _, low, high = ratios.quotient(value, other)
        hits += low <= 0.5 <= high
    assert 0.93 <= hits / 2000 <= 0.97


@pytest.mark.parametrize("value", [[0.0, 1.0], [-1.0, 1.0], []])
def test_a_cost_that_is_not_above_0_leaves_the_ratio_unknown(value: list[float]) -> None:
    """There is no logarithm of what noise has made 0 or less."""
    center, low, high = ratios.quotient(np.array(value), np.ones(len(value)))
    assert all(map(math.isnan, (center, low, high)))


@pytest.mark.parametrize(
    ("bounds", "low", "high", "verdict"),
    [
        ({"at_most": 0.5}, 0.3, 0.5, MET),
        ({"at_most": 0.5}, 0.4, 0.6, OPEN),
        ({"at_most": 0.5}, 0.6, 0.7, MISSED),
        ({"at_least": 1.5}, 1.5, 1.7, MET),
        ({"at_least": 1.5}, 1.4, 1.7, OPEN),
        ({"at_least": 1.5}, 1.2, 1.4, MISSED),
        ({"at_most": 0.5}, math.nan, math.nan, OPEN),
        ({}, 0.1, 0.2, NO_TARGET),
    ],
)
def test_a_target_is_met_only_by_the_whole_interval(
    bounds: dict[str, float], low: float, high: float, verdict: str
) -> None:
    """An interval that holds the target leaves the question open."""
    assert ratios.judge(Ratio(of="added-p50", arm="a", against="b", **bounds), low, high) == verdict


def test_loads_are_compared_rebuild_by_rebuild() -> None:
    """Throughput is compared as it is, the tail by what it has more than the reference's, memory in MiB."""
    rows = []
    for rebuild in (1, 2, 3):
        rows += [
            (rebuild, "direct", 32, 100.0, 10.0, -1),
            (rebuild, "a", 32, 60.0 * rebuild, 10.0 + rebuild, -1),
            (rebuild, "b", 32, 30.0 * rebuild, 10.0 + 4 * rebuild, -1),
            (rebuild, "a", 10, 0.0, -1.0, 2048),
            (rebuild, "b", 10, 0.0, -1.0, 8192),
        ]
    asked = plan(
        {"of": "requests-per-s", "arm": "a", "against": "b", "connections": 32, "at_least": 1.5},
        {"of": "added-p99", "arm": "a", "against": "b", "connections": 32, "at_most": 0.2},
        {"of": "idle-memory", "arm": "a", "against": "b"},
    )
    found = ratios.compare(asked, no_requests, loads(rows))
    assert [(row.what, round(row.ratio, 6), row.verdict) for row in found] == [
        ("32 connections: throughput", 2.0, MET),
        ("32 connections: added p99", 0.25, MISSED),
        ("10 idle connections: memory", 0.25, NO_TARGET),
    ]
    assert (found[2].value, found[2].other) == pytest.approx((2.0, 8.0))
    assert found[2].unit == "MiB"


def test_a_load_with_failures_is_no_value() -> None:
    """An error that comes at once is no throughput: that build is left out, and with it its pair."""
    asked = plan({"of": "requests-per-s", "arm": "a", "against": "b", "connections": 32})
    rows = [(build, arm, 32, 100.0, 1.0, -1) for build in (1, 2, 3) for arm in ("a", "b")]
    table = loads(rows)
    table.loc[table.index[0], ["failed", "requests_per_s"]] = (90, 5000.0)
    (row,) = ratios.compare(asked, no_requests, table)
    assert (1.0, 2) == (row.ratio, row.rebuilds)


def test_a_run_that_was_cut_before_its_loads_has_no_figures() -> None:
    """What was not measured is unknown, and no error."""
    asked = plan({"of": "requests-per-s", "arm": "a", "against": "b", "connections": 32, "at_least": 1.5})
    (row,) = ratios.compare(asked, no_requests, pd.DataFrame(columns=list(LOAD_COLUMNS)))
    assert (row.rebuilds, row.verdict, math.isnan(row.ratio)) == (0, OPEN, True)


@pytest.mark.parametrize(
    ("compared", "problem"),
    [
        ({"of": "added-p50", "arm": "c", "against": "b"}, "no arm of this plan"),
        ({"of": "added-p50", "arm": "a", "against": "b", "connection": "new"}, "does not send"),
        ({"of": "added-p99", "arm": "a", "against": "b"}, "names the `connections`"),
        ({"of": "added-p99", "arm": "a", "against": "b", "connections": 8}, "no load of this plan"),
        ({"of": "latency", "arm": "a", "against": "b"}, "accepted values"),
    ],
)
def test_a_ratio_of_what_the_plan_does_not_measure_is_refused(compared: dict[str, object], problem: str) -> None:
    """The plan is wrong before anything is started."""
    with pytest.raises(InputError, match=problem):
        plan(compared)
