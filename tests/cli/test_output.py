"""The command line's output where it is not a UTF-8 terminal with somebody in front: no verdict is lost."""

import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
import simulate
from tools import needs

from sidelab.bench.plan import plan as plans
from sidelab.bench.record.records import RunWriter
from sidelab.cli import output

ROOT = Path(__file__).parents[2]
PLAN = plans.from_dict(
    plans.as_dict(plans.load("smoke")) | {"rebuilds": 4, "requests_per_round": 8, "warmup_requests": 1}, "here"
)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
HOSTILE = {
    "ascii": ASCII,
    "c": ASCII | {"PYTHONIOENCODING": ""},
    "latin-1": ASCII | {"PYTHONIOENCODING": "latin-1"},
    "no-such-locale": {"LC_ALL": "xx_XX.UTF-9", "LC_NUMERIC": "de_DE", "TZ": ":/no/such/zone", "PYTHONUTF8": "0"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """Record a simulated run, and a budget that it does not keep."""
    with RunWriter(tmp_path_factory.mktemp("results"), PLAN, 5, datetime(2024, 2, 29, tzinfo=UTC)) as writer:
        for rows in simulate.samples(PLAN, 5):
            writer.append(rows)
    budget = writer.directory.parent / "budget.toml"
    budget.write_text('[[limits]]\narm = "tcp"\nphase = "total"\nat_most_us = 1\n', encoding="utf-8")
    return writer.directory


def sidelab(*words: str | Path, env: Mapping[str, str] | None = None, out: int = subprocess.PIPE):
    """Run the command line with standard output going to `out`."""
    command = (sys.executable, ROOT / "sidelab.py", *words)
    return subprocess.run(command, env=os.environ | (env or {}), stdout=out, stderr=subprocess.PIPE, check=False)


def judged(run: Path):
    """Return the words of a gate that finds a regression."""
    return ("gate", run, "--budget", run.parent / "budget.toml")


@pytest.mark.parametrize("where", HOSTILE)
def test_an_encoding_costs_no_verdict(run: Path, where: str):
    """Where an encoding lacks a sign another stands for it, and the exit status is the verdict."""
    done = sidelab(*judged(run), env=HOSTILE[where])
    assert (1, b"") == (done.returncode, done.stderr)
    text = done.stdout.decode("utf-8" if where == "no-such-locale" else "latin-1")
    assert "regression" in text
    assert {"latin-1": "µs [", "ascii": "us [", "c": "us ["}.get(where, " [") in text


def test_files_are_utf_8_in_any_locale(run: Path, tmp_path: Path):
    """What is written for others is the same bytes in ASCII's locale as elsewhere."""
    written = []
    for env in ({"PYTHONUTF8": "1"}, ASCII):
        files = [tmp_path / f"{kind}-{len(written)}" for kind in ("junit", "markdown")]
        assert 1 == sidelab(*judged(run), "--junit", files[0], "--markdown", files[1], env=env).returncode
        assert 0 == sidelab("report", run, env=env).returncode
        written.append([path.read_bytes() for path in (*files, run / "report.html", run / "summary.csv")])
    assert written[0] == written[1]
    assert "µs" in written[0][0].decode("utf-8")


@pytest.mark.parametrize("verb", ["gate", "show"])
def test_a_closed_pipe_costs_no_verdict(run: Path, verb: str):
    """Whoever reads a line and leaves gets no traceback, and the status is what it would have been."""
    words = judged(run) if verb == "gate" else ("show", run)
    reader, writer = os.pipe()
    os.close(reader)
    done = sidelab(*words, out=writer)
    os.close(writer)
    assert (1 if verb == "gate" else 0, b"") == (done.returncode, done.stderr)


@needs("prlimit")
def test_an_export_that_can_not_be_written_whole_stays_as_it_was(run: Path, tmp_path: Path):
    """What CI reads is the verdict of now or that of before; a file that is none is written to as it is."""
    junit = tmp_path / "junit.xml"
    assert 1 == sidelab(*judged(run), "--junit", junit).returncode
    before = junit.read_bytes()
    command = ["prlimit", "--fsize=100", sys.executable, ROOT / "sidelab.py", *judged(run), "--junit", junit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (2, [junit]) == (done.returncode, list(tmp_path.iterdir()))
    assert before == junit.read_bytes()
    assert b"<testsuites" in sidelab(*judged(run), "--junit", "/dev/stdout").stdout


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_full_disk_costs_no_verdict(run: Path, words: tuple[str, ...]):
    """The status is the verdict, and one line says that the output is not whole."""
    full = os.open("/dev/full", os.O_WRONLY)
    done = sidelab(*judged(run), *words, out=full)
    os.close(full)
    assert 1 == done.returncode
    assert b"sidelab: standard output can't be written to: No space left on device" in done.stderr
    assert 1 == done.stderr.count(b"\n")


def test_what_has_no_verdict_fails_on_a_full_disk():
    """Output that is all there is to a verb, and is lost, is a failure."""
    full = os.open("/dev/full", os.O_WRONLY)
    done = sidelab("--help", out=full)
    os.close(full)
    assert 2 == done.returncode


@needs("prlimit")
def test_what_can_not_be_written_whole_stays_as_it_was(run: Path):
    """A figure larger than there is room for costs no file that was there, and leaves no half one."""
    assert 0 == sidelab("report", run).returncode
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    command = ["prlimit", "--fsize=40000", sys.executable, ROOT / "sidelab.py", "report", run]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert re.search(r"sidelab: cannot write \S+\.(svg|png): File too large; make room", done.stderr)
    assert before == {path.name: path.read_bytes() for path in run.iterdir()}


def test_closed_streams_cost_no_verdict(run: Path):
    """A program started without standard streams judges all the same."""
    line = '"$@" <&- >&- 2>&-'
    command = ("sh", "-c", line, "sh", sys.executable, str(ROOT / "sidelab.py"), *map(str, judged(run)))
    assert 1 == subprocess.run(command, check=False).returncode


def test_messages_that_nobody_reads_cost_no_status(tmp_path: Path):
    """An error whose reader is gone has its status all the same."""
    reader, writer = os.pipe()
    os.close(reader)
    command = (sys.executable, ROOT / "sidelab.py", "show", tmp_path)
    done = subprocess.run(command, stdout=writer, stderr=writer, check=False)
    os.close(writer)
    assert 2 == done.returncode


def test_a_name_that_is_no_text_is_shown_and_drawn(run: Path, tmp_path: Path):
    """A directory's name may be any bytes: it is printed as they are, and the page has an escape."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/run-\xff"))
    odd.symlink_to(run)
    done = sidelab("report", odd, env={"PYTHONUTF8": "1"})
    assert (0, True) == (done.returncode, b"run-\xff/report.html\n" in done.stdout)
    assert "run-\\xff" in (odd / "report.html").read_text(encoding="utf-8")


def test_signs_have_stand_ins():
    """A real encoder uses the table's plain signs, and a question mark for the rest."""
    output.open_standard()
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="sidelab")
    stream.write("±2 µs × 3 – \N{MINUS SIGN}1 ≤ 4 → é")
    stream.flush()
    assert b"+/-2 us x 3 - -1 <= 4 -> ?" == stream.buffer.getvalue()


def test_a_line_that_a_signal_interrupts_is_written_once(tmp_path: Path):
    """What was written before a signal's exception came out of the write is not written again by the next."""

    class Interrupted(output._Messages):
        def write(self, data: bytes, /) -> int:
            written = super().write(data)
            if data == b"first\n":
                raise KeyboardInterrupt
            return written

    file = tmp_path / "stderr"
    with file.open("w", encoding="utf-8") as opened:
        stream = output._tolerant(opened, Interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.write("first\n")
        stream.write("second\n")
    assert "first\nsecond\n" == file.read_text()
