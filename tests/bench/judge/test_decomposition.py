from functools import partial

import pytest
import simulate

from sidelab.bench.judge.decomposition import TermEstimate, decompose
from sidelab.bench.judge.statistics import rebuild_medians
from sidelab.bench.plan import plan as plans

TERMS = [
    {"name": "conntrack", "arm": "rules-only"},
    {"name": "HTTP", "arm": "http", "against": "tcp"},
    {"name": "interaction", "arm": "both", "parts": ["tcp", "http"]},
]
PLAN = plans.from_dict(plans.as_dict(plans.load("smoke")) | {"rebuilds": 12, "terms": TERMS}, "here")
ROWS = decompose(PLAN, partial(rebuild_medians, simulate.frame(simulate.samples(PLAN, 3))))


def row(term: str, connection: str, phase: str) -> TermEstimate:
    """Find a row."""
    return next(each for each in ROWS if (each.term, each.connection, each.phase) == (term, connection, phase))


@pytest.mark.parametrize(
    ("term", "phase", "truth_us"),
    [
        ("conntrack", "connect", 0.9),
        ("conntrack", "total", 1.0),
        ("HTTP", "total", 176.0 - 242.0),
        ("HTTP", "starttransfer", 128.0 - 172.0),
        ("interaction", "total", (253.0 - 90.0) - (242.0 - 90.0) - (176.0 - 90.0)),
    ],
)
def test_terms_are_recovered(term: str, phase: str, truth_us: float):
    """The interval of a term holds what its arms really differ by."""
    found = row(term, "new", phase)
    assert found.low_us - 0.5 <= truth_us <= found.high_us + 0.5
    assert found.low_us <= found.mean_us <= found.high_us
    assert 12 == found.rebuilds


def test_only_phases_that_exist_have_a_row():
    """A phase without a measurement (no name is looked up, no connect when kept alive) has no row."""
    assert {("new", "connect"), ("new", "pretransfer"), ("new", "starttransfer"), ("new", "total")} | {
        ("keep-alive", phase) for phase in ("pretransfer", "starttransfer", "total")
    } == {(each.connection, each.phase) for each in ROWS}


def test_terms_come_in_the_plans_order():
    """Rows are in the order in which the plan names its terms."""
    assert ["conntrack", "HTTP", "interaction"] == list(dict.fromkeys(each.term for each in ROWS))


def test_a_plan_without_terms_has_no_decomposition():
    """Nothing is computed where nothing is asked."""
    plan = plans.load("smoke")
    assert [] == decompose(plan, partial(rebuild_medians, simulate.frame(simulate.samples(PLAN, 1)[:2])))
