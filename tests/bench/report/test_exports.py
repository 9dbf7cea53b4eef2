import json
import re
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import simulate
from hypothesis import example, given
from hypothesis import strategies as st

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge import summary
from sidelab.bench.judge.gate.gate import GateResult, GateRow
from sidelab.bench.judge.verdict import GateOutcome
from sidelab.bench.plan import plan as plans
from sidelab.bench.record.records import RUN_JSON, SAMPLES, RunWriter
from sidelab.bench.report.exports import Files, action_benchmark, github_annotations, junit, markdown, terminal, write
from sidelab.cli.main import main
from sidelab.lab.errors import InputError

NAN = float("nan")


def row(arm: str, verdict: GateOutcome, difference_us: float, limit: str = "at most 40 µs"):
    """Make a row whose interval is 1 µs to both sides."""
    low, high = difference_us - 1, difference_us + 1
    return GateRow(
        arm, "direct", "new", "total", 10, difference_us, low, high, limit, 40.0, 0.01, 0.5, 0.0, 1.5, verdict
    )


ROWS = (
    row("fast", GateOutcome.PASS, 20.0),
    row("slow", GateOutcome.REGRESSION, 52.5, "at most 25 %"),
    row("vague", GateOutcome.INCONCLUSIVE, NAN),
)
OVERHEAD = summary.SummaryRow(
    "slow", "new", "total", 400, 142.0, 150.0, NAN, 10, 52.53, 51.5, 53.5, 0.0, 0.5, 2.0, 2.0, True, "changed"
)
NASTY = Caveat("a | b, 100 %: <b>c</b>\n& \x01", "cure\r\nit")
RESULT = GateResult("run-1", "budget.toml", ROWS, (OVERHEAD, OVERHEAD._replace(overhead_us=NAN)), (NASTY,), (NASTY,))
GREEN = GateResult("run-1", "budget.toml", ROWS[:1], (), (), ())


def test_junit_is_read_by_a_parser():
    """A real parser finds a case per row and doubt: one plain, one failed, one skipped, with true counts."""
    top = ET.fromstring(junit.render(RESULT))  # noqa: S314 - our own
    (suite,) = top
    for each in (top, suite):
        assert ("4", "1", "2", "0") == tuple(each.attrib[name] for name in ("tests", "failures", "skipped", "errors"))
    cases = suite.findall("testcase")
    assert ["sidelab.fast", "sidelab.slow", "sidelab.vague", "sidelab.run"] == [each.get("classname") for each in cases]
    assert [["system-out"], ["failure"], ["skipped"], ["skipped"]] == [[part.tag for part in each] for each in cases]
    failure = cases[1].find("failure")
    assert failure is not None
    assert "+52.5 µs [+51.5, +53.5], at most 25 %; 1.5 µs more would have shown" == failure.get("message")
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert "regression" == properties["verdict"]
    assert "a | b, 100 %: <b>c</b>" in str(properties["caveat"])


def test_json_is_read_by_a_parser():
    """The verdict as JSON has every row, null for the unknown, and the status that the command ends with."""
    found = json.loads(terminal.as_json(RESULT))
    assert ("regression", 1, 1) == (found["verdict"], found["exit_status"], found["schema"])
    assert [20.0, 52.5, None] == [each["difference_us"] for each in found["rows"]]
    assert ["pass", "regression", "inconclusive"] == [each["verdict"] for each in found["rows"]]
    assert [{"what": NASTY.what, "cure": NASTY.cure}] == found["doubts"]


def test_action_benchmark_golden():
    """github-action-benchmark gets name, unit, value, range and extra of each known overhead, and nothing else."""
    expected = {
        "name": "slow, new, total: added",
        "unit": "µs",
        "value": 52.53,
        "range": "± 1.0",
        "extra": "95 % interval over 10 rebuilds\nnoise floor 0.5 µs\nverdict changed\nrun run-1",
    }
    assert [expected] == json.loads(action_benchmark.render(RESULT))


HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
FOREIGN = st.lists(
    st.one_of(
        st.characters(), st.sampled_from("|`*_[]()<>#@&$!\\:\r\n\x1b\u202e"), st.sampled_from(("::", "://", "www."))
    ),
    max_size=20,
).map("".join)


def of(foreign: str) -> GateResult:
    """Make a result in which everything that is free text is `foreign`."""
    doubt = Caveat(foreign, foreign)
    return GateResult(foreign, foreign, ROWS, (OVERHEAD,), (doubt,), (doubt, doubt))


