"""What an overhead is made of: the answer for a plan whose terms add up to an arm, as `ladder`'s do; pure."""

from collections.abc import Sequence

import numpy as np

from sidelab.bench.judge.answer.pairs import difference
from sidelab.bench.judge.answer.words import NOUNS, capital, effect, of_arm, sentence, short, through
from sidelab.bench.judge.decomposition import TermEstimate, adds_up_to
from sidelab.bench.judge.summary import Summary
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan.plan import Plan


def sentences(plan: Plan, table: Summary, terms: Sequence[TermEstimate]) -> list[str]:
    """Return the headline, the whole and its parts on the first kind of connection, and a bullet for each other.

    The bullet after the headline says which part is the largest, and which can't be told from 0.
    """
    first, *others = plan.connections
    said = [_whole(plan, table, terms, each) for each in (first, *others)]
    return [*said, _largest(plan, table, terms, first)]


def _whole(plan: Plan, table: Summary, terms: Sequence[TermEstimate], connection: str) -> str:
    name = adds_up_to(plan)
    whole = of_arm(table, plan, name, connection)
    steps = [
        f"{term.term} {short(term.mean_us, sign=True)}"
        for term in terms
        if (term.connection, term.phase) == (connection, "total")
    ]
    listing = f"the parts: {', '.join(steps)} µs"
    return f"{sentence(whole, connection, through(plan.arm(name)))}; {listing}."


def _largest(plan: Plan, table: Summary, terms: Sequence[TermEstimate], connection: str) -> str:
    found = {each.name: difference(plan, table, terms, each, connection) for each in plan.terms}
    known = {name: each for name, each in found.items() if not np.isnan(each.mean_us)}
    if not known:
        return f"No part was measured on {NOUNS[connection]}."
    most = max(known, key=lambda name: abs(known[name].mean_us))
    small = [name for name, each in known.items() if each.verdict == ArmVerdict.EQUIVALENT]
    open_ = [name for name, each in known.items() if each.verdict == ArmVerdict.INCONCLUSIVE]
    said = [f"on {NOUNS[connection]} the largest part is {most}: {effect(known[most])}"]
    if small:
        said.append(f"no difference that matters: {', '.join(small)}")
    if open_:
        said.append(f"too small for this run to tell: {', '.join(open_)}")
    return f"{capital('; '.join(said))}."
