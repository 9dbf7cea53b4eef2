"""One analysis of a run: what is asked for is computed once, and for all who ask."""

import dataclasses
from pathlib import Path
from typing import Any

import drawn
import gating
import pytest

from sidelab.bench.judge import analysis, statistics
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.gate import budget
from sidelab.bench.judge.gate.gate import against_budget
from sidelab.bench.record.reader import read_run
from sidelab.bench.report import figures, page
from sidelab.bench.report.present import document, present
from sidelab.bench.report.report import report

ARMS = [
    {"name": "tcp", "server": "injected", "proxy": "bundled", "protocol": "tcp"},
    {"name": "http", "server": "injected", "proxy": "bundled", "protocol": "http"},
]
REFERENCE = Path(__file__).parents[3] / "results" / "reference"


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch):
    """List the arms against which medians of lab builds are computed."""
    asked: list[str] = []
    compute = statistics.rebuild_medians

    def noted(samples: Any, reference: str) -> Any:
        asked.append(reference)
        return compute(samples, reference)

    monkeypatch.setattr(statistics, "rebuild_medians", noted)
    return asked


def test_nothing_is_computed_before_it_is_asked_for(computed: list[str]):
    """An analysis that nobody has asked anything costs nothing."""
    Analysis(gating.run(1))
    assert [] == computed


@pytest.mark.slow
def test_medians_are_computed_once_for_all_who_ask(
    computed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Terminal, JSON, figures and page together compute the medians once against each arm that the plan compares to."""
    of = drawn.plan(ARMS, terms=[{"name": "TCP", "arm": "tcp"}, {"name": "HTTP", "arm": "http", "against": "tcp"}])
    found = drawn.run(of, {"tcp": 100.0, "http": 50.0})
    present(found)
    assert "HTTP" in capsys.readouterr().out
    assert found.answer.headline == document(found)["answer"]["headline"]
    assert found.answer.headline in page.render(found, figures.draw(found, tmp_path))
    assert ["direct", "tcp"] == sorted(computed)


def test_a_gate_computes_what_it_judges_once(computed: list[str]):
    """Two limits against one arm need its medians once; the reference's are those of the summary."""
    limits = [{"arm": "head", "against": "base"}, {"arm": "head"}, {"arm": "base"}]
    against_budget(Analysis(gating.run(1)), budget.from_dict({"limits": limits}, "budget.toml"), "budget.toml")
    assert ["base", "direct"] == sorted(computed)


def test_an_analysis_does_not_change():
    """Its run can't be replaced, and who asks twice gets the same table."""
    found = Analysis(gating.run(1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.run = gating.run(2)  # type: ignore[misc]
    for name in ("summary", "builds", "levels", "terms", "ratios", "caveats", "answer"):
        assert getattr(found, name) is getattr(found, name)
    assert found.medians_against("base") is found.medians_against("base")


@pytest.mark.slow
def test_a_report_reads_its_run_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Tables, figures and page come out of one reading of the files."""
    read: list[Path] = []

    def noted(directory: Path) -> Any:
        read.append(directory)
        return read_run(directory)

    monkeypatch.setattr(analysis, "read_run", noted)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("run.json", "samples.csv.gz", "rounds.csv"):
        (copy / name).write_bytes((REFERENCE / name).read_bytes())
    report(copy)
    assert [copy] == read
