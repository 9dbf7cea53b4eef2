"""Arms with a known delay, measured by each client, and how much of the delay each finds.

`bench.judge.calibration` judges the numbers.
"""

import shutil
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pandas as pd

from sidelab.bench.base.samples import COLUMNS, PHASES, RequestSample, column
from sidelab.bench.judge import calibration, statistics
from sidelab.bench.judge.calibration import CalibrationCheck, CalibrationOutcome, RecoveredDelay
from sidelab.bench.measure import awake
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.measure.progress import Progress
from sidelab.bench.measure.replicate import Loads, Round, measure_build, replicate
from sidelab.bench.plan.plan import Plan, from_dict
from sidelab.lab.errors import PodError

DELAYS_US = (5.0, 20.0, 50.0)

_ARMS: list[dict[str, Any]] = [
    {"name": name, "image": "standin", "delay_us": delay_us}
    for name, delay_us in (("direct", 0.0), ("direct-twin", 0.0), *((f"spin-{each:g}", each) for each in DELAYS_US))
]
_NAMES = {"own": "own", "curl": "libcurl", "polling": "polling"}
_WRK_ARM, _WRK_DELAY_US = "spin-20", 20.0
_WRK_RESOLUTION_US = 1.0  # it counts whole microseconds


def plan(rebuilds: int, *, asleep: bool = False) -> Plan:
    """Return the plan of the calibration: delays of `DELAYS_US` in the arms `spin-5`, `spin-20` and `spin-50`."""
    small = {"rounds": 1, "requests_per_round": 60, "warmup_requests": 20, "placement": {"awake": not asleep}}
    return from_dict({"name": "selftest", "rebuilds": rebuilds, **small, "arms": _ARMS}, "selftest.py")


def measure(asked: Plan, *, seed: int | None, client: str, what: str = "") -> pd.DataFrame:
    """Measure a plan and return all samples, in the columns of `bench.base.samples`; `what` is for the progress."""
    setup = prepare(asked, seed=seed, client=client)
    samples: list[RequestSample] = []
    with Progress(setup.plan, what) as progress:
        for rebuild in range(1, asked.rebuilds + 1):
            for rows in measure_build(setup, rebuild):
                samples += rows
                progress.advance(len(rows))
    return _frame(samples)


def judged(rebuilds: int, seed: int) -> tuple[list[RecoveredDelay], list[CalibrationCheck], dict[str, pd.DataFrame]]:
    """Measure with every client and judge what each found; return each client's samples, too."""
    hindrance = awake.hindrance()
    asleep = bool(hindrance)
    asked = plan(rebuilds, asleep=asleep)
    rows: list[RecoveredDelay] = []
    checks = [
        CalibrationCheck(
            "CPUs are kept awake",
            CalibrationOutcome.SKIPPED if asleep else CalibrationOutcome.OK,
            hindrance or "by cpu_dma_latency",
        )
    ]
    frames: dict[str, pd.DataFrame] = {}
    for client, name in _NAMES.items():
        if client == "polling" and not asleep:
            continue
        frames[name] = measure(asked, seed=seed, client=client, what=f"by {name}")
        medians = statistics.rebuild_medians(frames[name], asked.reference)
        delays_us = {arm.name: arm.delay_us for arm in asked.arms if arm.delay_us}
        found = calibration.rows(name, medians, delays_us, asleep=asleep and client != "polling")
        checks.append(calibration.quiet(name, medians, asked.twin))
        checks.append(calibration.recovery(found))
        checks.append(calibration.detection(found))
        rows += found
    if shutil.which("wrk"):
        found, wrk_us, own_us = _by_wrk(wrk_rebuilds(rebuilds), seed, asleep=asleep)
        rows += found
        checks += [calibration.recovery(found), calibration.close("wrk", own_us, wrk_us)]
    else:
        checks.append(
            CalibrationCheck(
                "wrk: recovers the delay", CalibrationOutcome.SKIPPED, "wrk is not here: `apt install wrk`"
            )
        )
    return rows, checks, frames


def wrk_rebuilds(rebuilds: int) -> int:
    """Return how many builds wrk gets if the clients get `rebuilds`: each takes three seconds."""
    return max(5, rebuilds // 3)


def _by_wrk(rebuilds: int, seed: int, *, asleep: bool) -> tuple[list[RecoveredDelay], float, float]:
    """Measure a delay with wrk, as its median on one kept-alive connection.

    Also returns the medians of requests without a delay in these builds, in µs: wrk's, and our own.
    """
    arms = [*_ARMS[:2], {"name": _WRK_ARM, "image": "standin", "delay_us": _WRK_DELAY_US}]
    table: dict[str, Any] = {"name": "selftest-wrk", "rebuilds": rebuilds, "rounds": 1, "arms": arms}
    table |= {"connections": ["keep-alive"], "requests_per_round": 300, "loads": [{"connections": 1}]}
    table |= {"placement": {"awake": not asleep}}
    setup = prepare(from_dict(table, "selftest.py"), seed=seed, client="own")
    samples: list[RequestSample] = []
    p50_us: dict[str, list[float]] = {arm.name: [] for arm in setup.plan.arms}
    with Progress(setup.plan) as progress:
        for rebuild in range(1, rebuilds + 1):
            with closing(replicate(setup, rebuild)) as parts:
                for part in parts:
                    if isinstance(part, Round):
                        samples += part.samples
                        progress.advance(len(part.samples))
                    elif isinstance(part, Loads):
                        for each in part.samples:
                            if each.failed:
                                raise PodError(f"{each.failed} of wrk's requests failed: its median is none")
                            p50_us[each.arm].append(each.p50_us)
    own = statistics.rebuild_levels(_frame(samples)).xs(("direct", "keep-alive", "total"))
    by_arm = {name: np.array(values) for name, values in p50_us.items()}
    difference_us = by_arm[_WRK_ARM] - by_arm["direct"]
    how: dict[str, Any] = {"asleep": asleep, "resolution_us": _WRK_RESOLUTION_US}
    row = calibration.row("wrk", "keep-alive", _WRK_DELAY_US, difference_us, **how)
    return [row], float(np.median(by_arm["direct"])), float(np.median(own.to_numpy(dtype=float)))


def _frame(samples: Sequence[RequestSample]) -> pd.DataFrame:
    frame = pd.DataFrame(samples, columns=list(COLUMNS))
    return frame.astype({column(phase): "float64" for phase in PHASES})
