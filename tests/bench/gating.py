"""Runs with known truth for the gate: two builds of a proxy as two arms, beside `direct` and its twin."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.base.samples import COLUMNS, LOAD_COLUMNS
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.gate import gate
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record.reader import Run

SIDECAR = {"server": "injected", "proxy": "bundled", "protocol": "http"}
PLAN = plans.from_dict(
    {
        "name": "two-builds",
        "arms": [{"name": "direct"}, {"name": "direct-twin"}, {"name": "base", **SIDECAR}, {"name": "head", **SIDECAR}],
        "rebuilds": 10,
        "rounds": 1,
        "requests_per_round": 40,
        "warmup_requests": 1,
    },
    "here",
)
TRUTH_US = {"direct": (36.0, 44.0, 90.0, 28.0), "base": (40.0, 128.0, 176.0, 118.0)}
"""Connect, starttransfer and total of a new connection, total of a kept-alive one; twins are equal."""

MACHINE = {"cpu_model": "Z80", "kernel": "6.1", "packages": {"sidelab": "1"}, "mitigations": {}}
FACTS: dict[str, Any] = {
    "state": "complete",
    "environment": MACHINE,
    "placement": {"client_cpu": 1, "lab_cpus": [0]},
    "client": "own",
    "images": {},
    "rule_sets": {"base/nginx": "a" * 64, "head/nginx": "a" * 64},
}


def samples(seed: int, *, plan: Plan = PLAN, build_us: float = 0.4, **extra_us: float) -> pd.DataFrame:
    """Simulate all requests of `plan`, in random order; `extra_us` slows arms down (`_` for `-` in their names)."""
    rng = np.random.default_rng(seed)
    frames = []
    for rebuild in range(1, plan.rebuilds + 1):
        for round_, count in ((0, plan.warmup_requests), (1, plan.requests_per_round)):
            frame = pd.DataFrame(
                [(arm.name, kind) for arm in plan.arms for kind in plan.connections] * count,
                columns=["arm", "connection"],
            )
            frames.append(frame.sample(frac=1.0, random_state=rng).assign(rebuild=rebuild, round=round_))
            frames[-1]["position"] = range(len(frame))
    table = pd.concat(frames, ignore_index=True)
    shift = {(arm.name, b): rng.normal(0.0, build_us) for arm in plan.arms for b in range(1, plan.rebuilds + 1)}
    extra = table["arm"].map(lambda name: extra_us.get(name.replace("-", "_"), 0.0)).astype(float)
    extra += [shift[key] for key in zip(table["arm"], table["rebuild"], strict=True)]
    truth = np.array([TRUTH_US["direct" if name.startswith("direct") else "base"] for name in table["arm"]])
    jitter = rng.lognormal(0.0, 0.03, len(table))
    times = truth * jitter[:, np.newaxis] + extra.to_numpy()[:, np.newaxis]
    new = (table["connection"] == "new").to_numpy()
    table["connect_us"] = np.where(new, times[:, 0], np.nan)
    table["pretransfer_us"] = np.where(new, times[:, 0] + 0.5, 0.4)
    table["starttransfer_us"] = np.where(new, times[:, 1], times[:, 3] - 2)
    table["total_us"] = np.where(new, times[:, 2], times[:, 3])
    table[["namelookup_us", "appconnect_us"]] = np.nan
    table[["status", "bytes"]] = [200, 612]
    return table[list(COLUMNS)].astype({"arm": "category", "connection": "category"})


def run(seed: int = 1, *, name: str = "run", facts: dict[str, Any] | None = None, **how: Any) -> Run:
    """Return a run as the reader would; `facts` replace some of `FACTS`."""
    plan = how.get("plan", PLAN)
    table = samples(seed, **how)
    caveats = (Caveat("a doubt", "a cure"),)
    return Run(Path(name), plan, FACTS | (facts or {}), table, pd.DataFrame(columns=list(LOAD_COLUMNS)), caveats)


def against_base(ours: Run, base: Run) -> gate.GateResult:
    """Compare two runs."""
    return gate.against_base(Analysis(ours), Analysis(base))
