"""Arms compared in pairs: the answer for a plan whose terms do not add up, such as `ways` or `compare`; pure."""

from collections.abc import Sequence

from sidelab.bench.judge.answer import overheads
from sidelab.bench.judge.answer.words import NOUNS, JudgedDifference, effect, sentence
from sidelab.bench.judge.decomposition import TermEstimate
from sidelab.bench.judge.summary import Summary
from sidelab.bench.judge.verdict import ArmVerdict, judge, margin_us
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan


def sentences(plan: Plan, table: Summary, terms: Sequence[TermEstimate]) -> list[str]:
    """Return the headline, about the largest difference found, and a bullet for each kind of connection."""
    first, *others = plan.connections
    found = {each.name: difference(plan, table, terms, each, first) for each in plan.terms}
    if len(found) > 1:
        said = [_headline(plan, found, first), _listed(found, first)]
    else:
        said = [
            _headline(plan, found, first),
            overheads.listed(plan, table, overheads.judged(plan), first, described=True),
        ]
    for connection in others:
        said.append(_listed({e.name: difference(plan, table, terms, e, connection) for e in plan.terms}, connection))
    return said


def difference(
    plan: Plan, table: Summary, terms: Sequence[TermEstimate], asked: plans.Term, connection: str
) -> JudgedDifference:
    """Judge a term like an arm: by its interval, the twins' noise floor, and the margin."""
    unknown = float("nan")
    key = (asked.name, connection, "total")
    term = next((each for each in terms if (each.term, each.connection, each.phase) == key), None)
    base_us = table[asked.against or plan.reference, connection, "total"].p50_us
    us = unknown if asked.parts else table[asked.arm, connection, "total"].p50_us  # no request takes an interaction
    margin = margin_us(base_us, plan.margin_us, plan.margin_ratio)
    if term is None:
        return JudgedDifference(unknown, unknown, unknown, us, base_us, margin, unknown, ArmVerdict.NOT_APPLICABLE)
    floor_us = table[plan.twin, connection, "total"].floor_us
    visible_us = max((term.high_us - term.low_us) / 2, floor_us, margin)
    verdict = judge(term.mean_us, term.low_us, term.high_us, floor_us, margin)
    return JudgedDifference(term.mean_us, term.low_us, term.high_us, us, base_us, margin, visible_us, verdict)


def _headline(plan: Plan, found: dict[str, JudgedDifference], connection: str) -> str:
    changed = [name for name, each in found.items() if each.verdict == ArmVerdict.CHANGED]
    if changed or len(found) == 1:
        most = max(changed or found, key=lambda name: abs(found[name].mean_us))
        return f"{sentence(found[most], connection, *_ways(plan, most))}."
    request = f"a request on {NOUNS[connection]}"
    if all(each.verdict == ArmVerdict.EQUIVALENT for each in found.values()):
        return f"None of the {len(found)} pairs that were compared differs in {request} by what matters."
    return f"This run finds no difference in {request} between the {len(found)} pairs that were compared."


def _ways(plan: Plan, name: str) -> tuple[str, str]:
    """Return the two ways that a term compares."""
    term = next(each for each in plan.terms if each.name == name)
    if term.parts:
        return f"by “{name}”", ""
    return f"in {term.arm}", f"in {term.against or plan.reference}"


def _listed(found: dict[str, JudgedDifference], connection: str) -> str:
    clauses = [f"{name}: {effect(each)}" for name, each in found.items()]
    return f"On {NOUNS[connection]} – {'; '.join(clauses)}."
