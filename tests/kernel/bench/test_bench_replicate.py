"""A replicate as values, on this machine and on beds of other kinds."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from command_line import nothing_left

from sidelab.bench.measure.beds.this_machine import HERE
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.measure.replicate import Loads, Rates, Round, Whole, replicate
from sidelab.bench.plan.plan import Plan, from_dict

pytestmark = pytest.mark.kernel

SHORT = {"rebuilds": 2, "rounds": 2, "requests_per_round": 3, "warmup_requests": 1}


def of(**more: Any) -> Plan:
    """Make a short plan of direct and its twin."""
    return from_dict({"name": "short", "arms": [{"name": "direct"}, {"name": "direct-twin"}], **SHORT, **more}, "here")


def test_a_replicate_is_its_rounds_then_loads_then_rates() -> None:
    """Warm-up, rounds, loads and open loops come as values in this order, each of the build that was asked for."""
    rates = [{"rate_per_s": 100, "connections": 2, "duration_s": 1}]
    plan = of(loads=[{"connections": 2, "duration_s": 1}], rates=rates)
    with nothing_left():
        parts = list(replicate(prepare(plan, seed=1, client="own"), 7))
    loads = [] if not plan.loads else [part for part in parts if isinstance(part, Loads)]
    assert [type(part) for part in parts] == [Round] * 3 + [Loads] * len(loads) + [Rates, Whole]
    assert [0, 1, 2] == [part.facts.round for part in parts if isinstance(part, Round)]
    assert {7} == {row.rebuild for part in parts[:-1] for row in part.samples} | {parts[-1].rebuild}
    assert {200} == {row.status for part in parts if isinstance(part, Round) for row in part.samples}


def test_a_replicate_that_nobody_wants_any_more_leaves_nothing() -> None:
    """Closed after its first round, it ends its lab."""
    with nothing_left(), closing(replicate(prepare(of(), seed=1, client="own"), 1)) as parts:
        assert isinstance(next(parts), Round)


def test_another_bed_is_asked_instead_of_this_machine() -> None:
    """What builds the lab is the bed that was given, once a replicate; an arm that it refuses is left out."""
    asked: list[Any] = []

    class Elsewhere:
        @contextmanager
        def built(self, setup: Any, rebuild: int) -> Iterator[Any]:
            asked.append(rebuild)
            with HERE.built(setup, rebuild) as standing:
                yield standing

        def refusal(self, blueprint: Any, cpus: Any) -> str:  # noqa: ARG002
            return "not in this place"

    arms = [{"name": "direct"}, {"name": "direct-twin"}, {"name": "slow", "server": "rules-only", "family": 6}]
    setup = prepare(of(arms=arms), seed=1, client="own", bed=Elsewhere())
    assert {"slow": "not in this place"} == setup.skipped
    setup = replace(setup, seed=2)
    assert isinstance(list(replicate(setup, 3, Elsewhere()))[-1], Whole)
    assert [3] == asked
