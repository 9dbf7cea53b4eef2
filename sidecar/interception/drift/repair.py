"""Texts for `iptables-restore` that remove rules, or block traffic while they are missing. Pure."""

from collections.abc import Iterable

from sidelab.sidecar.interception.drift.differences import OURS, DriftPlace, Lines, is_ours
from sidelab.sidecar.interception.model.counted import ChainRows, TableRows
from sidelab.sidecar.interception.model.model import Family

_HOOKS = ("INPUT", "FORWARD", "OUTPUT")
_GUARDS = [(hook, protocol) for hook in _HOOKS for protocol in ("tcp", "udp")]

# Istio's guardrails: nothing gets in or out of the pod while its rules are missing.
GUARD = "".join(["*filter\n", *(f"-I {hook} 1 -p {protocol} -j DROP\n" for hook, protocol in _GUARDS), "COMMIT\n"])
UNGUARD = "".join(["*filter\n", *(f"-D {hook} -p {protocol} -j DROP\n" for hook, protocol in _GUARDS), "COMMIT\n"])


def cleaning(tables: Iterable[TableRows], family: Family, wanted: Lines) -> str:
    """Return the text that removes exactly Istio's rules from `tables`, a save of `family`; "" if there are none."""
    texts = []
    for table in tables:
        jumps = [line for chain in table.chains for line in _deleted(chain, table.name, family, wanted)]
        chains = [chain.name for chain in table.chains if chain.name.startswith(OURS)]
        lines = [*jumps, *(f"-F {chain}" for chain in chains), *(f"-X {chain}" for chain in chains)]
        if lines:
            texts += [f"*{table.name}", *lines, "COMMIT"]
    return "".join(f"{line}\n" for line in texts)


def _deleted(chain: ChainRows, table: str, family: Family, wanted: Lines) -> list[str]:
    if chain.name.startswith(OURS):
        return []
    lines = wanted.get(DriftPlace(family, table, chain.name), ())
    return [f"-D {chain.name} {row.words}" for row in chain.rows if is_ours(chain.name, row, lines)]


def undoing(before: str, after: str) -> str:
    """Return the text that, without `--noflush`, changes the save `after` back to `before`; "" if they are equal.

    Tables that `before` does not have are emptied.
    """
    new = [line for line in after.splitlines() if line.startswith("*") and f"{line}\n" not in before]
    if not new and _commands(before) == _commands(after):
        return ""
    return before + "".join(f"{table}\nCOMMIT\n" for table in new)


def _commands(save: str) -> list[str]:
    """Return a save without comments (they contain the time) and counters."""
    return [
        line.partition("] ")[2] or line.partition(" [")[0] for line in save.splitlines() if not line.startswith("#")
    ]
