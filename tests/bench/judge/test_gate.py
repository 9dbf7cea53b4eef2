import subprocess
import sys
from pathlib import Path
from typing import Any

import gating
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.bench.judge import statistics
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.gate import budget
from sidelab.bench.judge.gate.gate import GateResult, against_budget, judge
from sidelab.bench.judge.statistics import Estimate
from sidelab.bench.judge.verdict import ALPHA, GATED, GateOutcome, outcomes
from sidelab.bench.plan import plan as plans
from sidelab.bench.report.exports import terminal
from sidelab.lab.errors import InputError

pytestmark = pytest.mark.slow

RUN = gating.run(7)
SLOW = gating.run(8, head=30.0)
BASE = gating.run(9, name="base-run")


def held(run: Any, *limits: dict[str, Any]):
    """Hold a run against a budget of these entries."""
    return against_budget(Analysis(run), budget.from_dict({"limits": list(limits)}, "budget.toml"), "budget.toml")


def test_gate_needs_neither_lab_nor_sidecar():
    """Of lab they need its errors and how files are read and replaced, of sidecar nothing: they work on any machine."""
    exports = "sidelab.bench.report.exports.terminal, sidelab.bench.report.exports.github_annotations"
    program = f"import sys, sidelab.bench.judge.gate.gate, {exports}; print(*sorted(sys.modules))"
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True)
    loaded = [name for name in ran.stdout.split() if name.startswith(("sidelab.lab", "sidelab.sidecar", "pyroute2"))]
    assert [
        "sidelab.lab",
        "sidelab.lab.base",
        "sidelab.lab.base.replace_file",
        "sidelab.lab.base.text",
        "sidelab.lab.base.text.escapes",
        "sidelab.lab.base.text.textfile",
        "sidelab.lab.errors",
    ] == loaded


def test_a_build_like_its_base_passes():
    """Two arms alike keep to a limit without a number, in all four gated rows, with status 0."""
    result = held(RUN, {"arm": "head", "against": "base"})
    assert [("head", "base", *kind) for kind in GATED] == [row[:4] for row in result.rows]
    assert (GateOutcome.PASS, 0) == (result.verdict, result.exit_status)
    assert "Pass: all 4 rows keep to budget.toml." == result.sentence


def test_a_slower_build_is_a_regression():
    """30 µs more than the base are proven, estimated within the interval, and end with status 1."""
    result = held(SLOW, {"arm": "head", "against": "base", "connection": "keep-alive"})
    (row,) = result.rows
    assert (GateOutcome.REGRESSION, 1) == (result.verdict, result.exit_status)
    assert row.low_us <= 30.0 <= row.high_us
    assert result.sentence.startswith("Regression: 1 of 1 rows exceed budget.toml, most of all head, keep-alive, total")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"at_most_us": 95.0}, GateOutcome.PASS),
        ({"at_most_us": 85.0}, GateOutcome.REGRESSION),
        ({"at_most_us": 90.0}, GateOutcome.INCONCLUSIVE),
        ({"at_most_percent": 340}, GateOutcome.PASS),  # of 28 µs: 95 µs
        ({"at_most_percent": 300}, GateOutcome.REGRESSION),  # 84 µs
    ],
)
def test_limits_in_microseconds_and_percent(limit: dict[str, float], expected: GateOutcome):
    """The base adds 90 µs to a kept-alive request of 28 µs: a limit is kept, exceeded, or too near to tell."""
    result = held(RUN, {"arm": "base", "connection": "keep-alive", "phase": "total", **limit})
    assert expected == result.verdict
    if "at_most_percent" in limit:
        assert result.rows[0].limit_us == pytest.approx(limit["at_most_percent"] / 100 * 28.0, rel=0.02)


def test_inconclusive_says_what_would_have_shown():
    """A run whose rebuilds differ by more than the change is inconclusive: status 4, and what would have shown."""
    noisy = gating.run(5, build_us=15.0, head=8.0)
    result = held(noisy, {"arm": "head", "against": "base", "connection": "keep-alive"})
    (row,) = result.rows
    assert (GateOutcome.INCONCLUSIVE, 4) == (result.verdict, result.exit_status)
    assert row.smallest_visible_us > 8.0
    assert result.sentence.endswith(f"an excess of {row.smallest_visible_us:.1f} µs would have shown.")


