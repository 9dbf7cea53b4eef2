"""What a run may cost: a TOML file becomes limits per arm, kind of connection and phase; pure, knows no run.

    [[limits]]
    arm = "http"                 # whose cost is limited
    connection = "keep-alive"    # new or keep-alive; by default every kind that the plan measures
    phase = "total"              # one of curl's; by default those of `bench.judge.verdict.GATED`
    against = "direct"           # what the arm is compared with; by default the plan's reference
    at_most_us = 60.0            # or at_most_percent = 50, of the time that `against` takes

Without `at_most_us` and `at_most_percent` the arm may be no slower than `against`, except by the plan's margin, which
is negligible. The limits of a file are one family, declared before any measurement.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from sidelab.bench.base.intake import toml
from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.verdict import GATED
from sidelab.bench.plan.plan import Connection, Plan
from sidelab.lab.errors import InputError

MAX_LIMITS = 1000


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a budget; what its file leaves out is None."""

    arm: str
    against: str | None = None
    connection: str | None = None
    phase: str | None = None
    at_most_us: float | None = None
    at_most_percent: float | None = None

    def __post_init__(self) -> None:
        if self.at_most_us is not None and self.at_most_percent is not None:
            raise ValueError("give at_most_us or at_most_percent, not both")
        if not all(math.isfinite(each) for each in (self.at_most_us, self.at_most_percent) if each is not None):
            raise ValueError("at_most_us and at_most_percent must be finite numbers")


class GatedCell(NamedTuple):
    """One gated row: `arm - against` in one phase of one kind of connection, and its limit.

    At most one of `at_most_us` and `at_most_percent` (of `against`'s time) is given; with neither, it may be no slower.
    """

    arm: str
    against: str
    connection: str
    phase: str
    at_most_us: float | None = None
    at_most_percent: float | None = None

    @property
    def limited(self) -> bool:
        """Whether a limit is given."""
        return self.at_most_us is not None or self.at_most_percent is not None

    @property
    def limit(self) -> str:
        """Return the limit in words."""
        if self.at_most_us is not None:
            return f"at most {self.at_most_us:g} µs"
        return "no slower" if self.at_most_percent is None else f"at most {self.at_most_percent:g} %"


def load(path: Path) -> tuple[Limit, ...]:
    """Read a budget. Raises `InputError` naming file, key and what is accepted."""
    try:
        table = toml("budget", path)
    except FileNotFoundError as error:
        raise InputError(f"cannot read budget {path}: {error.strerror}; give a readable TOML file") from None
    return from_dict(table, str(path))


def from_dict(table: Mapping[str, Any], where: str) -> tuple[Limit, ...]:
    """Make limits from decoded TOML; any mistake raises `InputError`, in which `where` names the file."""
    _check_keys(table, ("limits",), where, "")
    entries = table.get("limits")
    if not isinstance(entries, list) or not entries:
        raise InputError(f"budget {where} has no limits: add [[limits]] with an arm")
    if len(entries) > MAX_LIMITS:
        raise InputError(f"budget {where} has {len(entries)} limits: at most {MAX_LIMITS}")
    limits = []
    for index, entry in enumerate(entries):
        name = f"limits[{index}]"
        if not isinstance(entry, Mapping):
            raise InputError(f"budget {where}: {name} must be a table of keys and values")
        _check_keys(entry, Limit.__struct_fields__, where, f"{name}.")
        for key, accepted in (("connection", get_args(Connection)), ("phase", PHASES)):
            if key in entry and entry[key] not in accepted:
                raise InputError(
                    f"budget {where}: {name}.{key} = {entry[key]!r}; accepted values: {', '.join(accepted)}"
                )
        try:
            limits.append(msgspec.convert(entry, Limit))
        except msgspec.ValidationError as error:
            raise InputError(f"budget {where}: {name}: {error}; correct that key") from None
    return tuple(limits)


def cells(limits: tuple[Limit, ...], plan: Plan, where: str) -> tuple[GatedCell, ...]:
    """Apply limits to a plan: return a cell for each row to judge, in the file's order.

    Raises `InputError` for an arm or a kind of connection that the plan does not have, and for a row with two limits.
    """
    found: list[GatedCell] = []
    for index, limit in enumerate(limits):
        name = f"budget {where}: limits[{index}]"
        against = limit.against or plan.reference
        _check_arms(name, limit.arm, against, plan)
        if limit.connection is not None and limit.connection not in plan.connections:
            raise InputError(
                f"{name}.connection = {limit.connection!r}, which plan {plan.name} does not measure; "
                f"it measures {', '.join(plan.connections)}"
            )
        wanted: list[str] = [limit.connection] if limit.connection else list(plan.connections)
        for connection in wanted:
            phases = [limit.phase] if limit.phase else [phase for kind, phase in GATED if kind == connection]
            found += [
                GatedCell(limit.arm, against, connection, phase, limit.at_most_us, limit.at_most_percent)
                for phase in phases
            ]
    rows = [cell[:4] for cell in found]
    for row in rows:
        if rows.count(row) > 1:
            arm, against, connection, phase = row
            raise InputError(
                f"budget {where} limits {phase} of {arm} against {against} ({connection}) twice; keep one of them"
            )
    return tuple(found)


def _check_keys(table: Mapping[str, Any], accepted: tuple[str, ...], where: str, prefix: str) -> None:
    for key in table:
        if key not in accepted:
            raise InputError(f"budget {where}: unknown key {prefix + key!r}; accepted keys: {', '.join(accepted)}")
    if prefix and "arm" not in table:
        raise InputError(f"budget {where}: key {prefix + 'arm'!r} is missing; add it")


def _check_arms(name: str, arm: str, against: str, plan: Plan) -> None:
    arms = [each.name for each in plan.arms]
    for key, value in (("arm", arm), ("against", against)):
        if value not in arms:
            raise InputError(f"{name}.{key} = {value!r} is no arm of plan {plan.name}; it has {', '.join(arms)}")
    if arm == against:
        raise InputError(f"{name} compares {arm} with itself; name another arm as against")
