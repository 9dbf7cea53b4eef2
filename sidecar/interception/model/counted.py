"""Rules together with their counters: the form that every listing is made from. Pure.

It comes from the kernel (`kernel.counters`) or, with zeros, from a ruleset.
"""

from dataclasses import dataclass

from sidelab.sidecar.interception.model.model import BUILT_IN, Backend, Family, Rule, Ruleset

# Built-in chains in the order of hooks; those without our rules exist in iptables' own tables.
_ORDER = {name: rank for rank, name in enumerate(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))}


@dataclass(frozen=True)
class Row:
    """A canonical rule, the packets that reached its target, and their bytes.

    `rule` is None for a foreign rule that the model cannot express. `words` are the rule's own: its text from
    iptables-save, or the parts of a rule that the model cannot express.
    """

    rule: Rule | None
    packets: int = 0
    bytes: int = 0
    words: str = ""


@dataclass(frozen=True)
class ChainRows:
    """A chain by its iptables name; `policy` is a built-in chain's, else empty."""

    name: str
    policy: str
    rows: tuple[Row, ...]

    def visible(self, family: Family) -> tuple[Row, ...]:
        """Return the rows that packets of `family` can match."""
        return tuple(row for row in self.rows if row.rule is None or row.rule.family in {None, family})


@dataclass(frozen=True)
class TableRows:
    """A table by its iptables name, with chains in iptables' order: built-in ones, then the others by name."""

    name: str
    chains: tuple[ChainRows, ...]

    def references(self, chain: str, family: Family) -> int:
        """Return how many rules for `family` jump to `chain`."""
        rules = [row.rule for each in self.chains for row in each.visible(family) if row.rule]
        return sum(rule.target.chain == chain for rule in rules)


def listed(name: str, chains: list[ChainRows]) -> TableRows:
    """Return the table with its chains in the order of iptables' listing."""
    return TableRows(name, tuple(sorted(chains, key=lambda chain: (_ORDER.get(chain.name, len(_ORDER)), chain.name))))


def from_ruleset(ruleset: Ruleset) -> tuple[TableRows, ...]:
    """Return the ruleset as the kernel would show it right after it was applied over netlink."""
    return tuple(
        listed(
            table.name,
            [
                ChainRows(
                    chain.name,
                    "ACCEPT" if chain.name in BUILT_IN else "",
                    tuple(Row(rule.canonical()) for rule in chain.rules),
                )
                for chain in table.chains
            ],
        )
        for table in ruleset.tables(Backend.NFT)
    )
