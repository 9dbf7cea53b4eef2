"""Names that mean something to a library are text, from the plan to the exports."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import simulate

from sidelab.bench.base.samples import LoadSample, RateSample
from sidelab.bench.judge import analysis
from sidelab.bench.judge.gate import budget, gate
from sidelab.bench.plan import plan as plans
from sidelab.bench.record.reader import read_loads, read_rates
from sidelab.bench.record.records import RunWriter
from sidelab.bench.report.exports import junit, markdown, terminal
from sidelab.bench.report.present import document
from sidelab.bench.report.report import report

pytestmark = pytest.mark.slow

NAMES = ("null", "nan", "na", "none", "true", "off", "1e5", "007", "inf")
ARMS = [{"name": name} for name in ("direct", "direct-twin")] + [
    {"name": name, "server": "rules-only"} for name in NAMES
]
PLAN = plans.from_dict(
    {
        "name": "null",
        "arms": ARMS,
        "rebuilds": 3,
        "rounds": 1,
        "requests_per_round": 10,
        "warmup_requests": 1,
        "rates": [{"rate_per_s": 10}],
    },
    "here",
)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Record a simulated run of arms with such names, and loads and rates of them."""
    truth = dict.fromkeys(NAMES, simulate.TRUTH_US["direct"])
    monkeypatch.setattr(simulate, "TRUTH_US", simulate.TRUTH_US | truth)
    with RunWriter(tmp_path, PLAN, 5, datetime(2024, 2, 29, tzinfo=UTC)) as writer:
        for rows in simulate.samples(PLAN, 5):
            writer.append(rows)
        unknown = float("nan")
        for name in ("direct", *NAMES):
            writer.append_loads([LoadSample(1, name, 2, 3, 0, 9.5, 1.5, 2.5, 3.5, -1, -1)])
            rate = (10, 2, 100, 0, 10.0, 1.0, 5.0, 6.0, unknown, unknown, -1.0, -1)
            writer.append_rates([RateSample(1, name, *rate)])
    return writer.directory


def test_they_come_back_from_every_file(directory: Path):
    """Samples, loads and rates have every arm, and their unknown numbers stay unknown."""
    found = analysis.analyse(directory)
    names = [arm.name for arm in PLAN.arms]
    assert sorted(names) == sorted(found.run.samples["arm"].unique())
    assert ["direct", *NAMES] == read_loads(directory)["arm"].tolist()
    assert ["direct", *NAMES] == read_rates(directory)["arm"].tolist()
    assert read_rates(directory)["p99_us"].isna().all()
    assert names == list(dict.fromkeys(row["arm"] for row in json.loads(json.dumps(document(found)))["rows"]))


def test_they_are_drawn_judged_and_exported(directory: Path):
    """Tables, figures and page are made, and a gate's verdict has every arm as it is called."""
    *_, drawn = report(directory)
    with (directory / "summary.csv").open(encoding="utf-8", newline="") as file:
        assert [arm.name for arm in PLAN.arms] == list(dict.fromkeys(row["arm"] for row in csv.DictReader(file)))
    page = drawn.read_text(encoding="utf-8")
    assert [name for name in NAMES if f'<th scope="row">{name}</th>' in page] == list(NAMES)
    limits = budget.from_dict({"limits": [{"arm": name, "phase": "total"} for name in NAMES]}, "here")
    result = gate.against_budget(analysis.analyse(directory), limits, "here")
    assert list(NAMES) == list(dict.fromkeys(row["arm"] for row in terminal.data(result)["rows"]))
    assert [name for name in NAMES if f'classname="sidelab.{name}"' in junit.render(result)] == list(NAMES)
    assert [name for name in NAMES if f"| {name} |" in markdown.render(result)] == list(NAMES)