@given(FOREIGN)
@example("\udcff\ud800")
@example("\t")
@example("]]></failure><testcase name='x'/>")
def test_no_text_adds_to_a_verdict(foreign: str):
    """JUnit has the same elements, annotations stay lines, JSON is JSON, and of control characters only tabs stay."""
    found = of(foreign)
    plain = of("plain")
    tags = [[each.tag for each in ET.fromstring(junit.render(of_)).iter()] for of_ in (found, plain)]  # noqa: S314 - ours
    assert tags[0] == tags[1]
    lines = github_annotations.render(found).split("\n")
    assert [line[:9] for line in github_annotations.render(plain).split("\n")] == [line[:9] for line in lines]
    assert foreign == json.loads(terminal.as_json(found))["run"]
    for rendered in (github_annotations.render(found), markdown.render(found), terminal.as_json(found)):
        assert [] == [sign for sign in rendered if unicodedata.category(sign) in HIDDEN and sign not in "\n\t"]
        rendered.encode("utf-8")


@given(FOREIGN)
@example("@everyone see https://evil.example or www.evil.example, fixes #1 and GH-2")
@example("![x](http://a) <img src=x> | a | `b` $c$")
@example("a\n\n# b\n- c")
def test_no_text_is_markup_to_markdown(foreign: str):
    """The page has the same lines, each sign that means something is escaped, and nothing becomes a link."""
    rendered, plain = markdown.render(of(foreign)), markdown.render(of("plain"))
    assert plain.count("\n") == rendered.count("\n")
    unescaped = re.compile(r"(?<!\\)(?:\\\\)*([`*_{}<>\[\]~$])")
    assert 1 == len({tuple(unescaped.findall(each.replace("<!-- -->", ""))) for each in (plain, rendered)})
    table = [line for line in rendered.split("\n") if line.startswith("| ")]
    assert {8} == {len(re.findall(r"(?<!\\)\|", line)) - 1 for line in table}
    assert not re.search(r"@\w|\w://|www\.|#\d|GH-\d", rendered, re.IGNORECASE)


def test_annotations_golden():
    """The sentence comes first; percent signs and line ends are encoded, in titles colons, too; a line a command."""
    expected = (
        "::error title=sidelab gate::Regression: 1 of 3 rows exceed budget.toml, most of all slow, new, total with "
        "+52.5 µs [+51.5, +53.5] against direct (at most 25 %25).\n"
        "::error title=sidelab gate%3A regression::slow, new, total: +52.5 µs [+51.5, +53.5] against direct "
        "(at most 25 %25)\n"
        "::warning title=sidelab gate%3A inconclusive::vague, new, total: ? µs [?, ?] against direct (at most 40 µs)\n"
        "::warning title=sidelab gate%3A doubt::a | b, 100 %25: <b>c</b>%0A& \\x01 (cure\\x0d%0Ait)\n"
    )
    assert expected == github_annotations.render(RESULT)
    assert "::notice title=sidelab gate::Pass: all 1 rows keep to budget.toml.\n" == github_annotations.render(GREEN)


def test_markdown_golden():
    """The table has a line a row; what Markdown or HTML would take for markup is escaped, and stays on its line."""
    expected = r"""### ❌ Interception gate: regression

Regression: 1 of 3 rows exceed budget.toml, most of all slow, new, total with +52.5 µs \[+51.5, +53.5\] against direct (at most 25 %).

|  | arm | against | connection | phase | difference [95 %] | limit | smallest visible |
| --- | --- | --- | --- | --- | --- | --- | --- |
| ✅ pass | fast | direct | new | total | +20.0 µs \[+19.0, +21.0\] | at most 40 µs | 1.5 µs |
| ❌ regression | slow | direct | new | total | +52.5 µs \[+51.5, +53.5\] | at most 25 % (40.0 µs) | 1.5 µs |
| ❔ inconclusive | vague | direct | new | total | ? µs \[?, ?\] | at most 40 µs | 1.5 µs |

Doubts:
""".splitlines()  # noqa: E501 - a paragraph is a line
    lines = markdown.render(RESULT).splitlines()
    assert expected == lines[: len(expected)]
    assert "- a \\| b, 100 %: \\<b\\>c\\</b\\> \\& \\\\x01 (cure it)" == lines[len(expected) + 1]


