"""Read a run back from its files alone: whole, interrupted or torn; needs no root, and neither lab nor sidecar."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import msgspec
import numpy as np
import pandas as pd

from sidelab.bench.base import intake
from sidelab.bench.base.caveats import Caveat
from sidelab.bench.base.samples import (
    COLUMNS,
    LOAD_COLUMNS,
    PHASES,
    RATE_COLUMNS,
    ROUND_COLUMNS,
    LoadSample,
    RateSample,
    RoundSample,
    column,
)
from sidelab.bench.plan.plan import MAX_REQUESTS, Plan, from_dict
from sidelab.bench.record import openloop_caveats, round_caveats, schema
from sidelab.bench.record.records import COMPLETE, INTERRUPTED, LOADS, RATES, ROUNDS, RUN_JSON, RUNNING, SAMPLES
from sidelab.lab.base.text import escapes
from sidelab.lab.errors import InputError

_ROW_BYTES = 160  # the most for a row of samples: the head, an arm's name, and times of days
_MAX_LINES_BYTES = 16 << 20
_GIVE_A_RUN = "give a directory that a run wrote"
_NUMBERS = {*map(column, PHASES), *RATE_COLUMNS, *LOAD_COLUMNS, *ROUND_COLUMNS} - {"arm"}
_UNKNOWN = {name: ["", "nan"] for name in _NUMBERS}
"""The text for a missing value, by column: an arm may be called `nan` or `null`, which pandas would read as missing."""

_KINDS = {int: "int64", float: "float64", str: "str"}


class Run(NamedTuple):
    """All a report needs. `facts` is the decoded `run.json`; `caveats` are the recorded ones and the reader's own.

    `loads` has the columns of `bench.base.samples.LoadSample`, `rounds` those of `RoundSample`, `rates` those of
    `RateSample`; they are empty if nothing was recorded. `rebuilds` is how many there should be: the plan's number, or
    the number after which its stop rule ended the run.
    """

    directory: Path
    plan: Plan
    facts: dict[str, Any]
    samples: pd.DataFrame
    loads: pd.DataFrame
    caveats: tuple[Caveat, ...]
    rounds: pd.DataFrame = pd.DataFrame(columns=list(ROUND_COLUMNS))
    rates: pd.DataFrame = pd.DataFrame(columns=list(RATE_COLUMNS))

    @property
    def name(self) -> str:
        """The directory's name as text, for figures and pages; bytes that are not text, and controls, are escaped."""
        return escapes.line(self.directory.name)

    @property
    def rebuilds(self) -> int:
        """How many rebuilds a whole run has."""
        return _rebuilds(self.facts, self.plan)

    @property
    def requests(self) -> int:
        """How many requests a whole run has recorded."""
        return self.plan.requests_in(self.rebuilds)

    @property
    def complete(self) -> bool:
        """Whether every planned request was recorded."""
        return bool(self.facts["state"] == COMPLETE)


def read_run(directory: Path) -> Run:
    """Read `results/<run>/`. Raises `InputError` for a directory that is missing, empty, damaged or foreign."""
    facts = _read_facts(directory)
    plan = from_dict(facts["plan"], str(directory / RUN_JSON))
    rebuilds = _rebuilds(facts, plan)
    samples, torn = read_samples(directory, plan.requests_in(rebuilds))
    rounds, loads, rates = read_rounds(directory), read_loads(directory), read_rates(directory)
    _refuse_wrong(directory / SAMPLES, schema.wrong_samples(samples, plan, rebuilds))
    for name, table in ((ROUNDS, rounds), (LOADS, loads), (RATES, rates)):
        _refuse_wrong(directory / name, schema.wrong_lines(table, plan, rebuilds))
    caveats = msgspec.convert(facts["caveats"], list[Caveat]) + torn
    caveats += round_caveats.caveats(rounds) + round_caveats.load_caveats(loads) + openloop_caveats.caveats(rates)
    if facts["state"] != COMPLETE:
        caveats.append(unfinished("this run", facts["state"], len(samples), plan.requests_in(rebuilds)))
    return Run(directory, plan, facts, samples, loads, tuple(caveats), rounds, rates)


def unfinished(run: str, state: str, recorded: int, planned: int) -> Caveat:
    """Return the caveat that a run is not whole; `run` is what to call it."""
    return Caveat(
        f"{run} is {state}: {recorded} of {planned} planned requests are recorded", "let it finish, or measure again"
    )


