"""What will be measured: a TOML file becomes a frozen `Plan`, valid once it exists.

Arms are data (`bench.plan.arm`). A plan knows nothing about labs, sockets or results; `bench.plan.request_order` orders
its requests.
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import msgspec

from sidelab.bench.base import intake
from sidelab.bench.plan.arm import Arm, check_name, check_path
from sidelab.lab.errors import InputError

Connection = Literal["new", "keep-alive"]

SHIPPED = Path(__file__).parent / "shipped"

MAX_NEW_CONNECTIONS = 10_000
"""New connections per arm and lab build that a plan may ask for.

TIME_WAIT holds a closed connection's port for 60 s; after about 20,000 the ephemeral range is full and `connect` is 70
times slower with nothing else changed. Half of that leaves room for a proxy's own connections.
"""

MAX_IDLE_CONNECTIONS = 4000
"""Each takes one descriptor here, and two in the pods."""

MAX_REQUESTS = 4_000_000
"""Requests of a whole run: a report holds all of them in memory, a third of a kilobyte each."""

MAX_PARTS = 200
"""The most arms, and entries of any other list: as many as a figure can show, and far more than a lab can hold."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Many connections at once, by wrk: a closed loop of `connections`, for whole seconds, once per lab build."""

    connections: int
    duration_s: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= 1000 or not 1 <= self.duration_s <= 60:
            raise ValueError("a load has 1 to 1000 connections and lasts 1 to 60 seconds")


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """An open loop (`bench.openloop`): requests at this rate, answered or not, once per lab build and arm.

    `schedule` is `uniform` (equal gaps) or `exponential` (independent arrivals).
    """

    rate_per_s: int = 1000
    connections: int = 16
    duration_s: int = 10
    schedule: Literal["uniform", "exponential"] = "uniform"

    def __post_init__(self) -> None:
        if not 1 <= self.rate_per_s <= 100_000 or not 1 <= self.connections <= 1000:
            raise ValueError("a rate is 1 to 100,000 per second on 1 to 1000 connections")
        if not 1 <= self.duration_s <= 60:
            raise ValueError("a rate is kept for 1 to 60 seconds")


