import hashlib
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import drawn
import msgspec
import pandas as pd
import pytest
import simulate

from sidelab.bench.base.samples import RequestSample
from sidelab.bench.judge.analysis import analyse
from sidelab.bench.judge.summary import SUMMARY_COLUMNS
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record import environment
from sidelab.bench.record.records import RATES, SAMPLES, RunWriter
from sidelab.bench.report.report import report
from sidelab.lab.errors import InputError

pytestmark = pytest.mark.slow

PLAN = plans.from_dict(
    plans.as_dict(plans.load("smoke")) | {"rebuilds": 4, "requests_per_round": 8, "warmup_requests": 1}, "here"
)
ROUNDS = simulate.samples(PLAN, 5)
FIGURES = ["overhead.svg", "overhead.png", "phases.svg", "phases.png", "ecdf.svg", "ecdf.png"]
WRITTEN = ["summary.csv", *FIGURES, "report.html"]


def record(results: Path, rounds: list[list[RequestSample]], plan: Plan = PLAN):
    """Record a run with an environment and a caveat, and return its directory."""
    with RunWriter(results, plan, 5, datetime(2024, 2, 29, tzinfo=UTC)) as writer:
        machine = environment.read()
        writer.describe(
            environment=msgspec.to_builtins(machine),
            placement={"client_cpu": 1, "lab_cpus": [0]},
            caveats=[{"what": "a doubt", "cure": "a cure"}],
        )
        for rows in rounds:
            writer.append(rows)
    return writer.directory


def digests(paths: Iterable[Path]):
    """Hash files by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_needs_neither_lab_nor_sidecar():
    """Reporting needs of lab its errors and how text is read, shown and replaced, nothing of sidecar, and no pyplot."""
    program = "import sys, sidelab.bench.report.report; print(*sorted(sys.modules))"
    root = Path(__file__).parents[3]
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True)
    loaded = [name for name in ran.stdout.split() if name.startswith(("sidelab.lab", "sidelab.sidecar", "pyroute2"))]
    assert [
        "sidelab.lab",
        "sidelab.lab.base",
        "sidelab.lab.base.replace_file",
        "sidelab.lab.base.text",
        "sidelab.lab.base.text.escapes",
        "sidelab.lab.base.text.textfile",
        "sidelab.lab.errors",
    ] == loaded
    assert "matplotlib.pyplot" not in ran.stdout.split()


def test_same_bytes_from_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Drawn twice, summary, figures and page are the same byte for byte, and nothing is printed."""
    directory = record(tmp_path, ROUNDS)
    first = report(directory)
    before = digests(first)
    assert WRITTEN == list(before)
    assert before == digests(report(directory))
    assert ("", "") == capsys.readouterr()
    assert all(path.parent == directory for path in first)


def test_summary_csv_is_the_summary(tmp_path: Path):
    """summary.csv has the documented columns and a row per arm, connection and phase."""
    directory = record(tmp_path, ROUNDS)
    table = pd.read_csv(report(directory)[0])
    assert list(SUMMARY_COLUMNS) == list(table.columns)
    expected = [row.overhead_us for row in analyse(directory).summary.values()]
    assert expected == pytest.approx(table["overhead_us"].tolist(), abs=1e-4, nan_ok=True)


@pytest.mark.parametrize("rounds", [2, 5])
def test_interrupted_runs_are_drawn_and_labelled(tmp_path: Path, rounds: int):
    """A run cut after its first measured round, or in a later warm-up, is drawn and says that it is interrupted."""
    directory = record(tmp_path, ROUNDS[:rounds])
    done = analyse(directory)
    assert done.answer.warnings[0].startswith("This run is interrupted: it ended in build ")
    assert "this run is interrupted" in " ".join(caveat.what for caveat in done.caveats)
    assert WRITTEN == [path.name for path in report(directory)]


def test_cut_in_its_first_warmup(tmp_path: Path):
    """A run that never got to a measured round has nothing to report, and says so in one message."""
    with pytest.raises(InputError, match="cut during its first warm-up"):
        report(record(tmp_path, ROUNDS[:1]))


def test_without_its_reference_a_run_says_nothing(tmp_path: Path):
    """Samples from which the arm is missing that all are compared with are refused, with the cure."""
    rounds = [[row for row in rows if row.arm != "direct"] for rows in ROUNDS]
    with pytest.raises(InputError, match="holds no measured request of direct, which all others are compared with"):
        report(record(tmp_path, rounds))


def test_a_directory_that_cannot_be_written_to(tmp_path: Path):
    """What the disk says is one message with the file and the cure."""
    directory = record(tmp_path, ROUNDS)
    (directory / "summary.csv").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*summary\.csv: Is a directory; make room, or give another"):
        report(directory)


def test_torn_run_is_drawn(tmp_path: Path):
    """A run whose last round is torn is drawn from the rounds before it, with the caveat under its figures."""
    directory = record(tmp_path, ROUNDS)
    path = directory / SAMPLES
    path.write_bytes(path.read_bytes()[:-5])
    assert any("are torn" in caveat.what for caveat in analyse(directory).caveats)
    assert WRITTEN == [path.name for path in report(directory)]


def test_a_plan_of_one_connection_is_drawn(tmp_path: Path):
    """A plan without keep-alive gets the same figures with fewer panels."""
    plan = plans.from_dict(plans.as_dict(PLAN) | {"connections": ["new"]}, "here")
    assert WRITTEN == [path.name for path in report(record(tmp_path, simulate.samples(plan, 5), plan))]


def test_what_a_plan_takes_apart_is_written_and_drawn(tmp_path: Path):
    """A plan with terms gets their table and a waterfall besides."""
    plan = plans.from_dict(plans.as_dict(PLAN) | {"terms": [{"name": "TCP", "arm": "tcp"}]}, "here")
    directory = record(tmp_path, simulate.samples(plan, 5), plan)
    names = [path.name for path in report(directory)]
    assert {"decomposition.csv", "waterfall.svg", "waterfall.png"} == set(names) - set(WRITTEN)
    written = pd.read_csv(directory / "decomposition.csv")
    assert [term.phase for term in analyse(directory).terms] == written["phase"].tolist()


def test_an_open_loop_is_drawn(tmp_path: Path):
    """A run with rates.csv gets the figure of its rates, torn last line or not."""
    asked = {"rebuilds": 5, "rates": [{"rate_per_s": each} for each in (1000, 2000)]}
    directory = record(tmp_path, ROUNDS, plans.from_dict(plans.as_dict(PLAN) | asked, "here"))
    rates = drawn.rates((1000, 2000), {"direct": 60.0, "tcp": 180.0}, {"direct": 60_000, "tcp": 14_000})
    (directory / RATES).write_text(rates.to_csv(index=False) + "3,tcp,10")
    assert {"rates.svg", "rates.png"} == {path.name for path in report(directory)} - set(WRITTEN)
