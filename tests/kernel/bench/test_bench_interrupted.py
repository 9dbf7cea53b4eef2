"""Ctrl-C, SIGTERM and SIGHUP at a real run: what was measured is kept, drawn and reported, in one line and no more."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, await_true, nothing_left
from tools import PATIENCE_S

from sidelab.bench.record.reader import read_run
from sidelab.lab.base.fault_points import FAULT

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("_subreaper", "_able")]

PLAN = """
name = "long"
rebuilds = 1000
rounds = 2
requests_per_round = 3
warmup_requests = 1
[[arms]]
name = "direct"
[[arms]]
name = "direct-twin"
[[arms]]
name = "rules"
server = "rules-only"
"""
_START = """
import signal, sys
sys.path.insert(0, {root!r})
signal.signal(signal.SIGINT, signal.{interrupt})
if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
    signal.signal(signal.SIGINT, signal.default_int_handler)
import sidelab
sidelab.main()
"""


@contextmanager
def measuring(results: Path, interrupt: str = "SIG_DFL", fault: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a benchmark that takes hours, whose parent has had SIGINT ignored or not; it is gone at the end.

    `fault` is what its labs are to meet (`lab.base.fault_points`).
    """
    plan = results.parent / "long.toml"
    plan.write_text(PLAN)
    program = _START.format(root=str(ROOT), interrupt=interrupt)
    command = [sys.executable, "-c", program, "bench", str(plan), "--results", str(results)]
    with (
        nothing_left(),
        subprocess.Popen(
            command, env=os.environ | {FAULT: fault}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def recorded(results: Path) -> dict[str, Any]:
    """Return the run's own account; nothing where there is none yet."""
    found = list(results.glob("*/run.json"))
    return json.loads(found[0].read_text()) if found else {}


def await_rounds(results: Path, rounds: int) -> None:
    """Wait until so many rounds are on the disk."""

    def enough() -> bool:
        return any(len(each.read_text().splitlines()) > rounds for each in results.glob("*/rounds.csv"))

    await_true(enough, f"{rounds} rounds", 60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_what_it_has(tmp_path: Path, number: signal.Signals) -> None:
    """A signal leaves whole files, a page, an answer and one line, and is the exit status."""
    results = tmp_path / "results"
    with measuring(results) as process:
        await_rounds(results, 7)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    (directory,) = results.iterdir()
    run = read_run(directory)
    assert 128 + number == process.returncode
    assert "Traceback" not in err
    assert [] == [each for each in run.caveats if "torn" in each.what]
    assert "interrupted" == recorded(results)["state"]
    (line,) = [line for line in err.splitlines() if line.startswith("sidelab: ")]
    assert line.startswith("sidelab: stopped after ")
    assert f" of 1000 builds; what was measured is drawn in {directory}" in line
    assert out.startswith("This run is interrupted: it ended in build ")
    assert out.splitlines()[-1].endswith(f"{directory}/report.html")
    assert [] == list(directory.glob("*.new"))


def test_a_signal_before_the_first_round_leaves_nothing(tmp_path: Path) -> None:
    """What was not measured has no directory."""
    results = tmp_path / "results"
    with measuring(results, fault="lab-ready:hold") as process:
        await_true(lambda: recorded(results), "a directory", 60)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (143, "") == (process.returncode, out)
    assert "sidelab: stopped before anything was measured; nothing is kept" == err.splitlines()[-1]
    assert [] == list(results.iterdir())


def test_a_second_signal_ends_the_drawing(tmp_path: Path) -> None:
    """It leaves the samples, no half file, and one line more that says how to draw them."""
    results = tmp_path / "results"
    with measuring(results) as process:
        await_rounds(results, 7)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert any(line.startswith("drawing ") for line in iter(process.stderr.readline, ""))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    (directory,) = results.iterdir()
    assert 130 == process.returncode
    assert f"sidelab: stopped while drawing: `sidelab report {directory}` draws what was measured\n" == err
    assert not (directory / "report.html").exists()
    assert [] == list(directory.glob("*.new"))


def test_a_signal_that_the_parent_has_had_ignored_stays_ignored(tmp_path: Path) -> None:
    """A run in the background of a shell, or below nohup, goes on after Ctrl-C."""
    results = tmp_path / "results"
    with measuring(results, "SIG_IGN") as process:
        await_rounds(results, 2)
        process.send_signal(signal.SIGINT)
        await_rounds(results, 6)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert 143 == process.returncode
