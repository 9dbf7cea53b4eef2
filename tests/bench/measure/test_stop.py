from typing import TYPE_CHECKING

import simulate

from sidelab.bench.measure.enough import MORE_REBUILDS, StopRule
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan

if TYPE_CHECKING:
    from sidelab.bench.base.samples import RequestSample


def plan(**stop: float) -> Plan:
    """Make a plan of 30 short rebuilds with this stop rule."""
    changes = {"rebuilds": 30, "rounds": 1, "requests_per_round": 10, "warmup_requests": 0, "stop": stop}
    return plans.from_dict(plans.as_dict(plans.load("smoke")) | changes, "here")


def stops_after(asked: Plan, budget_s: float | None = None) -> tuple[int, str]:
    """Simulate rebuilds of 2 s each; return how many there were, and why it ended."""
    recorded: dict[int, list[RequestSample]] = {}
    for rows in simulate.samples(asked, 1):
        recorded.setdefault(rows[0].rebuild, []).extend(rows)
    rule = StopRule(asked, budget_s)
    for rebuild, rows in recorded.items():
        reason = rule.reason(rebuild, rows, elapsed_s=2.0 * rebuild, longest_s=2.0)
        if reason:
            return rebuild, reason
    return asked.rebuilds, ""


def test_without_a_rule_every_rebuild_is_measured():
    """A plan that says nothing about stopping is measured to its end."""
    assert (30, "") == stops_after(plan())


def test_wide_limits_end_it_some_rebuilds_after_the_first_look():
    """The first look is at the least number of rebuilds, and some more follow it, however narrow the intervals are."""
    found, reason = stops_after(plan(half_width_us=1000.0))
    assert 10 + MORE_REBUILDS == found
    assert "all gated intervals are at most 1000 µs to either side" == reason


def test_a_single_wide_interval_keeps_it_going():
    """While one gated interval is wider than the limit, the run goes on."""
    assert (30, "") == stops_after(plan(half_width_us=0.001))


def test_a_limit_in_between_ends_it_in_between():
    """Where intervals shrink below the limit on the way, the run ends there."""
    assert 10 + MORE_REBUILDS < stops_after(plan(half_width_us=5.5))[0] < 30


def test_the_budget_leaves_no_rebuild_half_done():
    """No rebuild is begun that would end after the time budget, and there are two at least."""
    assert (5, "the time budget of 11 s is used up") == stops_after(plan(budget_s=11.0))
    assert 2 == stops_after(plan(budget_s=0.5))[0]


def test_a_given_budget_counts_instead_of_the_plans():
    """The command line's budget replaces the plan's."""
    assert 10 == stops_after(plan(budget_s=11.0), budget_s=21.0)[0]
