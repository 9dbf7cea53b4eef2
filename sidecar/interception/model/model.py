"""The interception rules as one value, from which both backends and all texts are made.

Rules are kept as the builder's program (append here, insert there), because that is what the texts show; `tables` runs
the program and returns the result. Names are iptables' (`nat`, `PREROUTING`, `ISTIO_INBOUND`). Knows nothing about how
rules are written or sent.

Rules and their parts are named tuples, and enum members hash by identity: they are cache keys, and so hash in C.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from ipaddress import ip_interface
from typing import Literal, NamedTuple

Family = Literal[4, 6]
TABLES = ("nat", "mangle", "raw")
BUILT_IN = ("PREROUTING", "OUTPUT")
# The order in which chains are declared and listed: built-in ones, then Istio's per table.
CHAINS = {
    "nat": (*BUILT_IN, "ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT", "ISTIO_OUTPUT_DNS"),
    "mangle": (*BUILT_IN, "ISTIO_DIVERT", "ISTIO_TPROXY", "ISTIO_INBOUND", "ISTIO_DROP"),
    "raw": (*BUILT_IN, "ISTIO_INBOUND", "ISTIO_OUTPUT_DNS"),
}


class Backend(Enum):
    """The form into which a ruleset is translated: iptables' own, or native nftables."""

    __hash__ = object.__hash__

    IPTABLES = "iptables"
    NFT = "nft"


class Key(Enum):
    """What a match examines. Members are in the order in which a canonical rule lists them."""

    __hash__ = object.__hash__

    IN_INTERFACE = "in-interface"
    OUT_INTERFACE = "out-interface"
    PROTOCOL = "protocol"
    SOURCE = "source"
    DESTINATION = "destination"
    CT_STATE = "ct-state"
    SPORT = "sport"
    DPORT = "dport"
    UID = "uid"
    GID = "gid"
    MARK = "mark"
    CONNMARK = "connmark"


class RuleAction(Enum):
    """What happens to a packet that matches."""

    __hash__ = object.__hash__

    RETURN = "return"
    ACCEPT = "accept"
    DROP = "drop"
    JUMP = "jump"
    REDIRECT = "redirect"
    TPROXY = "tproxy"
    MARK = "mark"
    SAVE_MARK = "save-mark"
    RESTORE_MARK = "restore-mark"
    ZONE = "zone"


_RANK = {key: rank for rank, key in enumerate(Key)}


class Match(NamedTuple):
    """One condition: `key` is one of `values` (or, `negated`, none of them).

    Values are text for interfaces, protocols, addresses (in CIDR form) and group names, else numbers.
    """

    key: Key
    values: tuple[str | int, ...]
    negated: bool = False

    @property
    def value(self) -> str | int:
        """The value of a key that has exactly one."""
        return self.values[0]

    @property
    def rank(self) -> int:
        """Its position in a canonical rule."""
        return _RANK[self.key]


class Target(NamedTuple):
    """What a rule does: `chain` for a jump, `port` for redirections, `number` for a mark or a conntrack zone."""

    verb: RuleAction
    chain: str = ""
    port: int = 0
    number: int = 0


class Rule(NamedTuple):
    """A rule in its place.

    `position` is iptables' (1 is the head of the chain), None to append. `family` None means both. `only` names the
    backend that has this rule if only one has. `matches` are in the order of the iptables command; `bare_port` concerns
    only nft's text: the protocol is written once, with the port.
    """

    table: str
    chain: str
    matches: tuple[Match, ...]
    target: Target
    position: int | None = None
    family: Family | None = None
    only: Backend | None = None
    bare_port: bool = False

    @property
    def protocol(self) -> str | None:
        """`tcp`, `udp`, or None for any."""
        return next((str(match.value) for match in self.matches if match.key is Key.PROTOCOL), None)

    def first(self, key: Key) -> Match | None:
        """Return the first match on `key`."""
        return next((match for match in self.matches if match.key is key), None)

    def canonical(self) -> "Rule":
        """Return the rule as the kernel knows it: without place and notation, its matches in a fixed order.

        Addresses lose their host bits, ports are sorted.
        """
        matches = tuple(sorted((_known(match) for match in self.matches), key=lambda match: match.rank))
        return self._replace(matches=matches, position=None, only=None, bare_port=False)


