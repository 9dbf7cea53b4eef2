import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import simulate

from sidelab.bench.base.samples import COLUMNS, HEADER, LoadSample, RequestSample, RoundSample, encode
from sidelab.bench.plan import plan as plans
from sidelab.bench.record.reader import read_loads, read_rounds, read_run, read_samples
from sidelab.bench.record.records import RUN_JSON, SAMPLES, RunWriter
from sidelab.lab.errors import InputError

NOON = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)
PLAN = plans.from_dict(
    plans.as_dict(plans.load("smoke")) | {"rebuilds": 2, "requests_per_round": 3, "warmup_requests": 1}, "here"
)
ROUNDS = simulate.samples(PLAN, 1)
MEANWHILE = RoundSample(1, 1, 0.25, 0.01, 1200, 3, 40)
LOAD = LoadSample(1, "direct", 32, 900, 0, 900.5, 10.5, 20.5, 30.5, -1, -1)


def record(results: Path, rounds: Iterable[list[RequestSample]] = ROUNDS):
    """Record a run and return its directory."""
    with RunWriter(results, PLAN, 1, NOON) as writer:
        for rows in rounds:
            writer.append(rows)
    return writer.directory


def state(directory: Path):
    """Read the state from run.json."""
    return json.loads((directory / RUN_JSON).read_text())["state"]


def test_columns_are_the_documented_ones():
    """The header of samples.csv is the published one, to the letter."""
    expected = (
        "rebuild,round,position,arm,connection,namelookup_us,connect_us,appconnect_us,"
        "pretransfer_us,starttransfer_us,total_us,status,bytes\n"
    )
    assert expected == HEADER


def test_missing_phase_is_an_empty_cell():
    """A phase that does not exist is written as nothing, not as 0, and times have one decimal."""
    row = RequestSample(1, 2, 3, "direct", "keep-alive", None, None, None, 0.0, 25.06, 28.0, 200, 612)
    assert "1,2,3,direct,keep-alive,,,,0.0,25.1,28.0,200,612\n" == encode([row])


def test_round_trip(tmp_path: Path):
    """What was recorded is read back, warm-up included, with missing phases as NaN, and the run is complete."""
    run = read_run(record(tmp_path))
    expected = simulate.frame(ROUNDS).round(1)
    pd.testing.assert_frame_equal(expected, run.samples.astype(expected.dtypes.to_dict()))
    assert run.complete
    assert PLAN == run.plan
    assert () == run.caveats
    assert PLAN.requests == run.facts["requests_recorded"]


def test_each_round_is_a_gzip_member(tmp_path: Path):
    """Standard tools read the file, and every round is a member of its own, the header in the first only."""
    data = (record(tmp_path) / SAMPLES).read_bytes()
    assert len(ROUNDS) == data.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00")
    assert HEADER + encode(row for rows in ROUNDS for row in rows) == gzip.decompress(data).decode()


def test_directories_are_never_shared(tmp_path: Path):
    """Two runs within a second get two directories, named by UTC time and plan."""
    assert ["20240229T120000Z-smoke", "20240229T120000Z-smoke-2"] == [record(tmp_path).name for _ in range(2)]


def test_early_end_is_interrupted(tmp_path: Path):
    """A run that ends before its last round says interrupted, and reading it says how much there is."""
    directory = record(tmp_path, ROUNDS[:3])
    assert "interrupted" == state(directory)
    run = read_run(directory)
    assert ["this run is interrupted: 60 of 96 planned requests are recorded"] == [c.what for c in run.caveats]


def test_exception_is_interrupted(tmp_path: Path):
    """An exception, Ctrl-C included, leaves the rounds before it and the state interrupted, and is not swallowed."""
    directory = tmp_path / "20240229T120000Z-smoke"

    def rounds() -> Iterator[list[RequestSample]]:
        yield ROUNDS[0]
        assert "running" == state(directory)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, rounds())
    assert "interrupted" == state(directory)
    assert len(ROUNDS[0]) == len(read_samples(directory)[0])


