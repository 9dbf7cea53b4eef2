"""The reference run that is kept with the code: others are compared with it, so it has to have measured the same."""

import json
from pathlib import Path

import pytest

from sidelab.bench.arms import pods_of_arms
from sidelab.bench.measure.preparing import client_digest
from sidelab.bench.plan import plan as plans
from sidelab.lab.manifest import load

FACTS = Path(__file__).parents[3] / "results" / "reference" / "run.json"


@pytest.mark.skipif(not FACTS.exists(), reason="there is no reference run here: it comes with a checkout")
def test_the_reference_run_compares_with_a_run_of_today():
    """Its plan, its client's code and its rules are today's; else `gate --against results/reference` is always 4.

    The cure is in results/README.md: measure it again.
    """
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    plan = plans.load("overhead")
    every_arm, _ = pods_of_arms.build(plan, load([pods_of_arms.default_manifest()]), None)
    expected = {"plan": plan.digest, "client": client_digest(), "rules": pods_of_arms.rule_digests(every_arm)}
    assert expected == {
        "plan": facts["plan_digest"],
        "client": facts["client_digest"],
        "rules": facts["rule_sets"],
    }
