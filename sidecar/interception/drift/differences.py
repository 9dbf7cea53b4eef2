"""How the kernel's rules differ from those that should be there, and what Istio then does. Pure.

Rules are compared as lines in iptables' syntax, chain by chain. As in Istio, foreign rules are not compared: in a
built-in chain everything but jumps to Istio's chains and the rules that are expected there.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from enum import Enum
from typing import Any, NamedTuple

from sidelab.sidecar.interception.model.counted import Row, TableRows, from_ruleset
from sidelab.sidecar.interception.model.model import BUILT_IN, Backend, Family, Rule, Ruleset
from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.text import iptables, saved

OURS = "ISTIO_"  # the prefix of our chains
_FAMILIES: tuple[Family, ...] = (4, 6)


class DriftPlace(NamedTuple):
    """A chain; `family` is None if its table holds both."""

    family: Family | None
    table: str
    chain: str

    def __str__(self) -> str:
        tool = {None: "nft", 4: "iptables", 6: "ip6tables"}[self.family]
        return f"{tool} -t {self.table} {self.chain}"


Lines = Mapping[DriftPlace, tuple[str, ...]]


@dataclass(frozen=True)
class Drift:
    """The differences: lines by place, and routes and addresses for TPROXY and IPv6 (as `ip` commands).

    A place is `reordered` if it holds the expected rules in another order; counts of equal lines matter.
    """

    missing: Lines
    extra: Lines
    reordered: tuple[DriftPlace, ...]
    missing_local: tuple[str, ...] = ()
    extra_local: tuple[str, ...] = ()
    diff: str = ""

    def __bool__(self) -> bool:
        return bool(self.rules_differ or self.missing_local or self.extra_local)

    @property
    def rules_differ(self) -> bool:
        """Whether rules are missing, added, or in another order."""
        return bool(self.missing or self.extra or self.reordered)

    @property
    def data(self) -> dict[str, Any]:
        """Return it as lists and texts, for JSON."""
        return {
            "missing": [_named(place, line) for place, lines in self.missing.items() for line in lines],
            "extra": [_named(place, line) for place, lines in self.extra.items() for line in lines],
            "reordered": [{"table": p.table, "chain": p.chain, "family": p.family} for p in self.reordered],
            "missing_local": list(self.missing_local),
            "extra_local": list(self.extra_local),
        }


def _named(place: DriftPlace, line: str) -> dict[str, Any]:
    return {"table": place.table, "chain": place.chain, "family": place.family, "rule": line}


def expected(ruleset: Ruleset, backend: Backend) -> Lines:
    """Return the lines that `backend` should hold for `ruleset`, whose groups are resolved."""
    if backend is Backend.NFT:
        tables = from_ruleset(ruleset)
        return _lines(None, ((t.name, c.name, c.rows) for t in tables for c in t.chains), ruleset.program(backend))
    found: dict[DriftPlace, tuple[str, ...]] = {}
    for family in _FAMILIES if ruleset.ipv6 else _FAMILIES[:1]:
        chains = (
            (table.name, chain.name, [Row(saved.plain(rule)) for rule in chain.rules])
            for table in ruleset.tables(backend, family)
            for chain in table.chains
        )
        found |= _lines(family, chains, ruleset.program(backend, family))
    return found


def _lines(
    family: Family | None, chains: Iterable[tuple[str, str, Iterable[Row]]], program: Iterable[Rule]
) -> dict[DriftPlace, tuple[str, ...]]:
    """Return the lines of `chains` (table, chain, rows), and of chains that `program` only jumps to."""
    found = {
        DriftPlace(family, rule.table, rule.target.chain): (_made(rule.target.chain),)
        for rule in program
        if rule.target.chain
    }
    return found | {DriftPlace(family, table, chain): _chain_lines(chain, rows) for table, chain, rows in chains}


def _chain_lines(chain: str, rows: Iterable[Row]) -> tuple[str, ...]:
    made = () if chain in BUILT_IN else (_made(chain),)
    return (*made, *(_line(chain, row) for row in rows))


def _made(chain: str) -> str:
    return f"-N {chain}"


def _line(chain: str, row: Row) -> str:
    return iptables.line(row.rule) if row.rule else f"-A {chain} {row.words}"


def found(tables: Iterable[TableRows], family: Family | None, wanted: Lines) -> Lines:
    """Return the lines of `tables`, read for `family` (None: both at once), that are Istio's: see the top."""
    held: dict[DriftPlace, tuple[str, ...]] = {}
    for table in tables:
        for chain in table.chains:
            place = DriftPlace(family, table.name, chain.name)
            if chain.name.startswith(OURS):
                held[place] = _chain_lines(chain.name, chain.rows)
            else:
                ours = [row for row in chain.rows if is_ours(chain.name, row, wanted.get(place, ()))]
                lines = tuple(_line(chain.name, row) for row in ours)
                if lines:
                    held[place] = lines
    return held


