"""Which of two programs costs less, and by how much: the answer for a plan with ratios, such as `proxies`; pure.

`bench.judge.ratios` computes the numbers; here they are put side by side, all pairs of one quantity in one sentence.
"""

import math
from collections.abc import Sequence
from typing import Final

from sidelab.bench.judge.answer.words import NOUNS, capital, short
from sidelab.bench.judge.ratios import RatioRow
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan, Ratio

Compared = list[tuple[Ratio, RatioRow]]

_LESS: Final = {"added-p50": "faster", "added-p99": "faster", "requests-per-s": "slower", "idle-memory": "smaller"}
_MORE: Final = {"added-p50": "slower", "added-p99": "slower", "requests-per-s": "faster", "idle-memory": "larger"}


def sentences(plan: Plan, rows: Sequence[RatioRow]) -> list[str]:
    """Return the headline, the faster in what the plan compares first; then single requests; then load and memory.

    `rows` are those of `bench.judge.ratios.compare`, one for each of the plan's ratios.
    """
    by_quantity: dict[str, Compared] = {}
    for ratio, row in zip(plan.ratios, rows, strict=True):
        by_quantity.setdefault(row.what, []).append((ratio, row))
    first, *others = by_quantity.values()
    single = [_quantity(each) for each in others if each[0][0].of == "added-p50"]
    rest = [_quantity(each) for each in others if each[0][0].of != "added-p50"]
    missed = [f"{row.arm} in “{row.what}”" for row in rows if row.verdict == "missed"]
    if missed:
        rest.append(f"the plan's target is missed by {', '.join(missed)}")
    said = [f"{capital('; '.join(each))}." for each in (single, rest) if each]
    return [_headline(plan, first), *said]


def _headline(plan: Plan, compared: Compared) -> str:
    ratio = compared[0][0]
    where = _where(ratio)
    one, other = _who(plan, compared)
    pairs = "; ".join(_pair(row) for _, row in compared)
    told = {_sign(row) for _, row in compared}
    if told == {-1}:
        return f"{capital(one)} is {_LESS[ratio.of]} than {other} {where}: {pairs}."
    if told == {1}:
        return f"{capital(one)} is {_MORE[ratio.of]} than {other} {where}: {pairs}."
    if told == {0}:
        return f"Whether {one} is {_LESS[ratio.of]} than {other} {where}, this run can't tell: {pairs}."
    return f"{capital(one)} is not in all cases {_LESS[ratio.of]} than {other} {where}: {pairs}."


def _quantity(compared: Compared) -> str:
    """Return a sentence on one quantity, for all pairs that the plan compares in it."""
    return f"{_where(compared[0][0])}, {_NAMES[compared[0][0].of]}: {'; '.join(_pair(row) for _, row in compared)}"


_NAMES: Final = {
    "added-p50": "time added to a request",
    "added-p99": "time added to the slowest hundredth",
    "requests-per-s": "throughput",
    "idle-memory": "memory",
}


def _where(ratio: Ratio) -> str:
    if ratio.of == "added-p50":
        return f"on {NOUNS[ratio.connection]}"
    return "with idle connections" if ratio.of == "idle-memory" else f"under {ratio.connections} connections at once"


def _who(plan: Plan, compared: Compared) -> tuple[str, str]:
    """Return names for the two sides: their programs, if each side has one and they differ; else their arms."""
    sides = [[plan.arm(row.arm) for _, row in compared], [plan.arm(row.against) for _, row in compared]]
    makers = [{_maker(arm) for arm in side} for side in sides]
    if all(len(each) == 1 for each in makers) and makers[0] != makers[1]:
        return makers[0].pop(), makers[1].pop()
    one, other = (", ".join(dict.fromkeys(arm.name for arm in side)) for side in sides)
    return one, other


def _maker(arm: Arm) -> str:
    if arm.proxy == "envoy":
        return f"Envoy {arm.envoy}".rstrip()
    return "the bundled proxy" if arm.proxy == "bundled" else arm.proxy.rpartition("/")[2]


def _pair(row: RatioRow) -> str:
    if math.isnan(row.value) or math.isnan(row.other):
        return f"{row.arm} and {row.against} were not measured"
    adds = "adds " if ": added" in row.what else ""
    return f"{row.arm} {adds}{short(row.value)}, {row.against} {short(row.other)} {row.unit} ({_share(row)})"


def _share(row: RatioRow) -> str:
    sign = _sign(row)
    if not sign:
        return "too close for this run to tell"
    return f"{100 * abs(row.ratio - 1):.0f} % {'less' if sign < 0 else 'more'}"


def _sign(row: RatioRow) -> int:
    """Return whether, by the interval, the first costs less (-1) or more (1); 0 if the run can't tell."""
    return -1 if row.high < 1 else 1 if row.low > 1 else 0
