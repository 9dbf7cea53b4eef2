"""A run that a stranger has written: refused with what is wrong, within bounds, or shown without harm."""

import gzip
import html
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import simulate
from hypothesis import given
from hypothesis import strategies as st

from sidelab.bench.base import intake
from sidelab.bench.base.samples import COLUMNS, HEADER, RATE_COLUMNS, ROUND_COLUMNS
from sidelab.bench.judge import analysis
from sidelab.bench.plan import plan as plans
from sidelab.bench.record.reader import read_run
from sidelab.bench.record.records import LOADS, RATES, ROUNDS, RUN_JSON, SAMPLES, RunWriter, write_whole
from sidelab.bench.report.history import history
from sidelab.bench.report.page import about
from sidelab.bench.report.page.html import element
from sidelab.bench.report.present import document, present
from sidelab.lab.base.text import escapes
from sidelab.lab.errors import InputError

PLAN = plans.from_dict(
    plans.as_dict(plans.load("smoke")) | {"rebuilds": 2, "requests_per_round": 4, "rounds": 1, "warmup_requests": 1},
    "x",
)
EVIL = '\x1b]0;x\x07\u202e"><script>x</script>$(touch x)`touch x`\n::error::x'
ROW = dict(zip(COLUMNS, ["1", "1", "0", "direct", "new", "", "1.0", "", "2.0", "3.0", "4.0", "200", "1"], strict=True))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Record a simulated run."""
    with RunWriter(tmp_path, PLAN, 5, datetime(2024, 2, 29, tzinfo=UTC)) as writer:
        for rows in simulate.samples(PLAN, 5):
            writer.append(rows)
    return writer.directory


def refused(directory: Path) -> str:
    """Return why a run is refused."""
    with pytest.raises(InputError) as refusal:
        read_run(directory)
    return str(refusal.value)


def change(directory: Path, **facts: Any) -> None:
    """Replace facts of run.json."""
    path = directory / RUN_JSON
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | facts), encoding="utf-8")


def put(directory: Path, **cells: str) -> None:
    """Have the samples end with a row that has these cells."""
    line = ",".join((ROW | cells).values())
    (directory / SAMPLES).write_bytes(gzip.compress(f"{HEADER}{line}\n".encode()))


def test_all_that_is_wrong_with_the_facts_is_said_at_once(directory: Path):
    """Each with its key, the type that it has to have, and the file."""
    change(
        directory, caveats=[{"what": 1, "cure": "x"}], placement={"client_cpu": 1, "lab_cpus": 3}, images=[], state=7
    )
    said = refused(directory)
    assert all(f"{key}: Expected" in said for key in ("caveats[0].what", "placement.lab_cpus", "images", "state"))
    assert str(directory / RUN_JSON) in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"schema": ' + b"[" * 100_000, "nested deeper than"),
        (b'{"a": ' * 100 + b"1" + b"}" * 100, "nested deeper than"),
        (b'{"schema": NaN}', "NaN is not a number"),
        (b'{"schema": 1e999}', "no number that can be reckoned with"),
        (b'{"schema": ' + b"1" * 5000 + b"}", "is not JSON"),
        (b'{"schema": 1, "schema": 1}', "the key 'schema' is there twice"),
        (b"\xff\xfe{", "is not JSON"),
        (b'{"a": "' + b"x" * 4001 + b'"}', "a text of 4,001 characters"),
        (b'{"a": "' + b"x" * intake.MAX_JSON_BYTES + b'"}', "larger than 4,194,304 bytes"),
    ],
)
def test_what_is_no_json_of_ours_is_refused(directory: Path, text: bytes, said: str):
    """Nested, endless, twice, no number: one message, and no traceback."""
    (directory / RUN_JSON).write_bytes(text)
    assert said in refused(directory)


@pytest.mark.parametrize(
    "plan",
    [
        {"rebuilds": 10**9},
        {"arms": [{"name": f"a{number}"} for number in range(300)]},
        {"terms": [{"name": "=HYPERLINK(1)", "arm": "tcp"}]},
        {"name": "../../x"},
        {"margin_us": -1},
    ],
    ids=lambda plan: next(iter(plan)),
)
def test_a_plan_that_no_bench_takes_is_refused(directory: Path, plan: dict[str, Any]):
    """It is read as strictly as a plan of the user's own."""
    change(directory, plan=plans.as_dict(PLAN) | plan)
    assert str(directory / RUN_JSON) in refused(directory)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"total_us": "inf"}, "total_us of row 1 is inf"),
        ({"total_us": "-4"}, "total_us of row 1 is -4"),
        ({"total_us": "1e308"}, "total_us of row 1 is 1e+308"),
        ({"rebuild": "inf"}, "not a number"),
        ({"bytes": "nan"}, "not a number"),
        ({"rebuild": "99"}, "rebuild of row 1 is 99, and may be 1 to 2"),
        ({"round": "-1"}, "round of row 1 is -1"),
        ({"bytes": "9223372036854775807"}, "bytes of row 1"),
        ({"bytes": "9223372036854775808"}, "not a number"),
        ({"connection": "x\x1b"}, "connections that its plan does not have"),
        ({"arm": "y" * 1000}, "arms that its plan does not have: " + "y" * 40 + ";"),
        ({"arm": "a", "status": "1000", "connection": "z"}, "status of row 1 is 1000"),
    ],
    ids=lambda case: "-".join(case) if isinstance(case, dict) else "",
)
def test_what_no_request_can_have_is_refused(directory: Path, cells: dict[str, str], said: str):
    """Column, row and range are said, and a name from elsewhere only as far as it is short."""
    put(directory, **cells)
    assert said in refused(directory)