def is_ours(chain: str, row: Row, wanted: Collection[str]) -> bool:
    """Return whether a rule of a chain that is not ours jumps to one of ours, or is one of those `wanted` there."""
    jumps = row.rule is not None and row.rule.target.chain.startswith(OURS)
    return jumps or f" {OURS}" in f" {row.words}" or _line(chain, row) in wanted


def drift(wanted: Lines, held: Lines, wanted_local: Iterable[str] = (), held_local: Iterable[str] = ()) -> Drift:
    """Return how `held` differs from `wanted`, in rules as well as in routes and addresses (`…_local`)."""
    missing: dict[DriftPlace, tuple[str, ...]] = {}
    extra: dict[DriftPlace, tuple[str, ...]] = {}
    reordered: list[DriftPlace] = []
    diff: list[str] = []
    for place in sorted({*wanted, *held}, key=lambda p: (p.table, p.chain not in BUILT_IN, p.chain, p.family or 0)):
        should, does = wanted.get(place, ()), held.get(place, ())
        if should == does:
            continue
        lacks, has = Counter(should) - Counter(does), Counter(does) - Counter(should)
        if lacks:
            missing[place] = tuple(lacks.elements())
        if has:
            extra[place] = tuple(has.elements())
        if _common(should, lacks) != _common(does, has):
            reordered.append(place)
        diff += unified_diff(should, does, f"{place} (should be)", f"{place} (is)", n=1, lineterm="")
    local = Counter(wanted_local), Counter(held_local)
    lacks, has = local[0] - local[1], local[1] - local[0]
    diff += [f"-{line}" for line in lacks.elements()] + [f"+{line}" for line in has.elements()]
    return Drift(
        missing,
        extra,
        tuple(reordered),
        tuple(lacks.elements()),
        tuple(has.elements()),
        "".join(f"{line}\n" for line in diff),
    )


def _common(lines: Iterable[str], without: Counter[str]) -> list[str]:
    """Return `lines` in order without those of `without`; of equal lines, the last ones are left out."""
    rest = Counter(without)
    common = []
    for line in reversed(list(lines)):
        if rest[line]:
            rest[line] -= 1
        else:
            common.append(line)
    return common


class Step(Enum):
    """What istio-iptables does, depending on what it finds."""

    NOTHING = "nothing"
    APPLY = "apply"
    CLEAN = "clean"
    RECONCILE = "reconcile"


def step(residue: bool, differs: Drift, options: Options) -> Step:
    """Return what the iptables ways do; `residue` is whether anything of Istio's is there.

    Istio ignores the order of rules, and applies over rules that have drifted or (`--force-apply`) exist already, which
    fails because the chains exist; `quirks="none"` compares the order too, and reconciles instead.
    """
    as_istio = options.quirks == "istio"
    changed = bool(differs.missing or differs.extra or (differs.reordered and not as_istio))
    if options.cleanup_only:
        return Step.CLEAN if residue else Step.NOTHING
    if not changed and not options.force_apply:
        return Step.NOTHING
    if residue and ((changed and options.reconcile) or not as_istio):
        return Step.RECONCILE
    return Step.APPLY
