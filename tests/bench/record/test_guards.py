import pandas as pd

from sidelab.bench.base.samples import LOAD_COLUMNS, ROUND_COLUMNS, LoadSample, RoundSample
from sidelab.bench.record import cpu_activity, round_caveats

QUIET = RoundSample(1, 1, 1.0, 0.0, 5000, 3, 200)


def said(*rounds: RoundSample) -> list[str]:
    """Return what the guards say about these rounds."""
    return [each.what for each in round_caveats.caveats(pd.DataFrame(rounds, columns=list(ROUND_COLUMNS)))]


def test_quiet_rounds_raise_no_doubt():
    """Nothing is said about quiet rounds, nor about none at all."""
    assert [] == said(QUIET, QUIET)
    assert [] == said()


def test_a_kernel_that_tells_no_stolen_time_raises_no_doubt():
    """What is unknown is no finding."""
    assert [] == said(QUIET._replace(stolen_ratio=-1.0))


def test_each_doubt_is_told_once_with_its_size():
    """Stolen time, a client that had to share its CPU, and ports held are told once each, whatever number of rounds."""
    loud = QUIET._replace(stolen_ratio=0.25, preempted=900, time_wait=20_000)
    assert [
        "in 2 of 3 rounds the hypervisor took more than 2% of the CPU time (in the worst of them 25.0%)",
        "in 2 of 3 rounds the measuring client had to share its CPU (stopped up to 900 times in one)",
        "up to 20,000 closed connections held their port in a client's pod, and connect slows from there",
    ] == said(loud, QUIET, loud)


def test_failed_requests_of_loads_are_told() -> None:
    """How many, in how many loads and of which arms; nothing where none failed."""
    good = LoadSample(1, "tcp", 32, 900, 0, 900.5, 10.5, 20.5, 30.5, -1, -1)
    loads = [good, good._replace(arm="http", failed=7), good._replace(rebuild=2, arm="http", failed=5)]
    said = [
        [each.what for each in round_caveats.load_caveats(pd.DataFrame(rows, columns=list(LOAD_COLUMNS)))]
        for rows in (loads, [good], [])
    ]
    assert [["12 requests failed in 2 loads (http), which ratios leave out"], [], []] == said


def test_activity_between_two_readings():
    """Steal is the share of the ticks in between, and context switches are counted from boot."""
    before = cpu_activity.read("cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1\nctxt 1000\nbtime 1\n")
    after = cpu_activity.read("cpu  20 0 20 110 0 0 0 50 0 0\ncpu0 1\nctxt 1500\nbtime 1\n")
    assert 0.4 == after.stolen_ratio(before)
    assert 500 == after.switches - before.switches


def test_no_time_in_between_is_no_share():
    """Two readings within a tick of the clock know no share."""
    now = cpu_activity.read("cpu  10 0 10 70 0 0 0 10 0 0\nctxt 1\n")
    assert -1.0 == now.stolen_ratio(now)
