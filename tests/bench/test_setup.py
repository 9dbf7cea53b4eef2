"""What a run decides before it measures, as far as no lab is needed to see it."""

import pytest

from bench import awake
from bench import plan as plans
from bench.setup import prepare
from lab.errors import MachineError

TWINS = [{"name": "direct"}, {"name": "direct-twin"}]
RATIO = {"of": "requests-per-s", "arm": "direct-twin", "against": "direct", "connections": 4}


def test_loads_without_wrk_are_left_out_with_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """All else is measured; the doubt says what to install; whoever insists is refused with the same words."""
    monkeypatch.setenv("PATH", "/nonexistent")
    asked = plans.from_dict({"name": "x", "arms": TWINS, "loads": [{"connections": 4}], "ratios": [RATIO]}, "x")
    setup = prepare(asked, seed=1, client="own")
    assert ((), ()) == (setup.plan.loads, setup.plan.ratios)
    assert ["the loads of the plan were left out: wrk is not here: `apt install wrk`"] == [
        doubt.what for doubt in setup.doubts
    ]
    with pytest.raises(MachineError, match="apt install wrk"):
        prepare(asked, seed=1, client="own", require_all=True)


def test_cpus_that_cannot_be_kept_awake_end_it_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that says so would else be measured otherwise than it says."""
    monkeypatch.setattr(awake, "hindrance", lambda: "no permission; run as root")
    asked = plans.from_dict({"name": "x", "arms": TWINS, "placement": {"awake": True}}, "x")
    with pytest.raises(MachineError, match="plan x keeps the CPUs awake, and can't here: no permission; run as root"):
        prepare(asked, seed=1, client="own")