def read_samples(directory: Path, most: int = MAX_REQUESTS) -> tuple[pd.DataFrame, list[Caveat]]:
    """Read every whole round of a run of at most `most` requests: return a frame, and a caveat if the tail is torn.

    The columns are those of `bench.base.samples.COLUMNS`. Times are float64 µs with NaN for a phase that does not
    exist; arm and connection are categories. Raises `InputError` if there is no whole round, or if the columns are of
    another schema.
    """
    path = directory / SAMPLES
    most_bytes = (most + 1) * _ROW_BYTES
    data = intake.content(path, most_bytes, _GIVE_A_RUN)
    text = io.BytesIO()
    whole = 0
    for member in intake.members(path, data, most_bytes):
        if whole and not member.content[:1].isdigit():
            raise InputError(
                f"{path} is two files joined: a second head begins {whole:,} bytes in; give each run its own directory"
            )
        text.write(member.content)
        whole = member.end
    header = text.getvalue()[:1000].split(b"\n", 1)[0].decode("ascii", errors="replace")
    if not whole:
        raise InputError(f"{path} holds no whole round; measure again, or give another run")
    if tuple(header.split(",")) != COLUMNS:
        raise InputError(
            f"{path} has columns {header!r}, this version reads {','.join(COLUMNS)!r}; "
            f"read it with the version that wrote it"
        )
    text.seek(0)
    times = dict.fromkeys(map(column, PHASES), "float64")
    kinds = {"arm": "category", "connection": "category", **times}
    try:
        dtypes = {name: kinds.get(name, "int64") for name in COLUMNS}
        samples = _table(text, dtypes)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path} has a cell that is not a number: {error}; restore the file as it was written"
        ) from None
    if samples.empty:
        raise InputError(f"{path} holds no request; measure again, or give another run")
    if whole == len(data):
        return samples, []
    torn = f"the last {len(data) - whole} bytes of {SAMPLES} are torn: the round in flight when the run died is lost"
    return samples, [Caveat(torn, "nothing to do for the rounds before it; measure again for the rest")]


def read_loads(directory: Path) -> pd.DataFrame:
    """Read what was measured under load, every whole line; raises `InputError` for wrong columns or non-numbers."""
    return _read_lines(directory / LOADS, LoadSample)


def read_rounds(directory: Path) -> pd.DataFrame:
    """Read what else happened during each round, every whole line; raises what `read_loads` raises."""
    return _read_lines(directory / ROUNDS, RoundSample)


def read_rates(directory: Path) -> pd.DataFrame:
    """Read the open loops, every whole line; raises what `read_loads` raises."""
    return _read_lines(directory / RATES, RateSample)


def _read_lines(path: Path, row: type[LoadSample | RateSample | RoundSample]) -> pd.DataFrame:
    columns = row._fields
    exists = path.is_symlink() or path.exists()
    data = intake.content(path, _MAX_LINES_BYTES, "restore the file as it was written") if exists else b""
    text = data.decode("ascii", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    if not whole:  # nothing was measured, or the run died while writing the head
        return pd.DataFrame(columns=list(columns))
    if tuple(whole.split("\n", 1)[0].split(",")) != columns:
        raise InputError(f"{path} has other columns than {','.join(columns)}; read it with the version that wrote it")
    try:
        dtypes = {name: _KINDS[kind] for name, kind in get_type_hints(row).items()}
        return _table(io.StringIO(whole), dtypes)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path} cannot be read: {error}; restore the file as it was written") from None


def _table(text: io.BytesIO | io.StringIO, dtypes: Mapping[str, str]) -> pd.DataFrame:
    """Read CSV; raises `ValueError` for a value that is not a number of its column's type."""
    with np.errstate(invalid="ignore"):  # for an `inf` among integers, which numpy would warn about on standard error
        return pd.read_csv(text, dtype=dict(dtypes), keep_default_na=False, na_values=_UNKNOWN)


def _rebuilds(facts: dict[str, Any], plan: Plan) -> int:
    """Return how many rebuilds the run should have; a stop rule may have ended it before the plan's last one."""
    stopped = facts.get("stopped")
    return min(int(stopped["rebuilds"]), plan.rebuilds) if stopped else plan.rebuilds


def _refuse_wrong(path: Path, problems: Iterable[str]) -> None:
    """Raise one `InputError` that lists all problems of a file, if it has any."""
    said = list(problems)
    if said:
        raise InputError(f"{path} is not what a run writes: {'; '.join(said)}; keep the files of a run together")


def _read_facts(directory: Path) -> dict[str, Any]:
    path = directory / RUN_JSON
    facts = intake.json_object(path, _GIVE_A_RUN)
    _refuse_wrong(path, schema.wrong_facts(facts))
    if facts["state"] == RUNNING:  # its writer was killed, or still writes
        facts["state"] = INTERRUPTED
    return facts