def test_text_has_table_sentence_and_doubts():
    """A terminal gets aligned columns, the sentence, then doubts and notes."""
    lines = terminal.render(RESULT).splitlines()
    assert ["ARM", "fast", "slow", "vague"] == [line.split()[0] for line in lines[:4]]
    assert lines[0].index("VERDICT") == lines[2].index("regression")
    assert lines[5].startswith("Regression: 1 of 3 rows")
    assert (
        terminal.render(GateResult("a", "b", (), (), (Caveat("x", "y"),), ()))
        == "Inconclusive against b: there is a reason to distrust the comparison.\ndoubt: x (y)\n"
    )


def test_files_are_replaced_and_the_step_summary_grows(tmp_path: Path):
    """Written twice, a file has one verdict and the job's summary two."""
    files = Files(junit=tmp_path / "gate.xml", step_summary=tmp_path / "summary.md")
    for _ in range(2):
        write(RESULT, files)
    assert junit.render(RESULT) == (tmp_path / "gate.xml").read_text()
    assert 2 * markdown.render(RESULT) == (tmp_path / "summary.md").read_text()
    with pytest.raises(InputError, match="cannot write"):
        write(RESULT, Files(markdown=tmp_path))


PLAN = plans.from_dict(
    plans.as_dict(plans.load("smoke")) | {"rebuilds": 4, "requests_per_round": 8, "warmup_requests": 1}, "here"
)
ROUNDS = simulate.samples(PLAN, 5)


@pytest.fixture
def recorded(tmp_path: Path):
    """Record a run, and write a budget that its http arm keeps and its tcp arm does not."""
    with RunWriter(tmp_path, PLAN, 5, datetime(2024, 2, 29, tzinfo=UTC)) as writer:
        for rows in ROUNDS:
            writer.append(rows)
    for name, limit in (("green", 500), ("red", 10)):
        (tmp_path / f"{name}.toml").write_text(f'[[limits]]\narm = "http"\nphase = "total"\nat_most_us = {limit}\n')
    return writer.directory


def gate(monkeypatch: pytest.MonkeyPatch, *arguments: object):
    """Run the verb `gate`, and return its exit status."""
    monkeypatch.setattr("sys.argv", ["sidelab", "gate", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_the_verb(recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """`sidelab gate` ends with 0 or 1, writes what is asked for, and keeps JSON apart from annotations."""
    directory = recorded.parent
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(directory / "summary.md"))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert 0 == gate(monkeypatch, recorded, "--budget", directory / "green.toml", "--junit", directory / "gate.xml")
    assert "Pass: all 2 rows keep to" in capsys.readouterr().out
    assert '<testsuite name="sidelab gate 20240229T000000Z-smoke" tests="2"' in (directory / "gate.xml").read_text()
    assert 1 == gate(monkeypatch, recorded, "--budget", directory / "red.toml", "--json", "--annotations")
    said = capsys.readouterr()
    assert "regression" == json.loads(said.out)["verdict"]
    assert said.err.startswith("::error title=sidelab gate::Regression: 2 of 2 rows")
    assert ["pass", "regression"] == [
        line.rpartition(" ")[2]
        for line in (directory / "summary.md").read_text().splitlines()
        if line.startswith("###")
    ]


def test_the_verb_on_what_is_no_run(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """An empty directory, samples of another schema, two schemas in one, a torn run: 2 or 4, one message each."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    budget = recorded.parent / "green.toml"
    empty = recorded.parent / "empty"
    empty.mkdir()
    samples, facts = recorded / SAMPLES, recorded / RUN_JSON
    whole, said = samples.read_bytes(), facts.read_text()

    assert 2 == gate(monkeypatch, empty, "--budget", budget)
    assert capsys.readouterr().err.startswith("sidelab: cannot read ")

    samples.write_bytes(whole + whole)
    assert 2 == gate(monkeypatch, recorded, "--budget", budget)
    assert "two files joined" in capsys.readouterr().err

    samples.write_bytes(whole)
    facts.write_text(said.replace('"schema": 1', '"schema": 2'))
    assert 2 == gate(monkeypatch, recorded, "--budget", budget)
    assert "schema 2, this version reads 1" in capsys.readouterr().err

    facts.write_text(said)
    samples.write_bytes(whole[:-8])
    assert 4 == gate(monkeypatch, recorded, "--budget", budget)
    assert "planned requests are recorded" in capsys.readouterr().out
