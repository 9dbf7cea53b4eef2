"""The judgement of known delays, on simulated rebuild medians."""

import numpy as np
import pandas as pd
import pytest

from sidelab.bench.arms import pods_of_arms
from sidelab.bench.judge import calibration
from sidelab.bench.judge.calibration import CalibrationCheck, CalibrationOutcome, RecoveredDelay
from sidelab.bench.judge.verdict import GATED
from sidelab.bench.plan import plan as plans
from sidelab.bench.selftest import known_delays
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import load

DELAYS = {"spin-5": 5.0, "spin-20": 20.0, "spin-50": 50.0}


def medians(bias_us: float = 0.0, spread_us: float = 1.0, twin_us: float = 0.0) -> pd.DataFrame:
    """Simulate 15 rebuilds in which each delay is found with this bias, and the twin differs by so much."""
    rng = np.random.default_rng(5)
    truth = {"direct-twin": twin_us} | {arm: us + bias_us for arm, us in DELAYS.items()}
    index = pd.MultiIndex.from_tuples(
        [(arm, *kind) for arm in truth for kind in GATED], names=["arm", "connection", "phase"]
    )
    values = [truth[arm] + rng.normal(0, spread_us, 15) for arm, _, _ in index]
    return pd.DataFrame(values, index=index)


def test_what_was_put_in_is_recovered_and_seen() -> None:
    """Without a bias every delay is recovered on both connections, seen, and the twin is quiet."""
    found = calibration.rows("own", medians(), DELAYS)
    assert 6 == len(found)
    checks = [
        calibration.recovery(found),
        calibration.detection(found),
        calibration.quiet("own", medians(), "direct-twin"),
    ]
    assert [CalibrationOutcome.OK] * 3 == [check.outcome for check in checks]
    assert 0 == calibration.status(checks)


def test_a_biased_instrument_fails() -> None:
    """An instrument that always finds 3 µs too much fails the recovery and not the detection."""
    found = calibration.rows("own", medians(bias_us=3.0), DELAYS)
    checks = [calibration.recovery(found), calibration.detection(found)]
    assert [CalibrationOutcome.FAILED, CalibrationOutcome.OK] == [check.outcome for check in checks]
    assert 1 == calibration.status(checks)


def test_whoever_sleeps_may_wake_late_but_not_early() -> None:
    """More than was put in contradicts nothing where the CPUs sleep; less does, and more where they are awake."""
    late, early = (medians(bias_us=bias_us, spread_us=0.3) for bias_us in (0.8, -0.8))
    outcomes = [
        calibration.recovery(calibration.rows("own", each, DELAYS, asleep=asleep)).outcome
        for each, asleep in ((late, True), (late, False), (early, True), (early, False))
    ]
    assert [
        CalibrationOutcome.OK,
        CalibrationOutcome.FAILED,
        CalibrationOutcome.FAILED,
        CalibrationOutcome.FAILED,
    ] == outcomes


def test_a_coarse_clock_proves_nothing_below_its_steps() -> None:
    """Five differences of exactly 21 µs contradict a delay of 20 where time is exact, and not where it is whole µs."""
    exact, coarse = (
        calibration.recovery([calibration.row("wrk", "keep-alive", 20.0, np.full(5, 21.0), resolution_us=each)]).outcome
        for each in (0.0, 1.0)
    )
    assert (CalibrationOutcome.FAILED, CalibrationOutcome.OK) == (exact, coarse)


def test_a_difference_between_twins_fails() -> None:
    """A twin that takes 3 µs longer is an alarm."""
    assert CalibrationOutcome.FAILED == calibration.quiet("own", medians(twin_us=3.0), "direct-twin").outcome


def test_a_machine_too_noisy_to_see_is_inconclusive() -> None:
    """Where intervals are wider than the delay nothing failed, and nothing is proven."""
    check = calibration.detection(calibration.rows("own", medians(spread_us=300.0), DELAYS))
    assert CalibrationOutcome.INCONCLUSIVE == check.outcome
    assert 4 == calibration.status([check, CalibrationCheck("x", CalibrationOutcome.SKIPPED, "")])


@pytest.mark.parametrize(
    ("own", "other", "outcome"), [(50.0, 56.0, CalibrationOutcome.OK), (50.0, 70.0, CalibrationOutcome.FAILED)]
)
def test_medians_of_two_clients_are_alike_or_not(own: float, other: float, outcome: CalibrationOutcome) -> None:
    """Within 15 % they are."""
    assert outcome == calibration.close("wrk", own, other).outcome


def test_the_interval_decides_what_is_covered() -> None:
    """A row knows whether its interval holds the truth."""
    assert (True, False) == tuple(
        RecoveredDelay("own", "new", truth, 5.0, 4.0, 6.0, 1.0, 0.0).covered for truth in (4.5, 3.9)
    )


def test_the_selftests_plan_holds_its_delays() -> None:
    """The plan's arms are the reference, its twin, and one for each delay; the reference answers by the same code."""
    assert [0.0, 0.0, *known_delays.DELAYS_US] == [arm.delay_us for arm in known_delays.plan(5).arms]


def test_a_delay_reaches_the_server_alone() -> None:
    """The stand-in of the arm's server is told by its environment, of a delay of 0 too; no client is."""
    manifest, _ = pods_of_arms.build(known_delays.plan(5), load([pods_of_arms.default_manifest()]))
    told = {"/".join(pod.key): each.value for pod in manifest.pods for each in pod.spec.containers[0].env}
    delays = {"spin-5/nginx": "5", "spin-20/nginx": "20", "spin-50/nginx": "50"}
    assert {"direct/nginx": "0", "direct-twin/nginx": "0"} | delays == told


@pytest.mark.parametrize(
    "arm",
    [{"delay_us": -1}, {"delay_us": 20_000}, {"delay_us": 5, "image": "nginx"}, {"delay_us": 0, "image": "nginx"}],
)
def test_a_delay_that_nobody_can_make_is_refused(arm: dict[str, object]) -> None:
    """It is 0 to 10,000 µs, and a real nginx has none."""
    twins = [{"name": "direct"}, {"name": "direct-twin"}]
    with pytest.raises(InputError, match="delay"):
        plans.from_dict({"name": "x", "arms": [*twins, {"name": "late", **arm}]}, "x")