Quantity = Literal["added-p50", "added-p99", "requests-per-s", "idle-memory"]


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Two arms compared by what they cost: `arm` as a multiple of `against`, with the target that it should meet.

    `added-p50` is of single requests on `connection`; `added-p99` and `requests-per-s` are under the load with that
    many `connections`; `idle-memory` is the proxy's own with the plan's `idle_connections`. "Added" is the excess over
    the reference.
    """

    of: Quantity
    arm: str
    against: str
    connection: Connection = "keep-alive"
    connections: int = 0
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if self.of in ("added-p99", "requests-per-s") and not self.connections:
            raise ValueError(f"a ratio of {self.of} names the `connections` of its load")


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A part of what interception costs: how much `arm` exceeds `against` ("" for the plan's reference).

    With `parts` it is an interaction: what `arm` adds to the reference beyond what each of the parts alone adds.
    """

    name: str
    arm: str
    against: str = ""
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isprintable() or not 1 <= len(self.name) <= 40 or not self.name[0].isalnum():
            # A spreadsheet takes text that begins with one of its signs for a formula.
            raise ValueError("a term's name is 1 to 40 printable characters, the first a letter or a digit")
        if self.against and self.parts:
            raise ValueError(f"term {self.name!r} has `against` and `parts`; parts are held against the reference")


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """When to end before the last rebuild: see `bench.measure.enough`. 0 means that a limit is not set.

    `half_width_us`: end when all gated intervals are at most this wide to either side; never before `least_rebuilds`.
    `budget_s`: end when the next rebuild would end later than this after the first one's start.
    """

    half_width_us: float = 0.0
    budget_s: float = 0.0
    least_rebuilds: int = 10

    def __post_init__(self) -> None:
        if not (0 <= self.half_width_us < math.inf and 0 <= self.budget_s < math.inf):
            raise ValueError("half_width_us and budget_s must not be negative, and finite")
        if self.least_rebuilds < 3:
            raise ValueError("least_rebuilds must be at least 3: an interval of two rebuilds says nothing of its width")


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """On which CPUs the client and the lab run; part of what is measured, so declared, applied and recorded.

    `awake` keeps them from sleeping meanwhile (`bench.measure.awake`): intervals are narrower, and the cost of waking
    up is left out.
    """

    client_cpu: int | Literal["auto"] = "auto"
    lab_cpus: tuple[int, ...] | Literal["auto"] = "auto"
    awake: bool = False

    def __post_init__(self) -> None:
        if not self.lab_cpus:
            raise ValueError("placement.lab_cpus is empty: name CPUs, or say 'auto'")

    def resolve(self, available: frozenset[int]) -> tuple[int, frozenset[int]]:
        """Choose the client's CPU and the lab's CPUs from those that this process may use.

        `auto` gives the client the highest-numbered CPU (interrupts favour the low ones) and the lab the others; on a
        single CPU they share it. Raises `InputError` if the plan names a CPU that is not available.
        """
        named = (
            {self.client_cpu, *self.lab_cpus} - {"auto"} if self.lab_cpus != "auto" else {self.client_cpu} - {"auto"}
        )
        missing = sorted(str(cpu) for cpu in named if cpu not in available)
        if missing:
            have = ", ".join(map(str, sorted(available)))
            raise InputError(
                f"placement names CPU {', '.join(missing)}, this process may use {have}; name those or 'auto'"
            )
        lab = None if self.lab_cpus == "auto" else frozenset(self.lab_cpus)
        if self.client_cpu == "auto":
            client = max(available - (lab or frozenset()), default=max(available))
        else:
            client = self.client_cpu
        return client, lab or (available - {client}) or available


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole measurement.

    `requests_per_round` is per arm and connection, as is `warmup_requests` per rebuild: with both connections, 100
    means 200 requests per arm and round. `path` is the request's path, which fixes the payload. The margin within
    which arms are called equivalent is the larger of `margin_us` and `margin_ratio` of the reference's p50.
    """

    name: str
    arms: tuple[Arm, ...]
    description: str = ""
    connections: tuple[Connection, ...] = ("new", "keep-alive")
    requests_per_round: int = 100
    rounds: int = 2
    rebuilds: int = 20
    warmup_requests: int = 20
    path: str = "/"
    seed: int | None = None
    placement: Placement = Placement()
    reference: str = "direct"
    twin: str = "direct-twin"
    margin_us: float = 2.0
    margin_ratio: float = 0.02
    loads: tuple[Load, ...] = ()
    rates: tuple[Rate, ...] = ()
    idle_connections: int = 0
    ratios: tuple[Ratio, ...] = ()
    terms: tuple[Term, ...] = ()
    stop: Stop = Stop()

    def __post_init__(self) -> None:
        check_name(self.name)
        self._check_arms()
        self._check_size()
        if not self.connections or len(set(self.connections)) != len(self.connections):
            raise ValueError("connections must name new, keep-alive or both, each once")
        if self.new_connections_per_build > MAX_NEW_CONNECTIONS:
            raise ValueError(
                f"{self.new_connections_per_build} new connections per arm and build would run into TIME_WAIT's port "
                f"exhaustion; at most {MAX_NEW_CONNECTIONS}: ask for more rebuilds and fewer requests in each"
            )
        if self.requests > MAX_REQUESTS:
            raise ValueError(f"{self.requests:,} requests in all, warm-up included: at most {MAX_REQUESTS:,}")
        check_path(self.path)
        if not (0 <= self.margin_us < math.inf and 0 <= self.margin_ratio < math.inf):
            raise ValueError("margin_us and margin_ratio must not be negative, and finite")
        if not 0 <= self.idle_connections <= MAX_IDLE_CONNECTIONS:
            raise ValueError(f"idle_connections must be 0 to {MAX_IDLE_CONNECTIONS}")
        if len({rate.rate_per_s for rate in self.rates}) != len(self.rates):
            raise ValueError("two rates have the same rate_per_s, and a figure could not tell them apart")
        if len({load.connections for load in self.loads}) != len(self.loads):
            raise ValueError("two loads have the same connections, and a ratio could not tell them apart")
        for ratio in self.ratios:
            self._check_ratio(ratio)
        self._check_terms()

    def _check_size(self) -> None:
        for key, least in (("requests_per_round", 1), ("rounds", 1), ("rebuilds", 2), ("warmup_requests", 0)):
            if getattr(self, key) < least:
                raise ValueError(f"{key} must be at least {least}")
        for key in ("arms", "loads", "rates", "ratios", "terms"):
            if len(getattr(self, key)) > MAX_PARTS:
                raise ValueError(f"{len(getattr(self, key))} {key}: at most {MAX_PARTS}")

    def _check_arms(self) -> None:
        arms = {arm.name: arm for arm in self.arms}
        if len(arms) != len(self.arms):
            raise ValueError("two arms have the same name")
        for key, name in (("reference", self.reference), ("twin", self.twin)):
            if name not in arms:
                raise ValueError(f"{key} = {name!r} is no arm of this plan; it has {', '.join(arms)}")
        if self.reference == self.twin or arms[self.reference].made_of != arms[self.twin].made_of:
            raise ValueError("twin must be a second arm built exactly like the reference: it measures the noise floor")

    def _check_terms(self) -> None:
        names = [arm.name for arm in self.arms]
        if len({term.name for term in self.terms}) != len(self.terms):
            raise ValueError("two terms have the same name")
        for term in self.terms:
            for name in (term.arm, *filter(None, (term.against,)), *term.parts):
                if name not in names:
                    raise ValueError(
                        f"term {term.name!r} names {name!r}, which is no arm of this plan; it has {', '.join(names)}"
                    )

    def _check_ratio(self, ratio: Ratio) -> None:
        names = [arm.name for arm in self.arms]
        for name in (ratio.arm, ratio.against):
            if name not in names:
                raise ValueError(f"a ratio names {name!r}, which is no arm of this plan; it has {', '.join(names)}")
        if ratio.of == "added-p50" and ratio.connection not in self.connections:
            raise ValueError(f"a ratio is of {ratio.connection} requests, which this plan does not send")
        if ratio.connections and ratio.connections not in {load.connections for load in self.loads}:
            raise ValueError(f"a ratio is of {ratio.connections} connections, which no load of this plan has")
        if ratio.of == "idle-memory" and not self.idle_connections:
            raise ValueError("a ratio is of idle-memory, and this plan has no `idle_connections`")

    @property
    def new_connections_per_build(self) -> int:
        """How many connections each arm opens in one lab build, warm-up included."""
        return (self.rounds * self.requests_per_round + self.warmup_requests) * ("new" in self.connections)

    @property
    def requests(self) -> int:
        """How many requests the whole plan sends, warm-up included: the number of rows of its samples."""
        return self.requests_in(self.rebuilds)

    def requests_in(self, rebuilds: int) -> int:
        """Return how many requests that many rebuilds send, warm-up included."""
        per_cell = self.rounds * self.requests_per_round + self.warmup_requests
        return per_cell * len(self.arms) * len(self.connections) * rebuilds

    @property
    def digest(self) -> str:
        """A hash (sha256, hex) of what is measured: everything but the description and the seed of the order."""
        identity = {key: value for key, value in as_dict(self).items() if key not in ("description", "seed")}
        return hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()

    def path_of(self, arm: Arm) -> str:
        """Return the path of an arm's requests."""
        return arm.path or self.path

    def without(self, names: Collection[str]) -> "Plan":
        """Return the plan without these arms, and without the ratios and terms that need them.

        Raises `ValueError` if the reference or its twin is among them.
        """
        arms = tuple(arm for arm in self.arms if arm.name not in names)
        ratios = tuple(each for each in self.ratios if not {each.arm, each.against} & set(names))
        terms = tuple(each for each in self.terms if not {each.arm, each.against, *each.parts} & set(names))
        return msgspec.structs.replace(self, arms=arms, ratios=ratios, terms=terms)

    def without_loads(self) -> "Plan":
        """Return the plan without its loads, and without the ratios that need them."""
        return msgspec.structs.replace(
            self, loads=(), ratios=tuple(each for each in self.ratios if not each.connections)
        )

    def arm(self, name: str) -> Arm:
        """Return the arm with this name; KeyError if there is none."""
        return {arm.name: arm for arm in self.arms}[name]