def test_a_difference_below_the_floor_is_no_regression():
    """Where identical arms differ by 9 µs one way or the other, a certain difference of 6 µs proves nothing."""
    run = gating.run(6, head=6.0)
    sign = np.where(run.samples["rebuild"] % 2, 9.0, -9.0)
    twin = run.samples["arm"] == "direct-twin"
    restless = run.samples.copy()
    for name in ("connect_us", "starttransfer_us", "total_us"):
        restless.loc[twin, name] += sign[twin]
    result = held(run._replace(samples=restless), {"arm": "head", "against": "base", "connection": "keep-alive"})
    (row,) = result.rows
    assert row.low_us > 0
    assert row.floor_us == pytest.approx(9.0, abs=0.5)
    assert GateOutcome.INCONCLUSIVE == result.verdict


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (gating.run(7, facts={"state": "interrupted"}), "run is interrupted"),
        (RUN._replace(samples=RUN.samples[:-40]), "run is torn: 3240 of 3280"),
        (gating.run(7, direct_twin=3.0), "two identical arms differ"),
        (RUN._replace(samples=RUN.samples.assign(status=np.where(RUN.samples["arm"] == "head", 503, 200))), "answered"),
    ],
)
def test_a_run_that_cannot_be_trusted_cannot_pass(run: Any, words: str):
    """Interrupted, torn, with a restless twin or failed requests: all rows may pass, the run does not."""
    result = held(run, {"arm": "head", "against": "base", "connection": "keep-alive"})
    assert {GateOutcome.PASS} == {row.verdict for row in result.rows}
    assert (GateOutcome.INCONCLUSIVE, 4) == (result.verdict, result.exit_status)
    assert words in result.sentence


def test_a_restless_twin_does_not_hide_a_regression():
    """Where identical arms differ by 3 µs, 30 µs more than the base are a regression all the same."""
    restless = gating.run(8, head=30.0, direct_twin=3.0)
    result = held(restless, {"arm": "head", "against": "base"})
    assert GateOutcome.REGRESSION == result.verdict
    assert min(row.floor_us for row in result.rows) > 2.5


def test_failures_of_arms_that_are_not_judged_do_not_matter():
    """503 from an arm that no limit names does not keep the others from passing."""
    failing = RUN.samples.assign(status=np.where(RUN.samples["arm"] == "head", 503, 200))
    result = held(RUN._replace(samples=failing), {"arm": "base", "at_most_us": 120.0})
    assert GateOutcome.PASS == result.verdict


def test_two_runs_are_compared_by_their_overheads():
    """A machine that is 50 µs slower in everything changes no verdict; 30 µs more in one arm do."""
    slower = gating.run(4, direct=50.0, direct_twin=50.0, base=50.0, head=50.0)
    same = gating.against_base(slower, BASE)
    assert (GateOutcome.PASS, 8) == (same.verdict, len(same.rows))
    worse = gating.against_base(SLOW, BASE)
    assert GateOutcome.REGRESSION == worse.verdict
    assert {"head"} == {row.arm for row in worse.of(GateOutcome.REGRESSION)}
    assert {"head in base-run"} == {row.against for row in worse.of(GateOutcome.REGRESSION)}


def changed_plan(**changes: Any):
    """Return the base with another plan."""
    return BASE._replace(plan=plans.from_dict(plans.as_dict(BASE.plan) | changes, "here"))


def changed_facts(**changes: Any):
    """Return the base with other facts."""
    return BASE._replace(facts=BASE.facts | changes)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (changed_plan(rebuilds=20), "plan: rebuilds: 10 here, 20 in the base"),
        (changed_plan(path="/big"), "plan: path: / here, /big in the base"),
        (changed_facts(client="curl"), "client: own here, curl in the base"),
        (changed_facts(client_digest="c" * 64), "the client's code: nothing here, cccccccccccc… in the base"),
        (changed_facts(images={"nginx": "nginx/1.22"}), "image nginx: nothing here, nginx/1.22 in the base"),
        (
            changed_facts(rule_sets={"base/nginx": "a" * 64, "head/nginx": "b" * 64}),
            "rule set of head/nginx: aaaaaaaaaaaa… here",
        ),
        (
            changed_facts(placement={"client_cpu": 0, "lab_cpus": [0]}),
            "the client's CPU: its own here, shared with the lab",
        ),
    ],
)
def test_unlike_runs_are_refused(base: Any, words: str):
    """Runs of another plan, rules, client or images are not compared: status 4, naming what differs."""
    result = gating.against_base(RUN, base)
    assert ((), 4) == (result.rows, result.exit_status)
    assert [words] == [doubt.what.partition("something else: ")[2][: len(words)] for doubt in result.doubts]
    assert words in result.sentence


