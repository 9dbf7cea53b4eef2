"""The harness tested with known truth: arms whose server spins 5, 20 and 50 µs before each answer, and a twin without.

Measured by the own client, by libcurl, and by wrk where it is installed, while the CPUs are kept awake
(`bench.measure.awake`). Where they can't be, also by a client that never sleeps itself
(`bench.clients.polling_client`), and of the others only less than the delay is wrong. The steps read in `selftest`;
what the numbers mean is `bench.judge.calibration`'s.
"""

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from sidelab.bench.base.samples import COLUMNS, PHASES, Sample, column
from sidelab.bench.judge import calibration, statistics
from sidelab.bench.judge.calibration import Check, Outcome, Row
from sidelab.bench.measure import awake
from sidelab.bench.measure.progress import Progress
from sidelab.bench.measure.replicate import Loads, Round, measure_build, replicate
from sidelab.bench.measure.run import CHECKOUT
from sidelab.bench.measure.setup import prepare
from sidelab.bench.plan.plan import Plan, from_dict
from sidelab.bench.record import environment
from sidelab.bench.record.environment import Environment
from sidelab.bench.record.records import new_directory, write_whole, writing
from sidelab.bench.report.figures import calibration_figure as picture
from sidelab.bench.report.figures import style
from sidelab.bench.report.figures.figure_files import save
from sidelab.bench.report.terminal_tables import console, titled
from sidelab.lab.errors import InputError, PodError

DELAYS_US = (5.0, 20.0, 50.0)

_ARMS: list[dict[str, Any]] = [
    {"name": name, "image": "standin", "delay_us": delay_us}
    for name, delay_us in (("direct", 0.0), ("direct-twin", 0.0), *((f"spin-{each:g}", each) for each in DELAYS_US))
]
_NAMES = {"own": "own", "curl": "libcurl", "polling": "polling"}
_WRK_ARM, _WRK_DELAY_US = "spin-20", 20.0
_WRK_RESOLUTION_US = 1.0  # it keeps whole microseconds


def plan(rebuilds: int, *, asleep: bool = False) -> Plan:
    """Return the plan of the calibration: delays of `DELAYS_US` in the arms `spin-5`, `spin-20` and `spin-50`."""
    small = {"rounds": 1, "requests_per_round": 60, "warmup_requests": 20, "placement": {"awake": not asleep}}
    return from_dict({"name": "selftest", "rebuilds": rebuilds, **small, "arms": _ARMS}, "selftest.py")


def measure(asked: Plan, *, seed: int | None, client: str, what: str = "") -> pd.DataFrame:
    """Measure a plan and return all samples, in the columns of `bench.base.samples`; `what` is for the progress."""
    setup = prepare(asked, seed=seed, client=client)
    samples: list[Sample] = []
    with Progress(setup.plan, what) as progress:
        for rebuild in range(1, asked.rebuilds + 1):
            for rows in measure_build(setup, rebuild):
                samples += rows
                progress.advance(len(rows))
    return _frame(samples)


class Selftest(NamedTuple):
    """What was found, and the directory that has it: `record` is `selftest.json`."""

    directory: Path
    rows: list[Row]
    checks: list[Check]
    record: dict[str, Any]

    @property
    def exit_status(self) -> int:
        """As `bench.judge.calibration.status`."""
        return calibration.status(self.checks)


