"""Write a run to disk while it is measured: `run.json`, `samples.csv.gz`, `rounds.csv`, `loads.csv`.

Every round is one gzip member, appended and flushed to the disk, so that a kill -9 loses only the round in flight.
`run.json` is replaced by rename, so it is always whole. A signal waits until a file is whole
(`bench.base.interruption`). `bench.record.reader` reads the files; this one stays free of pandas because it is
imported while measuring.
"""

import gzip
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from sidelab.bench.base.interruption import held
from sidelab.bench.base.samples import (
    HEADER,
    LOAD_COLUMNS,
    RATE_COLUMNS,
    ROUND_COLUMNS,
    WARMUP_ROUND,
    LoadSample,
    RateSample,
    RequestSample,
    RoundSample,
    encode,
)
from sidelab.bench.plan.plan import Plan, as_dict
from sidelab.lab.base.replace_file import replace_file
from sidelab.lab.errors import InputError

RUN_JSON: Final = "run.json"
SAMPLES: Final = "samples.csv.gz"
LOADS: Final = "loads.csv"
ROUNDS: Final = "rounds.csv"
RATES: Final = "rates.csv"
SCHEMA: Final = 1
RUNNING: Final = "running"
COMPLETE: Final = "complete"
INTERRUPTED: Final = "interrupted"


class RunWriter:
    """A run being recorded; a context manager.

    On entry the directory exists and its state is `running`. On exit after every planned round, or when the stop rule
    has ended the run, the state is `complete`; on any earlier exit, by an exception or not, `interrupted`. A killed
    process leaves `running`, which a reader treats as interrupted. `measured_rounds` counts all rounds but the
    warm-ups; the caller counts whole builds in `builds`.
    """

    def __init__(self, results: Path, plan: Plan, seed: int, started: datetime) -> None:
        """Make `results/<UTC time>-<plan>/`, never an existing one; `InputError` if it cannot be made."""
        self.directory = new_directory(results, f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{plan.name}")
        self._plan = plan
        self._rounds = 0
        self.measured_rounds = self.builds = 0
        self._rebuilds = plan.rebuilds
        self._run: dict[str, Any] = {
            "schema": SCHEMA,
            "state": RUNNING,
            "started": started.astimezone(UTC).isoformat(timespec="seconds"),
            "finished": None,
            "plan": as_dict(plan),
            "plan_digest": plan.digest,
            "seed": seed,
            "rounds_recorded": 0,
            "requests_recorded": 0,
            "warmup": f"round {WARMUP_ROUND} of each rebuild: recorded and excluded from every statistic",
            "caveats": [],
        }

    def __enter__(self) -> Self:
        try:
            # Opened before the first measurement, so that a full or read-only disk shows now, not after it.
            self._samples = (self.directory / SAMPLES).open("xb", buffering=0)
            self._write_json()
        except BaseException:
            self.discard()
            raise
        return self

    def describe(self, **facts: Any) -> None:
        """Add facts to `run.json` (environment, placement, rule_sets, versions, caveats, …): JSON values by key."""
        self._run.update(facts)
        self._write_json()

    def append(self, samples: Iterable[RequestSample]) -> None:
        """Record one whole round; it is on the disk when this returns."""
        rows = list(samples)
        text = encode(rows) if self._rounds else HEADER + encode(rows)
        data = memoryview(gzip.compress(text.encode("ascii"), mtime=0))
        with writing(self.directory), held():
            while data:  # an unbuffered file may write only a part
                data = data[self._samples.write(data) :]
            os.fsync(self._samples.fileno())
            self._rounds += 1
            self.measured_rounds += any(row.round != WARMUP_ROUND for row in rows)
            self._run["rounds_recorded"] = self._rounds
            self._run["requests_recorded"] += len(rows)

    def append_loads(self, loads: Iterable[LoadSample]) -> None:
        """Record one rebuild's loads, latencies and rates with one decimal; they are on the disk when this returns."""
        self._add_lines(LOADS, LOAD_COLUMNS, loads, decimals=1)

    def append_rates(self, rates: Iterable[RateSample]) -> None:
        """Record one rebuild's open loops; they are on the disk when this returns."""
        self._add_lines(RATES, RATE_COLUMNS, rates, decimals=4)

    def append_round(self, found: RoundSample) -> None:
        """Record what else happened during a round; it is on the disk when this returns."""
        self._add_lines(ROUNDS, ROUND_COLUMNS, (found,), decimals=4)

    def stop(self, reason: str, rebuilds: int) -> None:
        """Record that the plan's stop rule has ended the run after that many rebuilds; it then counts as whole."""
        self._rebuilds = rebuilds
        self.describe(stopped={"reason": reason, "rebuilds": rebuilds})

    def discard(self) -> None:
        """Remove the directory, which holds nothing worth a report."""
        with writing(self.directory), held():
            shutil.rmtree(self.directory, ignore_errors=True)

    def _add_lines(
        self, name: str, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]], *, decimals: int
    ) -> None:
        path = self.directory / name
        header = "" if path.exists() else ",".join(columns) + "\n"
        lines = (
            ",".join(f"{each:.{decimals}f}" if isinstance(each, float) else str(each) for each in row) for row in rows
        )
        with writing(path), held(), path.open("a", encoding="ascii") as file:
            file.write(header + "".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._samples.close()
        whole = self._run["requests_recorded"] == self._plan.requests_in(self._rebuilds)
        state = COMPLETE if kind is None and whole else INTERRUPTED
        self.describe(state=state, finished=datetime.now(UTC).isoformat(timespec="seconds"))

    def _write_json(self) -> None:
        with writing(self.directory), held():
            write_whole(self.directory / RUN_JSON, json.dumps(self._run, indent=2, ensure_ascii=False) + "\n")


def write_whole(path: Path, content: str | bytes) -> None:
    """Replace a file in one step; it is on the disk when this returns.

    Text becomes UTF-8, whatever the locale; bytes that aren't text (as in a directory's name) become question marks.
    """
    data = content if isinstance(content, bytes) else content.encode("utf-8", errors="replace")
    with held():
        replace_file(path, data, durable=True)


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn an OSError while `where` is written into an `InputError`."""
    try:
        yield
    except OSError as error:
        cure = "make room, or give another directory that you may write to"
        raise InputError(f"cannot write {error.filename or where}: {error.strerror}; {cure}") from None


def new_directory(results: Path, name: str) -> Path:
    """Make a directory below `results`, or `name-2`, `-3`, … if it exists: mkdir decides, nothing is overwritten.

    Raises `InputError` if none can be made.
    """
    attempt = 1
    while True:
        path = results / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            # mkdir raises this also if `results` itself is a file, and then no number helps.
            if results.is_dir():
                attempt += 1
                continue
            raise InputError(f"cannot write results to {results}: it is not a directory; give another one") from None
        except OSError as error:
            raise InputError(f"cannot write results to {path}: {error.strerror}; give a writable directory") from None
        return path