def test_what_identifies_no_measurement_does_not_matter():
    """Another description and another seed of the order are the same measurement."""
    assert () == gating.against_base(RUN, changed_plan(description="in other words", seed=4)).doubts


def test_another_machine_is_a_caveat():
    """Another CPU, kernel, version or core is named in a caveat, and the comparison is made."""
    machine = gating.MACHINE | {"cpu_model": "6502", "packages": {"sidelab": "2"}}
    result = gating.against_base(RUN, changed_facts(environment=machine, placement={"client_cpu": 3, "lab_cpus": [0]}))
    assert GateOutcome.PASS == result.verdict
    assert [
        "not the base's machine: cpu model: Z80 here, 6502 in the base",
        "not the base's machine: placement: client_cpu: 1 here, 3 in the base",
        "not the base's machine: version of sidelab: 1 here, 2 in the base",
    ] == [caveat.what for caveat in result.caveats if "machine" in caveat.what]


def test_another_build_is_a_caveat():
    """Which Envoy and which commit an arm had is told where it differs: it may be what is compared."""
    result = gating.against_base(RUN, changed_facts(envoys={"head": "1.35.0"}, revisions={"git:main": "a" * 40}))
    assert GateOutcome.PASS == result.verdict
    assert [
        "not the base's build: Envoy of arm head: nothing here, 1.35.0 in the base",
        f"not the base's build: commit of git:main: nothing here, {'a' * 40} in the base",
    ] == [caveat.what for caveat in result.caveats if "build" in caveat.what]


def test_a_doubtful_base_keeps_from_passing():
    """A base that is interrupted is no base to pass against."""
    assert GateOutcome.INCONCLUSIVE == gating.against_base(RUN, changed_facts(state="interrupted")).verdict


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            [{"arm": "body"}],
            "limits[0].arm = 'body' is no arm of plan two-builds; it has direct, direct-twin, base, head",
        ),
        ([{"arm": "head", "against": "tail"}], "limits[0].against = 'tail' is no arm"),
        ([{"arm": "head", "against": "head"}], "compares head with itself"),
        ([{"arm": "head"}, {"arm": "head", "phase": "total"}], "limits total of head against direct (new) twice"),
        ([{"arm": "head", "phase": "appconnect"}], "which no request of this run has; these requests have connect"),
        ([{"arm": "head", "connection": "keep-alive", "phase": "connect"}], "have pretransfer, starttransfer, total"),
    ],
)
def test_budgets_of_another_plan_are_refused(limits: list[dict[str, Any]], words: str):
    """A limit on what this run does not have is an input error that says what there is."""
    with pytest.raises(InputError) as refusal:
        held(RUN, *limits)
    assert words in str(refusal.value)


def test_a_connection_that_the_plan_does_not_measure():
    """A limit on kept-alive requests is refused for a plan of new connections, and left out where it names none."""
    plan = plans.from_dict(plans.as_dict(gating.PLAN) | {"connections": ["new"]}, "here")
    run = gating.run(7, plan=plan)
    assert {"new"} == {row.connection for row in held(run, {"arm": "head", "against": "base"}).rows}
    with pytest.raises(InputError, match="does not measure; it measures new"):
        held(run, {"arm": "head", "connection": "keep-alive"})


def test_arms_without_requests_are_refused():
    """Samples without one of the plan's arms are an input error, not a pass."""
    without = RUN._replace(samples=RUN.samples[RUN.samples["arm"] != "base"])
    with pytest.raises(InputError, match="holds no measured request of base"):
        held(without, {"arm": "head"})


def test_plans_without_arms_have_nothing_to_compare():
    """Two runs of direct and its twin alone are refused."""
    plan = plans.from_dict(plans.as_dict(gating.PLAN) | {"arms": plans.as_dict(gating.PLAN)["arms"][:2]}, "here")
    run = gating.run(7, plan=plan)
    with pytest.raises(InputError, match="nothing to compare"):
        gating.against_base(run, run)


@pytest.mark.parametrize("given_", [{}, {"limits": Path("a"), "base": Path("b")}])
def test_exactly_one_standard(given_: dict[str, Path]):
    """Neither or both of a budget and a base are refused before anything is read."""
    with pytest.raises(InputError, match="give either --budget FILE or --against RUN"):
        judge(Path("nowhere"), **given_)


