"""What the files of a run may hold: the types of run.json's facts, and the range of every column; pure.

Readers of a run can rely on this, whatever wrote it. All mistakes are reported at once.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NotRequired, TypedDict

import msgspec
import numpy as np
import pandas as pd

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record.records import COMPLETE, INTERRUPTED, RUNNING, SCHEMA

MAX_CAVEATS: Final = 200
_MOST_SAID: Final = 10
_LARGEST: Final = 1e12  # eleven days in µs, or a terabyte


class _Environment(TypedDict, total=False):
    cpu_model: str
    cpus: list[int]
    kernel: str
    hypervisor: str | None
    python: str
    smt: bool | None
    memory_mib: int | None
    steal_ratio: float | None
    governor: str | None
    clock_source: str | None
    load_1min: float | None
    mitigations: dict[str, str]
    packages: dict[str, str]
    git_revision: str | None


class _Placement(TypedDict):
    client_cpu: int
    lab_cpus: list[int]
    awake: NotRequired[bool]


class _Stopped(TypedDict):
    reason: str
    rebuilds: int


_REQUIRED: Final = ("state", "plan", "caveats")
_FACTS: Final[dict[str, Any]] = {
    "state": str,
    "started": str | None,
    "finished": str | None,
    "plan": dict[str, Any],
    "plan_digest": str,
    "seed": int,
    "rounds_recorded": int,
    "requests_recorded": int,
    "caveats": list[Caveat],
    "environment": _Environment | None,
    "placement": _Placement | None,
    "client": str,
    "client_digest": str | None,
    "stopped": _Stopped | None,
    "arms": dict[str, Any],
    **dict.fromkeys(("images", "versions", "envoys", "rule_sets", "skipped", "revisions"), dict[str, str]),
}


def wrong_facts(facts: Mapping[str, Any]) -> list[str]:
    """Return the mistakes in a decoded run.json, except in the plan itself; empty if there are none."""
    if facts.get("schema") != SCHEMA:
        return [f"schema {facts.get('schema')!r:.40}, this version reads {SCHEMA}: read it with the one that wrote it"]
    missing = [key for key in _REQUIRED if key not in facts]
    if missing:
        return [f"lacks {', '.join(missing)}"]
    found = [said for key, kind in _FACTS.items() if key in facts and (said := _wrong(facts[key], kind, key))]
    if facts["state"] not in (RUNNING, COMPLETE, INTERRUPTED):
        found.append(f"state {facts['state']!r:.40} is none of {RUNNING}, {COMPLETE}, {INTERRUPTED}")
    if isinstance(facts["caveats"], list) and len(facts["caveats"]) > MAX_CAVEATS:
        found.append(f"caveats: {len(facts['caveats'])}, at most {MAX_CAVEATS}")
    return found


def _wrong(value: Any, kind: Any, key: str) -> str:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$")
        return f"{key}{where.rstrip('`')}: {said}"
    return ""


def wrong_samples(samples: pd.DataFrame, plan: Plan, rebuilds: int) -> Iterator[str]:
    """Yield the mistakes in the requests of a run of `plan`, each a row of `bench.base.samples.RequestSample`."""
    planned = plan.requests_in(rebuilds)
    if len(samples) > planned:
        yield f"{len(samples):,} requests, {planned:,} were planned"
    yield from _unknown(samples, "arm", [arm.name for arm in plan.arms])
    yield from _unknown(samples, "connection", plan.connections)
    yield from _outside(samples, {"rebuild": (1, rebuilds), "round": (0, plan.rounds), "status": (0, 999)}, least=0)


def wrong_lines(table: pd.DataFrame, plan: Plan, rebuilds: int) -> Iterator[str]:
    """Yield the mistakes in a table of rounds, loads or rates; -1 stands for what could not be read."""
    if "arm" in table:
        yield from _unknown(table, "arm", [arm.name for arm in plan.arms])
    if "rate_per_s" in table:
        yield from _unknown(table, "rate_per_s", [rate.rate_per_s for rate in plan.rates])
    yield from _outside(table, {"rebuild": (1, rebuilds)}, least=-1)


def _unknown(table: pd.DataFrame, column: str, known: object) -> Iterator[str]:
    values = known if isinstance(known, (list, tuple)) else []
    others = sorted(str(each)[:40] for each in set(table[column].unique()) - set(values))
    if others:
        shown = ", ".join(others[:_MOST_SAID])
        more = f" and {len(others) - _MOST_SAID} more" if len(others) > _MOST_SAID else ""
        yield f"{column}s that its plan does not have: {shown}{more}"


def _outside(table: pd.DataFrame, ranges: Mapping[str, tuple[int, int]], least: int) -> Iterator[str]:
    """Yield the columns with a number outside their range, with the first such row."""
    for column in table.select_dtypes("number").columns:
        low, high = ranges.get(column, (least, _LARGEST))
        values = table[column].to_numpy()
        wrong = ~((values >= low) & (values <= high)) & ~np.isnan(values)
        if wrong.any():
            at = int(wrong.argmax())
            yield f"{column} of row {at + 1} is {values[at]:g}, and may be {low:g} to {high:g}"
