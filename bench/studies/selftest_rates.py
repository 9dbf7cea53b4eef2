"""How often the instrument is wrong: alarms where nothing differs, intervals that miss the truth, delays not seen.

    python -m sidelab.bench.studies.selftest_rates [RUNS] [--only quiet|burner|delay-20|delay-20-awake|delay-5]

Twice RUNS (200) short runs of two identical arms, quiet and with a process that burns CPU on the servers' core on and
off; then half as many with an injected 20 µs, and again with the CPUs kept awake (`bench.measure.awake`; left out
if they can't be), for coverage and detection; and as many with an injected 5 µs on kept-alive connections, of at most
60 s each, for detection. It takes three quarters of an hour on two cores. Claimed rates (5 % alarms, 95 % coverage) are
judged by a one-sided binomial test at 0.01, since a bare limit would fail a perfect instrument in half of its studies.
Where CPUs sleep, only intervals below 20 µs are wrong: on one machine 85 of 100 contained 20 µs on kept-alive
connections, with a mean of 20.24, because a CPU that has slept longer takes longer to wake.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from scipy.stats import binomtest

from sidelab.bench.judge.statistics import rebuild_medians
from sidelab.bench.judge.summary import Summary, summarise, twin_alarm
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.measure import awake
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.plan.plan import Plan, from_dict
from sidelab.bench.selftest.known_delays import measure

_NOMINAL: Final = 0.05
_ALPHA: Final = 0.01
_BUDGET_S: Final = 60.0
_TWINS: Final[list[dict[str, Any]]] = [
    {"name": name, "image": "standin", "delay_us": 0.0} for name in ("direct", "direct-twin")
]
_SHORT: Final[dict[str, Any]] = {"rebuilds": 10, "rounds": 1, "requests_per_round": 50, "warmup_requests": 10}
_FINE: Final = {**_SHORT, "rebuilds": 30, "requests_per_round": 100, "connections": ["keep-alive"]}
_BURNER: Final = """
import os, random, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
while os.getppid() == parent:
    end = time.monotonic() + random.uniform(0.05, 0.5)
    while time.monotonic() < end:
        pass
    time.sleep(random.uniform(0.05, 0.5))
"""


def main() -> None:
    """Run the chosen parts and print a line for each judgement; exit 1 if one misses its target."""
    asked = argparse.ArgumentParser(prog="sidelab.bench.studies.selftest_rates")
    asked.add_argument("runs", nargs="?", type=int, default=200)
    asked.add_argument("--only", choices=_PARTS)
    given = asked.parse_args()
    if given.runs < 2:
        asked.error("RUNS: 2 or more")
    good = True
    for name, part in _PARTS.items():
        if given.only in (None, name):
            for line, met in part(given.runs):
                print(f"{'met   ' if met else 'MISSED'}  {name:<14} {line}", flush=True)
                good &= met
    raise SystemExit(int(not good))


def _quiet(runs: int) -> Iterator[tuple[str, bool]]:
    plan = from_dict({"name": "twins", **_SHORT, "arms": _TWINS}, "selftest_rates.py")
    alarms = sum(twin_alarm(_summary(plan, number), plan) for number in _counted(runs))
    p_value = binomtest(alarms, runs, _NOMINAL, alternative="greater").pvalue
    yield f"{alarms} alarms in {runs} runs; 5 % explains as many with p = {p_value:.3f}", p_value >= _ALPHA


def _burner(runs: int) -> Iterator[tuple[str, bool]]:
    plan = from_dict({"name": "twins", **_SHORT, "arms": _TWINS}, "selftest_rates.py")
    with _burning(min(prepare(plan, seed=0, client="own").lab_cpus)):
        yield from _quiet(runs)


def _delay_20(runs: int) -> Iterator[tuple[str, bool]]:
    yield from _delay_20_of(_delayed(20.0, _SHORT), max(1, runs // 2), asleep=True)


def _delay_20_awake(runs: int) -> Iterator[tuple[str, bool]]:
    hindrance = awake.hindrance()
    if hindrance:
        print(f"left out: {hindrance}", flush=True)
        return
    plan = _delayed(20.0, {**_SHORT, "placement": {"awake": True}})
    yield from _delay_20_of(plan, max(1, runs // 2), asleep=False)


def _delay_20_of(plan: Plan, runs: int, *, asleep: bool) -> Iterator[tuple[str, bool]]:
    """Judge coverage and detection; where CPUs sleep, an interval above the delay is not the harness's fault."""
    summaries = [_summary(plan, number) for number in _counted(runs)]
    for connection in plan.connections:
        found = [each["spin", connection, "total"] for each in summaries]
        covered = sum(each.low_us <= 20.0 <= each.high_us for each in found)
        above = sum(each.low_us > 20.0 for each in found)
        if asleep:
            p_value = binomtest(runs - covered - above, runs, _NOMINAL / 2, alternative="greater").pvalue
        else:
            p_value = binomtest(covered, runs, 1 - _NOMINAL, alternative="less").pvalue
        mean_us = sum(each.overhead_us for each in found) / runs
        half_us = sum(each.high_us - each.low_us for each in found) / runs / 2
        wrong = "as many below it" if asleep else "as few"
        said = f"{connection}: {covered} of {runs} intervals hold 20 µs, {above} lie above"
        said += f" (mean {mean_us:.2f} ± {half_us:.2f} each)"
        yield f"{said}; 95 % explains {wrong} with p = {p_value:.3f}", p_value >= _ALPHA
        seen = sum(each.verdict == ArmVerdict.CHANGED for each in found)
        yield f"{connection}: 20 µs detected in {seen} of {runs} runs (at least 99 %)", seen >= 0.99 * runs


def _delay_5(runs: int) -> Iterator[tuple[str, bool]]:
    plan = _delayed(5.0, _FINE)
    runs = max(1, runs // 2)
    seen, longest_s = 0, 0.0
    for number in _counted(runs):
        begun_s = monotonic()
        row = _summary(plan, number)["spin", "keep-alive", "total"]
        took_s = monotonic() - begun_s
        longest_s = max(longest_s, took_s)
        seen += row.verdict == ArmVerdict.CHANGED and took_s <= _BUDGET_S
    said = f"keep-alive: 5 µs detected in {seen} of {runs} runs (at least 90 %), the longest took {longest_s:.0f} s"
    yield said, seen >= 0.9 * runs


_PARTS: Final[dict[str, Callable[[int], Iterator[tuple[str, bool]]]]] = {
    "quiet": _quiet,
    "burner": _burner,
    "delay-20": _delay_20,
    "delay-20-awake": _delay_20_awake,
    "delay-5": _delay_5,
}


def _delayed(delay_us: float, size: dict[str, Any]) -> Plan:
    arms = [*_TWINS, {**_TWINS[0], "name": "spin", "delay_us": delay_us}]
    return from_dict({"name": "delayed", **size, "arms": arms}, "selftest_rates.py")


def _summary(plan: Plan, seed: int) -> Summary:
    samples = measure(plan, seed=seed, client="own")
    return summarise(samples, rebuild_medians(samples, plan.reference), plan)


def _counted(runs: int) -> Iterator[int]:
    for number in range(1, runs + 1):
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{number} of {runs} ")
        yield number


@contextmanager
def _burning(cpu: int) -> Iterator[None]:
    """Use `cpu` in another process during the block, on and off at random, each for at most half a second."""
    process = subprocess.Popen([sys.executable, "-c", _BURNER, str(cpu)], stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
