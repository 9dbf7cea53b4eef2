"""Removes Istio's rules from nftables tables into which others have put rules or chains. Pure.

Istio itself flushes and deletes its tables with everything in them.
"""

from collections.abc import Mapping

from sidelab.lab.netlink.nftables import ChainState, NftTable, Operation, RuleHandle, TableState
from sidelab.sidecar.interception.drift.differences import OURS, DriftPlace, Lines, is_ours
from sidelab.sidecar.interception.expressions.lift import lift
from sidelab.sidecar.interception.model.model import BUILT_IN
from sidelab.sidecar.interception.text import nft

Handles = Mapping[tuple[NftTable, str], tuple[RuleHandle, ...]]


def removal(state: TableState, handles: Handles, wanted: Lines) -> tuple[Operation, ...]:
    """Return the operations that delete one of our tables, or, if others have something in it, all but theirs.

    `wanted` are the rules expected in built-in chains: besides jumps to Istio's chains, these are Istio's too.
    """
    rules: list[Operation] = []
    chains: list[ChainState] = []
    for each in state.chains:
        name, mine = nft.model_chain(each.chain.name), _which_are_ours(state, each, wanted)
        if name.startswith(OURS) or (name in BUILT_IN and all(mine)):
            chains.append(each)
        else:
            held = handles.get((state.table, each.chain.name), ())
            rules += [Operation("delete", rule) for rule, ours in zip(held, mine, strict=True) if ours]
    if len(chains) == len(state.chains):
        return (Operation("delete", state.table),)
    flushed = [Operation("flush", each.chain) for each in chains]
    return (*rules, *flushed, *(Operation("delete", each.chain) for each in chains))


def _which_are_ours(state: TableState, chain: ChainState, wanted: Lines) -> list[bool]:
    table, name = nft.model_table(state.table.name), nft.model_chain(chain.chain.name)
    lines = wanted.get(DriftPlace(None, table, name), ())
    return [is_ours(name, lift(table, name, rule.expressions), lines) for rule in chain.rules]