@pytest.mark.parametrize(
    ("name", "columns", "row", "said"),
    [
        (ROUNDS, ROUND_COLUMNS, ["1", "1", "inf", "0", "1", "1", "1"], "duration_s of row 1 is inf"),
        (ROUNDS, ROUND_COLUMNS, ["9", "1", "1", "0", "1", "1", "1"], "rebuild of row 1 is 9"),
        (RATES, RATE_COLUMNS, ["1", "evil", "7", *["1"] * 11], "arms that its plan does not have: evil; rate_per_s"),
        (LOADS, ("x", "x"), ["1", "1"], "has other columns"),
    ],
)
def test_what_no_table_can_have_is_refused(
    directory: Path, name: str, columns: tuple[str, ...], row: list[str], said: str
):
    """As with samples, every problem of the file at once."""
    (directory / name).write_text(f"{','.join(columns)}\n{','.join(row)}\n", encoding="ascii")
    assert said in refused(directory)


def test_more_than_was_planned_is_refused(directory: Path):
    """A file of whole rounds that is longer than its plan."""
    rows = "".join(",".join((ROW | {"position": str(number)}).values()) + "\n" for number in range(PLAN.requests + 1))
    (directory / SAMPLES).write_bytes(gzip.compress((HEADER + rows).encode()))
    assert f"{PLAN.requests + 1} requests, {PLAN.requests} were planned" in refused(directory)


@pytest.mark.parametrize("members", [1, 50])
def test_what_is_compressed_is_bounded_before_it_is_inflated(directory: Path, members: int):
    """A thousandth of what it stands for, it is given up at the size that the plan allows."""
    bomb = HEADER.encode() + b"1" * ((8 << 20) // members)
    (directory / SAMPLES).write_bytes(gzip.compress(bomb) * members)
    assert "holds more than its plan can have recorded" in refused(directory)


def test_empty_members_end_the_reading(directory: Path):
    """Millions of them would take minutes, and a run writes none."""
    path = directory / SAMPLES
    path.write_bytes(path.read_bytes() + gzip.compress(b"") * 2)
    assert "two files joined" in refused(directory)


@pytest.mark.parametrize("name", [RUN_JSON, SAMPLES, ROUNDS])
@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo, Path.mkdir])
def test_only_regular_files_are_read(directory: Path, name: str, make: Callable[[Path], None]):
    """No link to a file whose content a message could tell, and nothing that is waited for."""
    path = directory / name
    path.unlink(missing_ok=True)
    make(path)
    assert any(said in refused(directory) for said in ("symbolic link", "not a regular file"))


def test_what_is_drawn_goes_through_no_link(tmp_path: Path):
    """A file's draft is made anew, never followed."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".report.html.new").symlink_to(victim)
    (tmp_path / "report.html").symlink_to(victim)
    write_whole(tmp_path / "report.html", "page")
    assert ("mine", "page", False) == (
        victim.read_text(),
        (tmp_path / "report.html").read_text(),
        (tmp_path / ".report.html.new").exists(),
    )


def test_facts_are_shown_without_harm(directory: Path, capsys: pytest.CaptureFixture[str]):
    """What they say is escaped once it is read: on the terminal, as JSON, in figures' texts, on the page."""
    environment = {"cpu_model": EVIL, "kernel": EVIL, "git_revision": EVIL, "packages": {EVIL: EVIL}}
    caveats = [{"what": EVIL, "cure": EVIL}]
    change(directory, environment=environment, caveats=caveats, client=EVIL, images={EVIL: EVIL}, seed=1)
    found = analysis.analyse(directory)
    present(found)
    page = "".join([*about.repeat(found.run), about.environment(found.run.facts), about.caveats(found.caveats)])
    for shown in (capsys.readouterr().out, json.dumps(document(found), ensure_ascii=False), page):
        assert "\\x1b]0;x\\x07\\u202e" in shown.replace("\\\\", "\\")
        assert shown.replace("\n", "").isprintable()
    assert "<script" not in page
    commands = html.unescape(page).partition("</code>")[0].splitlines()
    assert "git checkout '" in commands[0]
    assert "--client '" in commands[1]


def test_a_history_leaves_out_what_it_can_not_read(directory: Path):
    """A stranger's run among others costs only itself."""
    change(directory, caveats=7)
    with pytest.raises(InputError, match="0 complete runs"):
        history(directory.parent)


@given(st.text())
def test_text_is_text_on_a_page(text: str):
    """As a child and as an attribute: the browser finds the element that was made, and the text in it."""
    found: list[tuple[str, Any]] = []

    class Seen(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, attrs))

        def handle_data(self, data: str) -> None:
            found.append(("", data))

    shown = escapes.line(text)
    parser = Seen()
    parser.feed(element("p", shown, title=shown))
    parser.close()
    assert [("p", [("title", shown)])] == [each for each in found if each[0]]
    assert shown == "".join(each[1] for each in found if not each[0])


@pytest.mark.parametrize("what", [b"a = " + b"[" * 5000, b"#" * (2 << 20), b"a = 1" + b"0" * 5000])
def test_a_plan_or_budget_of_a_stranger_is_one_message(tmp_path: Path, what: bytes):
    """Nested or endless."""
    path = tmp_path / "plan.toml"
    path.write_bytes(what)
    with pytest.raises(InputError, match=str(path)):
        plans.load(str(path))