class Chain(NamedTuple):
    """A chain and its rules in the order in which packets traverse them."""

    name: str
    rules: tuple[Rule, ...]


class Table(NamedTuple):
    """A table's chains that hold rules, in the order of `CHAINS`."""

    name: str
    chains: tuple[Chain, ...]


class PolicyRoute(NamedTuple):
    """Packets with `mark` are looked up in `table`, whose only route delivers everything locally."""

    family: Family
    mark: int
    table: int


@dataclass(frozen=True)
class Ruleset:
    """All rules of a pod as the builder's program, and the routes and addresses that TPROXY and IPv6 need.

    `loopback_addresses` have to be added to `lo`: unlike 127.0.0.6, `::6` does not exist by default.
    """

    rules: tuple[Rule, ...]
    ipv6: bool = False
    routes: tuple[PolicyRoute, ...] = ()
    loopback_addresses: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of `canonical_text`, in hex: equal for equal rulesets in every process and version of Python."""
        return hashlib.sha256(self.canonical_text.encode()).hexdigest()

    @cached_property
    def canonical_text(self) -> str:
        """One line for each rule, route and address, in order."""
        lines = [_line(rule) for rule in self.rules]
        lines += [f"route family={r.family} mark={r.mark} table={r.table}" for r in self.routes]
        lines += [f"address {address}" for address in self.loopback_addresses]
        return "\n".join([f"ipv6={self.ipv6}", *lines]) + "\n"

    def program(self, backend: Backend, family: Family | None = None) -> tuple[Rule, ...]:
        """Return the rules for `backend`, in the builder's order; with `family`, only those that can match it."""
        return tuple(
            rule
            for rule in self.rules
            if (rule.only is None or rule.only is backend) and (family is None or rule.family in {None, family})
        )

    def tables(self, backend: Backend, family: Family | None = None) -> tuple[Table, ...]:
        """Return what the kernel holds after the program of `backend` has run on empty tables."""
        rules: dict[str, list[Rule]] = {table: [] for table in TABLES}
        for rule in self.program(backend, family):
            rules[rule.table].append(rule)
        outcome = []
        for table in TABLES:
            placed = place(rules[table])
            chains = tuple(Chain(name, placed[name]) for name in CHAINS[table] if name in placed)
            if chains:
                outcome.append(Table(table, chains))
        return tuple(outcome)


def place(rules: Iterable[Rule]) -> dict[str, tuple[Rule, ...]]:
    """Return each chain's rules in their final order, after appends and inserts.

    A position beyond the end appends, as Istio's nft backend does (iptables never gets there).
    """
    chains: dict[str, list[Rule]] = {}
    for rule in rules:
        chain = chains.setdefault(rule.chain, [])
        chain.insert(len(chain) if rule.position is None else rule.position - 1, rule)
    return {name: tuple(chain) for name, chain in chains.items()}


def _known(match: Match) -> Match:
    """Return `match` as the kernel keeps it: ranges without host bits, ports as a sorted set."""
    if match.key in {Key.SOURCE, Key.DESTINATION}:
        return match._replace(values=(str(ip_interface(match.value).network),))
    if match.key in {Key.SPORT, Key.DPORT}:
        return match._replace(values=tuple(sorted({int(port) for port in match.values})))
    return match


def _line(rule: Rule) -> str:
    words = [rule.table, rule.chain, "append" if rule.position is None else f"insert={rule.position}"]
    words += [f"family={rule.family}"] if rule.family else []
    words += [f"only={rule.only.value}"] if rule.only else []
    words += [f"{m.key.value}{'!=' if m.negated else '='}{','.join(map(str, m.values))}" for m in rule.matches]
    target = rule.target
    detail = target.chain or target.port or target.number
    return " ".join([*words, "->", target.verb.value, *([str(detail)] if detail else [])]) + (
        f" mark={target.number}" if target.verb is RuleAction.TPROXY else ""
    )