def test_kill_loses_no_whole_round(tmp_path: Path):
    """A process killed with -9 in the middle of a run leaves every round that append returned for, readable."""
    program = f"""
import os, signal, simulate
from pathlib import Path
from sidelab.bench.record.records import RunWriter
from test_records import LOAD, MEANWHILE, NOON, PLAN, ROUNDS
with RunWriter(Path({str(tmp_path)!r}), PLAN, 1, NOON) as writer:
    for rows in ROUNDS[:2]:
        writer.append(rows)
        writer.append_round(MEANWHILE)
    writer.append_loads([LOAD])
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = ":".join(map(str, (Path(__file__).parent, Path(__file__).parents[1], Path(__file__).parents[3])))
    ended = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": path}, check=False)
    assert -signal.SIGKILL == ended.returncode
    run = read_run(tmp_path / "20240229T120000Z-smoke")
    assert len(ROUNDS[0]) + len(ROUNDS[1]) == len(run.samples)
    assert [tuple(MEANWHILE)] * 2 == list(run.rounds.itertuples(index=False, name=None))
    assert [tuple(LOAD)] == list(run.loads.itertuples(index=False, name=None))
    assert not run.complete
    assert "this run is interrupted" in run.caveats[0].what


LINES = pytest.mark.parametrize(("name", "read"), [("rounds.csv", read_rounds), ("loads.csv", read_loads)])


@LINES
def test_a_torn_head_holds_nothing(tmp_path: Path, name: str, read: Callable[[Path], pd.DataFrame]):
    """A file that was cut before its head was whole is as good as none."""
    for text in ("", "rebuild,ar"):
        (tmp_path / name).write_text(text)
        assert read(tmp_path).empty


@LINES
def test_two_files_joined_are_refused(tmp_path: Path, name: str, read: Callable[[Path], pd.DataFrame]):
    """A second head among the lines is no number."""
    with RunWriter(tmp_path, PLAN, 1, NOON) as writer:
        writer.append_round(MEANWHILE)
        writer.append_loads([LOAD])
    path = writer.directory / name
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(InputError, match="restore the file as it was written"):
        read(writer.directory)


def test_a_full_disk_is_one_clear_error(tmp_path: Path):
    """The message names the run, the reason and the cure; what was recorded before stays readable."""

    def until_full() -> None:
        with RunWriter(tmp_path, PLAN, 1, NOON) as writer:
            writer.append(ROUNDS[0])
            full = os.open("/dev/full", os.O_WRONLY)
            os.dup2(full, writer._samples.fileno())
            os.close(full)
            writer.append(ROUNDS[1])

    with pytest.raises(InputError, match=r"No space left on device; make room"):
        until_full()
    (directory,) = tmp_path.iterdir()
    assert ("interrupted", len(ROUNDS[0])) == (state(directory), len(read_samples(directory)[0]))


@LINES
def test_a_torn_line_is_left_out(tmp_path: Path, name: str, read: Callable[[Path], pd.DataFrame]):
    """A line that was cut in the middle does not count, and the whole ones before it do."""
    with RunWriter(tmp_path, PLAN, 1, NOON) as writer:
        for _ in range(2):
            writer.append_round(MEANWHILE)
            writer.append_loads([LOAD])
    path = writer.directory / name
    path.write_bytes(path.read_bytes()[:-3])
    assert 1 == len(read(writer.directory))


def test_a_stopped_run_is_complete(tmp_path: Path):
    """A run that its stop rule ended has all it was to have, says why, and knows how many rebuilds that is."""
    with RunWriter(tmp_path, PLAN, 1, NOON) as writer:
        for rows in ROUNDS[: len(ROUNDS) // 2]:
            writer.append(rows)
        writer.stop("enough", 1)
    run = read_run(writer.directory)
    assert run.complete
    assert {"reason": "enough", "rebuilds": 1} == run.facts["stopped"]
    assert (1, PLAN.requests // 2) == (run.rebuilds, run.requests)


@pytest.mark.parametrize("lost", [1, 8, 30])
def test_torn_tail(tmp_path: Path, lost: int):
    """A torn last member costs that round alone, and a caveat says so."""
    path = record(tmp_path) / SAMPLES
    path.write_bytes(path.read_bytes()[:-lost])
    samples, caveats = read_samples(path.parent)
    assert sum(map(len, ROUNDS[:-1])) == len(samples)
    assert ["the round in flight when the run died is lost"] == [c.what.partition(": ")[2] for c in caveats]


def test_garbage_tail(tmp_path: Path):
    """Bytes after the last round that are no gzip are left out with a caveat, and the rounds before them are whole."""
    path = record(tmp_path) / SAMPLES
    with path.open("ab") as file:
        file.write(b"\0" * 512)
    samples, caveats = read_samples(path.parent)
    assert (PLAN.requests, 1) == (len(samples), len(caveats))


def test_rounds_larger_than_a_read(tmp_path: Path):
    """Members are found where they end, however they fall on the pieces that the file is read in."""
    rows = [
        RequestSample(1, 1, k, "direct", "new", None, k * 1.7, None, k * 1.9, k * 2.3, k * 3.1, 200, k)
        for k in range(9_000)
    ]
    path = tmp_path / SAMPLES
    path.write_bytes(b"".join(gzip.compress((HEADER * (k == 0) + encode(rows)).encode()) for k in range(3)))
    samples, caveats = read_samples(tmp_path)
    assert (27_000, []) == (len(samples), caveats)


def facts_changed(**changes: Any):
    """Make a damage that replaces facts of run.json."""
    return lambda text: json.dumps(json.loads(text) | changes).encode()


def two_arms_only(text: bytes):
    """Take four arms from the plan in run.json, as if another run's samples lay beside it."""
    facts = json.loads(text)
    facts["plan"]["arms"] = facts["plan"]["arms"][:2]
    return json.dumps(facts).encode()


