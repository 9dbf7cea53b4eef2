"""What a run decides before it measures, as far as no lab is needed to see it."""

from pathlib import Path
from typing import Any

import pytest

from sidelab.bench.measure import awake
from sidelab.bench.measure.preparing import prepare, require_question
from sidelab.bench.plan import plan as plans
from sidelab.lab.errors import InputError, MachineError

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


ENVOY = {"name": "envoy", "server": "injected", "proxy": "envoy", "protocol": "tcp"}
BUNDLED = {**ENVOY, "name": "bundled", "proxy": "bundled"}
COMPARED = {"of": "added-p50", "arm": "bundled", "against": "envoy"}
PART = {"name": "Envoy, not bundled", "arm": "envoy", "against": "bundled"}


@pytest.mark.parametrize(
    ("arms", "more", "question"),
    [
        (
            [BUNDLED, ENVOY],
            {"ratios": [COMPARED], "terms": [{**PART, "arm": "bundled", "against": "direct"}]},
            "bundled with",
        ),
        ([BUNDLED, ENVOY], {"terms": [PART]}, "Envoy, not bundled"),
        ([ENVOY], {}, "envoy"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_beforehand(
    arms: list[dict[str, Any]], more: dict[str, Any], question: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is the plan's ratios, else its terms, else its arms; the message has the missing program's cure."""
    binary = tmp_path / "envoy"
    binary.write_text("#!/no/such/interpreter")
    monkeypatch.setenv("SIDELAB_ENVOY", str(binary))
    binary.chmod(0o755)
    asked = plans.from_dict({"name": "x", "arms": [*TWINS, *arms], **more}, "x")
    setup = prepare(asked, seed=1, client="own")
    with pytest.raises(
        MachineError, match=rf"plan x asks for {question}.*can't have any of it: arm envoy .*name another"
    ):
        require_question(asked, setup)


def test_a_plan_with_something_left_of_its_question_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The missing arm is left out, and its reason is kept."""
    binary = tmp_path / "envoy"
    binary.write_text("#!/no/such/interpreter")
    monkeypatch.setenv("SIDELAB_ENVOY", str(binary))
    binary.chmod(0o755)
    asked = plans.from_dict({"name": "x", "arms": [*TWINS, BUNDLED, ENVOY]}, "x")
    setup = prepare(asked, seed=1, client="own")
    require_question(asked, setup)
    assert (["direct", "direct-twin", "bundled"], ["envoy"]) == (
        [arm.name for arm in setup.plan.arms],
        list(setup.skipped),
    )


def test_a_proxy_of_ones_own_that_cannot_be_run_is_refused_beforehand() -> None:
    """Before a directory for results is made."""
    mine = {**BUNDLED, "name": "mine", "proxy": "/nowhere/sidecar"}
    asked = plans.from_dict({"name": "x", "arms": [*TWINS, mine]}, "x")
    with pytest.raises(InputError, match="container istio-proxy: /nowhere/sidecar: no such file"):
        prepare(asked, seed=1, client="own")