def selftest(*, rebuilds: int, seed: int | None, results: Path) -> Selftest:
    """Measure, judge, and draw into a new directory below `results`, which is gone again where that has failed.

    Raises `InputError` for too few rebuilds, and what `bench.measure.setup.prepare` and a lab raise.
    """
    if rebuilds < 5:
        raise InputError(f"--rebuilds {rebuilds}: give 5 or more, an interval needs them")
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    machine = environment.read(checkout=CHECKOUT)
    with _directory(results) as directory, writing(directory):
        rows, checks, frames = _judged(rebuilds, seed)
        record = {"rebuilds": rebuilds, "seed": seed, "checks": _tables(checks), "calibration": _tables(rows)}
        record["environment"] = msgspec.to_builtins(machine)
        _draw(rows, rebuilds, machine, directory / "calibration")
        for name, frame in frames.items():
            frame.to_csv(directory / f"samples-{name}.csv.gz", index=False, float_format="%.1f")
        write_whole(directory / "selftest.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return Selftest(directory, rows, checks, record)


@contextmanager
def _directory(results: Path) -> Iterator[Path]:
    """Make the directory for what is found, before half a minute is spent on it; gone again if that fails."""
    directory = new_directory(results, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-selftest")
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory)
        raise


def _judged(rebuilds: int, seed: int) -> tuple[list[Row], list[Check], dict[str, pd.DataFrame]]:
    """Measure by every client and judge what it has found; returns each client's samples, too."""
    hindrance = awake.hindrance()
    asleep = bool(hindrance)
    asked = plan(rebuilds, asleep=asleep)
    rows: list[Row] = []
    checks = [
        Check("CPUs are kept awake", Outcome.SKIPPED if asleep else Outcome.OK, hindrance or "by cpu_dma_latency")
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
        found, wrk_us, own_us = _by_wrk(_wrk_rebuilds(rebuilds), seed, asleep=asleep)
        rows += found
        checks += [calibration.recovery(found), calibration.close("wrk", own_us, wrk_us)]
    else:
        checks.append(Check("wrk: recovers the delay", Outcome.SKIPPED, "wrk is not here: `apt install wrk`"))
    return rows, checks, frames


def _wrk_rebuilds(rebuilds: int) -> int:
    return max(5, rebuilds // 3)  # each takes three seconds


def _by_wrk(rebuilds: int, seed: int, *, asleep: bool) -> tuple[list[Row], float, float]:
    """Measure a delay by wrk's median on one kept-alive connection.

    Also returns the medians of requests without a delay in these builds, in µs: wrk's, and our own.
    """
    arms = [*_ARMS[:2], {"name": _WRK_ARM, "image": "standin", "delay_us": _WRK_DELAY_US}]
    table: dict[str, Any] = {"name": "selftest-wrk", "rebuilds": rebuilds, "rounds": 1, "arms": arms}
    table |= {"connections": ["keep-alive"], "requests_per_round": 300, "loads": [{"connections": 1}]}
    table |= {"placement": {"awake": not asleep}}
    setup = prepare(from_dict(table, "selftest.py"), seed=seed, client="own")
    samples: list[Sample] = []
    p50_us: dict[str, list[float]] = {arm.name: [] for arm in setup.plan.arms}
    with Progress(setup.plan) as progress:
        for rebuild in range(1, rebuilds + 1):
            for part in replicate(setup, rebuild):
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


def _frame(samples: Sequence[Sample]) -> pd.DataFrame:
    frame = pd.DataFrame(samples, columns=list(COLUMNS))
    return frame.astype({column(phase): "float64" for phase in PHASES})


def _tables(values: Sequence[Row] | Sequence[Check]) -> list[dict[str, Any]]:
    return [each._asdict() for each in values]


def _draw(rows: Sequence[Row], rebuilds: int, machine: Environment, stem: Path) -> None:
    builds = f"{rebuilds} lab builds ({_wrk_rebuilds(rebuilds)} for wrk)"
    rest = "CPUs may sleep" if awake.hindrance() else "CPUs kept awake"
    machine_said = f"{machine.cpu_model}, {len(machine.cpus)} CPUs, Linux {machine.kernel}, Python {machine.python}"
    foot = (
        "The server spins for a known time before each answer; what an arm takes longer than one without is recovered.",
        f"Total time: the mean over {builds} of the median paired difference. {rest}; {machine_said}.",
    )
    with style.drawing():
        save(picture.figure(rows, "A known delay, and what is found of it", foot), stem)


def show(found: Selftest) -> None:
    """Print what was found: the calibration, the checks, and the files."""
    printer = console()
    table = titled("calibration, µs")
    for heading in ("client", "connection"):
        table.add_column(heading)
    for heading in ("injected", "recovered", "95 % interval", "holds it"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        interval = f"[{row.low_us:.2f}, {row.high_us:.2f}]"
        numbers = (f"{row.injected_us:g}", f"{row.recovered_us:.2f}", interval, "yes" if row.covered else "no")
        table.add_row(row.client, row.connection, *numbers)
    printer.print(table)
    for check in found.checks:
        line = f"{check.outcome:<12} {check.name}: {check.detail}"
        printer.print(line, highlight=False, markup=False, soft_wrap=True)
    printer.print(f"\n{found.directory}/", highlight=False, markup=False, soft_wrap=True)
    for path in sorted(found.directory.iterdir()):
        printer.print(f"  {path.name}", highlight=False)
