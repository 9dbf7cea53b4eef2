from typing import Any

import numpy as np
import pandas as pd
import pytest
import simulate

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge import summary as summaries
from sidelab.bench.judge.statistics import rebuild_medians
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan import plan as plans

PLAN = plans.from_dict(plans.as_dict(plans.load("smoke")) | {"requests_per_round": 60}, "here")
SAMPLES = simulate.frame(simulate.samples(PLAN, 11))


def summarise(samples: pd.DataFrame):
    """Summarise some samples of the plan."""
    return summaries.summarise(samples, rebuild_medians(samples, PLAN.reference), PLAN)


SUMMARY = summarise(SAMPLES)


def cell(summary: summaries.Summary, arm: str, connection: str, phase: str):
    """Look up one row."""
    return pd.Series(summary[arm, connection, phase]._asdict())


def changed(*rows: Any, **changes: Any):
    """Copy the samples with some columns of the chosen rows replaced."""
    copy = SAMPLES.copy()
    for name, value in changes.items():
        copy.loc[rows[0], name] = value
    return copy


def test_a_row_per_arm_connection_and_phase():
    """The table has every combination once, in the plan's order, under the names that it is looked up by."""
    assert list(SUMMARY) == [
        (arm.name, connection, phase) for arm in PLAN.arms for connection in PLAN.connections for phase in PHASES
    ]
    assert list(SUMMARY) == [row[:3] for row in SUMMARY.values()]


def test_absent_phases_are_not_applicable():
    """The connect of a kept-alive request has no n, no percentile, no overhead, and does not apply."""
    row = cell(SUMMARY, "http", "keep-alive", "connect")
    assert (0, "not applicable") == (row["n"], row["verdict"])
    assert row[["p50_us", "overhead_us", "low_us", "high_us", "smallest_visible_us"]].isna().all()


def test_percentiles_are_refused_when_n_is_small():
    """600 requests have a p50 and a p90 but are too few for a p99, and the warm-up is not among them."""
    row = cell(SUMMARY, "direct", "new", "total")
    assert 600 == row["n"]
    assert not np.isnan(row["p90_us"])
    assert np.isnan(row["p99_us"])


@pytest.mark.parametrize(("arm", "place"), [("tcp", 2), ("http", 2), ("both", 2)])
def test_the_truth_is_recovered(arm: str, place: int):
    """The overhead that the simulation put into the total is found near its value, and called changed."""
    truth_us = simulate.TRUTH_US[arm][place] - simulate.TRUTH_US["direct"][place]
    row = cell(SUMMARY, arm, "new", "total")
    assert abs(row["overhead_us"] - truth_us) < 3.0
    assert "changed" == row["verdict"]


def test_rules_are_found_equivalent():
    """An arm one microsecond slower than the reference lies inside the margin of two."""
    assert "equivalent" == cell(SUMMARY, "rules-only", "new", "connect")["verdict"]


def test_injected_20_us_are_recovered():
    """20 µs put into one arm move its overhead by 20 µs, within the interval, and no other arm's."""
    slower = simulate.frame(simulate.samples(PLAN, 11, extra_us={"rules-only": 20.0}))
    row = cell(summarise(slower), "rules-only", "keep-alive", "total")
    assert row["low_us"] <= 20.8 <= row["high_us"]
    assert "changed" == row["verdict"]


def test_twin_is_quiet_and_the_reference_is_not_judged():
    """Identical arms raise no alarm here, and the reference's rows say that they are the reference."""
    assert not summaries.twin_alarm(SUMMARY, PLAN)
    assert {"reference", "not applicable"} == {row.verdict for row in SUMMARY.values() if row.arm == "direct"}


def test_a_restless_twin_is_an_alarm():
    """A twin that differs is reported as changed, and as a caveat."""
    slower = simulate.frame(simulate.samples(PLAN, 11, extra_us={"direct-twin": 5.0}))
    summary = summarise(slower)
    assert summaries.twin_alarm(summary, PLAN)
    assert any("direct-twin differs from direct" in caveat.what for caveat in summaries.caveats(slower, summary, PLAN))


def test_quiet_samples_raise_no_caveat():
    """Ten rebuilds without failure, drift or alarm leave nothing to doubt."""
    assert [] == summaries.caveats(SAMPLES, SUMMARY, PLAN)


def test_failures_are_counted_by_arm():
    """Requests that were not answered 2xx are counted, by arm, and stay in the samples."""
    broken = changed(SAMPLES.index[SAMPLES["arm"] == "tcp"][:7], status=503)
    whats = [caveat.what for caveat in summaries.caveats(broken, SUMMARY, PLAN)]
    assert [f"7 of {len(SAMPLES)} requests were not answered 2xx (tcp: 7)"] == whats


def test_drift_within_a_build_is_noticed():
    """A connect that doubles towards the end of one build is reported with the build, the arm and both values."""
    chosen = (SAMPLES["rebuild"] == 3) & (SAMPLES["arm"] == "http") & (SAMPLES["position"] > 300)
    drifted = changed(chosen, connect_us=2_268.0)
    (caveat,) = summaries.caveats(drifted, SUMMARY, PLAN)
    assert "within 1 of 60 builds of an arm, most in rebuild 3 of http" in caveat.what
    assert "TIME_WAIT" in caveat.cure


def test_few_rebuilds_are_a_caveat_and_one_has_no_interval():
    """A run cut after its first rebuild has an estimate, no interval, no verdict, and says why."""
    first = SAMPLES[SAMPLES["rebuild"] == 1]
    summary = summarise(first)
    row = cell(summary, "both", "new", "total")
    assert (1, "inconclusive") == (row["rebuilds"], row["verdict"])
    assert np.isnan(row["low_us"])
    assert any("only 1 rebuilds" in caveat.what for caveat in summaries.caveats(first, summary, PLAN))


def test_an_arm_without_samples_has_no_figures():
    """A run cut before an arm was measured says so for that arm and still judges the others."""
    without = SAMPLES[SAMPLES["arm"] != "both"]
    summary = summarise(without)
    assert {ArmVerdict.NOT_APPLICABLE} == {row.verdict for row in summary.values() if row.arm == "both"}
    assert "changed" == cell(summary, "http", "new", "total")["verdict"]