@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (SAMPLES, lambda _: b"", "no whole round"),
        (SAMPLES, lambda data: data[:40], "no whole round"),
        (SAMPLES, lambda _: gzip.compress(HEADER.encode()), "no request"),
        (SAMPLES, lambda _: gzip.compress(b"time,value\n1,2\n"), "has columns 'time,value'"),
        (SAMPLES, lambda _: gzip.compress((HEADER + ",".join("x" * len(COLUMNS)) + "\n").encode()), "not a number"),
        (SAMPLES, lambda data: data + gzip.compress(b"time,value\n1,2\n"), "two files joined"),
        (RUN_JSON, facts_changed(schema=99), "schema 99"),
        (RUN_JSON, facts_changed(plan={}), "key 'name' is missing"),
        (RUN_JSON, facts_changed(caveats=[1]), "caveats"),
        (RUN_JSON, lambda _: b"{", "is not JSON"),
        (RUN_JSON, lambda _: b"[]", "schema None"),
        (RUN_JSON, lambda _: b'{"schema": 1}', "lacks state, plan, caveats"),
        (RUN_JSON, two_arms_only, "arms that its plan does not have: both, http, rules-only, tcp"),
    ],
)
def test_damaged_runs(tmp_path: Path, file: str, damage: Callable[[bytes], bytes], words: str):
    """A run with a damaged or foreign file is refused with one message that names the file and the cure."""
    directory = record(tmp_path)
    path = directory / file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError) as refusal:
        read_run(directory)
    assert words in str(refusal.value)
    assert str(directory) in str(refusal.value)


@pytest.mark.parametrize("file", [SAMPLES, RUN_JSON])
def test_missing_files(tmp_path: Path, file: str):
    """A run that lacks one of its two files is refused, naming it."""
    directory = record(tmp_path)
    (directory / file).unlink()
    with pytest.raises(InputError, match=f"cannot read .*{file}"):
        read_run(directory)


def test_missing_directory(tmp_path: Path):
    """A run that does not exist is an input error, not a traceback."""
    with pytest.raises(InputError, match="cannot read"):
        read_run(tmp_path / "nowhere")


def test_unwritable_results(tmp_path: Path):
    """A file in the place of the results directory is an input error before anything is measured."""
    (tmp_path / "results").write_text("")
    with pytest.raises(InputError, match="cannot write results"):
        RunWriter(tmp_path / "results", PLAN, 1, NOON)
    with pytest.raises(InputError, match="cannot write results"):
        RunWriter(tmp_path / "results" / "deeper", PLAN, 1, NOON)
