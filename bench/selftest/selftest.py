"""Test the harness with a known truth: arms whose server spins 5, 20 and 50 µs before each answer, and a twin without.

The own client, libcurl, and wrk if installed measure them while the CPUs are kept awake (`bench.measure.awake`). If
they can't be, a client that never sleeps (`bench.clients.polling_client`) measures as well, and for the others only a
result below the delay is wrong. `selftest` lists the steps; `bench.selftest.known_delays` measures.
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

from sidelab.bench.judge import calibration
from sidelab.bench.judge.calibration import CalibrationCheck, RecoveredDelay
from sidelab.bench.measure import awake
from sidelab.bench.measure.run import CHECKOUT
from sidelab.bench.record import environment
from sidelab.bench.record.environment import Environment
from sidelab.bench.record.records import new_directory, write_whole, writing
from sidelab.bench.report.figures import calibration_figure as picture
from sidelab.bench.report.figures import style
from sidelab.bench.report.figures.figure_files import save
from sidelab.bench.report.terminal_tables import console, titled
from sidelab.bench.selftest.known_delays import judged, wrk_rebuilds
from sidelab.lab.errors import InputError


class Selftest(NamedTuple):
    """The results, and the directory with their files: `record` is `selftest.json`."""

    directory: Path
    rows: list[RecoveredDelay]
    checks: list[CalibrationCheck]
    record: dict[str, Any]

    @property
    def exit_status(self) -> int:
        """The status from `bench.judge.calibration.status`."""
        return calibration.status(self.checks)


def selftest(*, rebuilds: int, seed: int | None, results: Path) -> Selftest:
    """Measure, judge, and draw into a new directory below `results`, which is removed if that fails.

    Raises `InputError` for too few rebuilds, and what `bench.measure.preparing.prepare` and a lab raise.
    """
    if rebuilds < 5:
        raise InputError(f"--rebuilds {rebuilds}: give 5 or more, an interval needs them")
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    machine = environment.read(checkout=CHECKOUT)
    with _directory(results) as directory, writing(directory):
        rows, checks, frames = judged(rebuilds, seed)
        record = {"rebuilds": rebuilds, "seed": seed, "checks": _tables(checks), "calibration": _tables(rows)}
        record["environment"] = msgspec.to_builtins(machine)
        _draw(rows, rebuilds, machine, directory / "calibration")
        for name, frame in frames.items():
            frame.to_csv(directory / f"samples-{name}.csv.gz", index=False, float_format="%.1f")
        write_whole(directory / "selftest.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    return Selftest(directory, rows, checks, record)


@contextmanager
def _directory(results: Path) -> Iterator[Path]:
    """Make the directory for the results, before spending half a minute on them; it is removed if that fails."""
    directory = new_directory(results, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-selftest")
    try:
        yield directory
    except BaseException:
        shutil.rmtree(directory)
        raise


def _tables(values: Sequence[RecoveredDelay] | Sequence[CalibrationCheck]) -> list[dict[str, Any]]:
    return [each._asdict() for each in values]


def _draw(rows: Sequence[RecoveredDelay], rebuilds: int, machine: Environment, stem: Path) -> None:
    builds = f"{rebuilds} lab builds ({wrk_rebuilds(rebuilds)} for wrk)"
    rest = "CPUs may sleep" if awake.hindrance() else "CPUs kept awake"
    machine_said = f"{machine.cpu_model}, {len(machine.cpus)} CPUs, Linux {machine.kernel}, Python {machine.python}"
    foot = (
        "The server spins for a known time before each answer; what an arm takes longer than one without is recovered.",
        f"Total time: the mean over {builds} of the median paired difference. {rest}; {machine_said}.",
    )
    with style.drawing():
        save(picture.figure(rows, "A known delay, and what is found of it", foot), stem)


def show(found: Selftest) -> None:
    """Print the results: the calibration, the checks, and the files."""
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
