"""Loads rulesets into one network namespace and removes them, over a netlink socket that was opened inside it.

`counters` returns what the kernel reports. Policy routes and addresses are not set here, because they need rtnetlink.
"""

import dataclasses
import grp
import socket
from functools import lru_cache

from sidelab.lab.errors import InputError
from sidelab.lab.netlink import nftables
from sidelab.lab.netlink.nftables import Operation, TableState
from sidelab.sidecar.interception.drift import foreign_rules
from sidelab.sidecar.interception.drift.differences import expected
from sidelab.sidecar.interception.expressions.lift import lift
from sidelab.sidecar.interception.expressions.lower import lower
from sidelab.sidecar.interception.model.counted import ChainRows, TableRows, listed
from sidelab.sidecar.interception.model.model import TABLES, Backend, Key, Match, Ruleset
from sidelab.sidecar.interception.text import nft


@lru_cache(maxsize=256)
def encoded(ruleset: Ruleset) -> bytes:
    """Return the batch that `apply` sends; it is encoded once for equal pods.

    Raises `InputError` for a group that this machine does not know.
    """
    return nftables.encode(lower(resolved(ruleset)))


def apply(sock: socket.socket, ruleset: Ruleset) -> None:
    """Make the tables of `ruleset` hold it and nothing else; applying it twice has the same result.

    As in Istio, tables without rules in it are left as they are: `remove` first if other rules may be there. Raises
    `MachineError` if the kernel lacks something, `PodError` if it refuses; then nothing has changed.
    """
    nftables.send(sock, encoded(ruleset))


def remove(sock: socket.socket) -> None:
    """Delete those of our tables that exist, with everything in them, like Istio."""
    nftables.send(sock, _removal())


def replace(sock: socket.socket, ruleset: Ruleset) -> None:
    """Replace all of Istio's rules by `ruleset` in one transaction; what others have put into our tables stays.

    Raises what `apply` raises.
    """
    ruleset = resolved(ruleset)
    taken = _removal_but_others(sock, ruleset)
    kept = {each.thing.table for each in taken if not isinstance(each.thing, nftables.NftTable)}
    made = [each for each in lower(ruleset) if each.verb != "flush" or each.thing not in kept]
    nftables.send(sock, nftables.encode((*taken, *made)))


def clear(sock: socket.socket, ruleset: Ruleset) -> None:
    """Remove all of Istio's rules, and our tables unless others have put something into them."""
    taken = _removal_but_others(sock, resolved(ruleset))
    if taken:
        nftables.send(sock, nftables.encode(taken))


def counters(sock: socket.socket) -> tuple[TableRows, ...]:
    """Return our tables as the kernel holds them, with each rule's counters."""
    ours = {nft.table_name(table) for table in TABLES}
    states = {state.table.name: state for state in nftables.dump(sock) if state.table.name in ours}
    return tuple(_rows(states[nft.table_name(table)]) for table in TABLES if nft.table_name(table) in states)


def resolved(ruleset: Ruleset) -> Ruleset:
    """Return `ruleset` with group names replaced by this machine's numbers."""
    if not any(
        match.key is Key.GID and isinstance(match.value, str) for rule in ruleset.rules for match in rule.matches
    ):
        return ruleset
    rules = tuple(rule._replace(matches=tuple(map(_numbered, rule.matches))) for rule in ruleset.rules)
    return dataclasses.replace(ruleset, rules=rules)


def _numbered(match: Match) -> Match:
    if match.key is not Key.GID or isinstance(match.value, int):
        return match
    try:
        return match._replace(values=(grp.getgrnam(match.value).gr_gid,))
    except KeyError:
        raise InputError(f"group {match.value!r}: this machine has no such group: give its numeric id") from None


@lru_cache(maxsize=1)
def _removal() -> bytes:
    # Deleting a table that does not exist fails, so each is added first.
    tables = [nftables.NftTable(nft.table_name(table)) for table in TABLES]
    return nftables.encode(tuple(Operation(verb, table) for table in tables for verb in ("add", "delete")))


def _removal_but_others(sock: socket.socket, ruleset: Ruleset) -> tuple[Operation, ...]:
    ours = {nft.table_name(table) for table in TABLES}
    wanted, handles = expected(ruleset, Backend.NFT), nftables.handles(sock)
    held = [table for table in nftables.dump(sock) if table.table.name in ours]
    return tuple(operation for table in held for operation in foreign_rules.removal(table, handles, wanted))


def _rows(state: TableState) -> TableRows:
    table = nft.model_table(state.table.name)
    chains = []
    for each in state.chains:
        name = nft.model_chain(each.chain.name)
        policy = "" if each.chain.hook is None else "ACCEPT" if each.accepts else "DROP"
        chains.append(ChainRows(name, policy, tuple(lift(table, name, rule.expressions) for rule in each.rules)))
    return listed(table, chains)