def shipped() -> dict[str, Path]:
    """Return the plans that come with the program: name → file."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def load(name_or_path: str) -> Plan:
    """Read a plan: a shipped one by name, or a TOML file by path. Raises `InputError` naming file, key and cure."""
    path = shipped().get(name_or_path) or Path(name_or_path)
    try:
        table = intake.toml("plan", path)
    except FileNotFoundError:
        kind = "file" if path.suffix or path.parent.name else "plan"
        raise InputError(
            f"there is no {kind} {name_or_path!r}; give a TOML file or one of {', '.join(shipped())}"
        ) from None
    return from_dict(table, str(path))


def from_dict(table: Mapping[str, Any], where: str) -> Plan:
    """Make a plan from decoded TOML or JSON; any mistake raises `InputError`, in which `where` names the file."""
    _check_table(table, Plan, where, "")
    for index, arm in enumerate(table["arms"] if isinstance(table.get("arms"), list) else []):
        _check_table(arm, Arm, where, f"arms[{index}].")
    lists: dict[str, type[msgspec.Struct]] = {"loads": Load, "rates": Rate, "ratios": Ratio, "terms": Term}
    for key, kind in lists.items():
        for index, each in enumerate(table[key] if isinstance(table.get(key), list) else []):
            _check_table(each, kind, where, f"{key}[{index}].")
    _check_table(table.get("placement", {}), Placement, where, "placement.")
    _check_table(table.get("stop", {}), Stop, where, "stop.")
    try:
        return msgspec.convert(table, Plan)
    except msgspec.ValidationError as error:
        raise InputError(f"plan {where}: {error}; correct that key") from None


def as_dict(plan: Plan) -> dict[str, Any]:
    """Turn a plan into plain JSON values, for `run.json`; `from_dict` reads them back."""
    return cast("dict[str, Any]", msgspec.to_builtins(plan))


def _check_table(table: object, kind: type[msgspec.Struct], where: str, prefix: str) -> None:
    """Raise `InputError` with the key and what is accepted: msgspec's own message has neither."""
    if not isinstance(table, Mapping):
        raise InputError(f"plan {where}: {prefix.rstrip('.')} must be a table of keys and values")
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for key, value in table.items():
        if key not in fields:
            raise InputError(f"plan {where}: unknown key {prefix + key!r}; accepted keys: {', '.join(fields)}")
        accepted = get_args(fields[key].type) if get_origin(fields[key].type) is Literal else None
        if accepted is not None and value not in accepted:
            raise InputError(
                f"plan {where}: {prefix}{key} = {value!r}; accepted values: {', '.join(map(str, accepted))}"
            )
    for key, field in fields.items():
        if field.required and key not in table:
            raise InputError(f"plan {where}: key {prefix + key!r} is missing; add it")
