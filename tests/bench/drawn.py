"""Runs and tables with known truth for drawing: every kind of figure has something to show, and nothing is measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import simulate

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.base.samples import RATE_COLUMNS
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.summary import SUMMARY_COLUMNS, Summary, SummaryRow
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record.reader import Run

ENVIRONMENT = {
    "cpu_model": "AMD EPYC",
    "cpus": [0, 1],
    "smt": False,
    "memory_mib": 24105,
    "kernel": "6.18.44",
    "hypervisor": "kind unknown",
    "python": "3.11.7",
    "packages": {"sidelab": "0.1.0"},
    "mitigations": {"spectre_v2": "Mitigation: Retpolines"},
    "git_revision": "17522b53f4d75a62de708e54c0a699b7e6bf2305",
}


def plan(arms: list[dict[str, Any]], **more: Any) -> Plan:
    """Make a small plan of a reference, its twin and `arms`."""
    both = [{"name": "direct"}, {"name": "direct-twin"}]
    small = {"rebuilds": 6, "rounds": 1, "requests_per_round": 30, "warmup_requests": 2}
    return plans.from_dict({"name": "drawn", "arms": both + arms, **small, **more}, "here")


def analysed(run: Run, **known: Any) -> Analysis:
    """Analyse a run; `known` values, by their name in an `Analysis`, are used instead of computed."""
    found = Analysis(run)
    vars(found).update(known)
    return found


def table(summary: Summary) -> pd.DataFrame:
    """Return a summary as a table that can be changed."""
    return pd.DataFrame(summary.values(), columns=list(SUMMARY_COLUMNS))


def rows(summary: pd.DataFrame) -> Summary:
    """Return such a table as a summary."""
    found = [SummaryRow(**{str(name): each for name, each in record.items()}) for record in summary.to_dict("records")]
    return {row[:3]: row for row in found}


def run(of: Plan, extra_us: Mapping[str, float], **facts: Any) -> Analysis:
    """Simulate and analyse a complete run in which each arm takes `extra_us` longer than the reference."""
    truth = {name: tuple(each + us for each in simulate.TRUTH_US["direct"]) for name, us in extra_us.items()}
    before = simulate.TRUTH_US
    simulate.TRUTH_US = {**before, **truth}
    try:
        samples = simulate.frame(simulate.samples(of, 7))
    finally:
        simulate.TRUTH_US = before
    described = {
        "state": "complete",
        "started": "2024-02-29T12:00:00+00:00",
        "plan_digest": of.digest,
        "seed": 7,
        "environment": ENVIRONMENT,
        "placement": {"client_cpu": 1, "lab_cpus": [0]},
        "client": "own",
        **facts,
    }
    caveats = (Caveat("simulated", "measure"),)
    return Analysis(Run(Path("20240229T120000Z-drawn"), of, described, samples, pd.DataFrame(), caveats))


def scaling() -> Analysis:
    """Simulate rules whose cost grows with their number by iptables, and hardly by nft."""
    counts = (0, 10, 100, 1000, 10_000)
    arms = [
        {"name": f"{way}-{count}", "server": "rules-only", "way": way, "extra_rules": count}
        for way in ("nft", "iptables")
        for count in counts
    ]
    slope = {"nft": 0.002, "iptables": 0.005}
    extra = {f"{way}-{count}": 4.0 + each * count for way, each in slope.items() for count in counts}
    return run(plan(arms, requests_per_round=12), extra)


def ladder() -> Analysis:
    """Simulate the ladder: the hop is expensive, HTTP saves time, and redirect and hop together cost a little more."""
    extra = {"conntrack": 1.1, "redirect": 6.0, "explicit": 92.0, "tcp": 104.0, "http": 50.0, "both": 81.0}
    of = plans.from_dict(plans.as_dict(plans.load("ladder")) | {"rebuilds": 6, "requests_per_round": 30}, "here")
    return run(of, extra)


def rates(asked: tuple[int, ...], base_us: Mapping[str, float], capacity: Mapping[str, float]) -> pd.DataFrame:
    """Simulate a queue for each arm: latency grows as its rate nears its capacity; beyond that it falls behind."""
    rng = np.random.default_rng(11)
    found = []
    for rebuild in range(1, 6):
        for arm, fastest in base_us.items():
            for rate in asked:
                busy = min(rate / capacity[arm], 0.995)
                p50 = fastest * (1 + 0.3 * busy / (1 - busy)) * rng.lognormal(0, 0.04)
                tail = [p50 * factor * rng.lognormal(0, 0.08) for factor in (1.5, 3.0, 8.0)]
                proxied = arm not in ("direct", "direct-twin")
                cpu_s = 0.05 * fastest / 100 * rng.lognormal(0, 0.03) if proxied else -1.0
                memory = 7000.0 if proxied else -1.0
                achieved = min(rate, 0.99 * capacity[arm])
                load = (64, round(achieved), 0, achieved, 20.0)
                found.append((rebuild, arm, rate, *load, p50, *tail, cpu_s, memory))
    return pd.DataFrame(found, columns=list(RATE_COLUMNS))
