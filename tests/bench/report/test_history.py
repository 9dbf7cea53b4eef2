from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import simulate

from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record.records import RunWriter
from sidelab.bench.report.history import history
from sidelab.lab.errors import InputError

pytestmark = pytest.mark.slow

PLAN = plans.from_dict(
    plans.as_dict(plans.load("smoke")) | {"rebuilds": 2, "requests_per_round": 8, "warmup_requests": 1}, "here"
)
OTHER = plans.from_dict(plans.as_dict(PLAN) | {"requests_per_round": 9}, "here")


def record(results: Path, hour: int, plan: Plan = PLAN, *, rounds: int | None = None, kernel: str = "6.1"):
    """Record a run of that hour, all of it or its first rounds."""
    started = datetime(2024, 2, 29, tzinfo=UTC) + timedelta(hours=hour)
    with RunWriter(results, plan, hour, started) as writer:
        writer.describe(environment={"kernel": kernel, "cpu_model": "AMD EPYC"})
        for rows in simulate.samples(plan, hour)[:rounds]:
            writer.append(rows)
    return writer.directory


def test_runs_of_one_plan_are_one_figure(tmp_path: Path):
    """A figure a plan, beside the runs; a plan measured once has none, and equal names are told apart by the digest."""
    for hour, plan in enumerate((PLAN, PLAN, OTHER)):
        record(tmp_path, hour, plan)
    name = f"history-smoke-{PLAN.digest[:8]}"
    assert [tmp_path / f"{name}.svg", tmp_path / f"{name}.png"] == history(tmp_path)
    (tmp_path / f"{name}.svg").unlink()
    record(tmp_path, 3, OTHER)
    assert 4 == len(history(tmp_path))


def test_same_bytes_from_same_runs(tmp_path: Path):
    """Drawn twice, a history is the same byte for byte; what is not complete or not readable does not disturb it."""
    for hour in range(3):
        record(tmp_path, hour, kernel="6.2" if hour == 2 else "6.1")
    record(tmp_path, 3, rounds=2)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text("{}")
    first = [path.read_bytes() for path in history(tmp_path)]
    assert first == [path.read_bytes() for path in history(tmp_path)]
    assert {"history-smoke.svg", "history-smoke.png"} == {path.name for path in history(tmp_path)}


def test_a_single_run_is_no_history(tmp_path: Path):
    """With no plan measured twice there is one message, and nothing is written."""
    record(tmp_path, 0)
    with pytest.raises(InputError, match="1 complete runs and no plan twice"):
        history(tmp_path)
    assert [] == list(tmp_path.glob("history*"))