def test_a_run_is_not_compared_with_itself(tmp_path: Path):
    """A run cannot pass against itself, by whatever path it is named."""
    with pytest.raises(InputError, match="compared with itself"):
        judge(tmp_path, base=tmp_path / "x" / "..")


def standing(result: GateResult):
    """Order verdicts from good to bad."""
    return [GateOutcome.PASS, GateOutcome.INCONCLUSIVE, GateOutcome.REGRESSION].index(result.verdict)


@settings(deadline=None, max_examples=15)
@given(st.floats(60, 120), st.floats(0, 30))
def test_a_looser_budget_is_never_worse(limit_us: float, more_us: float):
    """Raising a limit never turns a pass into doubt, or doubt into a regression."""
    tight, loose = (
        held(RUN, {"arm": "base", "connection": "keep-alive", "phase": "total", "at_most_us": each})
        for each in (limit_us, limit_us + more_us)
    )
    assert standing(loose) <= standing(tight)


FINITE = st.floats(-100, 100)
SIZES = st.floats(0, 100)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(FINITE, SIZES, SIZES, st.floats(0, 10)), min_size=1, max_size=6))
def test_what_is_visible_is_red_and_what_is_not_is_not(rows: list[tuple[float, float, float, float]]):
    """Above interval at Holm's first level, floor and margin is always red; below any of floor, margin or 0 never."""
    mean, error, floor, margin = (np.array(each) for each in zip(*rows, strict=True))
    table = np.stack([mean - error, mean, mean + error], axis=-1)
    excess = statistics.estimate(table)
    strict = statistics.estimate(table, 1 - ALPHA / len(rows))
    said = outcomes(excess, statistics.holm(excess.p_value), floor, margin)
    visible = statistics.smallest_visible(strict.half_width, floor, margin)
    # The slack is for rounding at the very border.
    assert (said[excess.mean > 1.0001 * visible + 1e-9] == GateOutcome.REGRESSION).all()
    assert (said[excess.mean < np.maximum(floor, margin)] != GateOutcome.REGRESSION).all()
    assert (said[excess.high < margin] == GateOutcome.PASS).all()
    assert not (said[excess.mean > margin] == GateOutcome.PASS).any()


@pytest.mark.parametrize("place", range(4))
def test_the_unknown_is_inconclusive(place: int):
    """A row without interval, floor or margin is neither red nor green."""
    values = [np.array([5.0]), np.array([0.1]), np.array([0.0]), np.array([0.0])]
    values[place] = np.array([np.nan])
    mean, error, floor, margin = values
    excess = Estimate(mean, mean - error, mean + error, error / 10)
    assert [GateOutcome.INCONCLUSIVE] == list(outcomes(excess, statistics.holm(excess.p_value), floor, margin))


@pytest.mark.parametrize(("first_seed", "slower_us", "red"), [(100, 0.0, 0), (200, 30.0, 12)])
def test_equal_builds_are_never_red_and_slower_ones_always(first_seed: int, slower_us: float, red: int):
    """Of twelve runs with equal builds none is red; of twelve with a build slower by 30 µs all are."""
    runs = [gating.run(first_seed + number, head=slower_us) for number in range(12)]
    verdicts = [held(run, {"arm": "head", "against": "base"}).verdict for run in runs]
    assert red == verdicts.count(GateOutcome.REGRESSION)


def test_overheads_are_the_runs_own():
    """Beside the rows the result has every arm's overhead against direct, whatever was compared."""
    result = gating.against_base(RUN, BASE)
    assert {("base", *kind) for kind in GATED} | {("head", *kind) for kind in GATED} == {
        (row.arm, row.connection, row.phase) for row in result.overheads
    }


@pytest.mark.parametrize("state", ["interrupted", "complete"])
def test_a_reason_is_given_once(state: str):
    """What keeps a run from passing stands in one line of the text, not in the verdict, a doubt and a note."""
    run = gating.run(7, direct_twin=3.0) if state == "complete" else RUN._replace(facts=RUN.facts | {"state": state})
    result = held(run, {"arm": "head", "against": "base", "connection": "keep-alive"})
    said = terminal.render(result)
    words = "planned requests are recorded" if state == "interrupted" else "identical"
    assert (1, 1) == (said.count(words), len(result.doubts))
    assert [] == [each for each in result.caveats if "its exact copy" in each.what or "this run is" in each.what]
