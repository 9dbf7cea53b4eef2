"""A difference between two ways of a request, and its wording in a sentence or in a list; pure."""

from typing import Final, NamedTuple

import numpy as np

from sidelab.bench.judge.summary import Summary, microseconds
from sidelab.bench.judge.verdict import ArmVerdict
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan

NOUNS: Final = {"new": "a new connection", "keep-alive": "a kept-alive connection"}

_WITH_AN: Final = ("HTTP", *"AEIOaeio")


class JudgedDifference(NamedTuple):
    """How much longer a request takes one way (median `us`) than another (median `base_us`); µs, NaN if unknown."""

    mean_us: float
    low_us: float
    high_us: float
    us: float
    base_us: float
    margin_us: float
    visible_us: float
    verdict: ArmVerdict


def of_arm(table: Summary, plan: Plan, arm: str, connection: str) -> JudgedDifference:
    """Return how much longer an arm's requests take than the reference's."""
    row, base = table[arm, connection, "total"], table[plan.reference, connection, "total"]
    bounds = (row.overhead_us, row.low_us, row.high_us)
    return JudgedDifference(
        *bounds, row.p50_us, base.p50_us, row.margin_us, row.smallest_visible_us, ArmVerdict(str(row.verdict))
    )


def sentence(found: JudgedDifference, connection: str, by: str, than: str = "") -> str:
    """Return a difference as a sentence of its own, without the full stop.

    `by` is the way of the requests ("through a TCP sidecar"), `than` the way that they are compared with, if the
    medians do not make that clear.
    """
    request = f"a request on {NOUNS[connection]}"
    than_that = f" than {than}" if than else ""
    if found.verdict == ArmVerdict.NOT_APPLICABLE or np.isnan(found.mean_us):
        return capital(f"{request} {by} was not measured")
    more = "longer" if found.mean_us > 0 else "less"
    size = f"{short(abs(found.mean_us))} µs{_share(found)}"
    if found.verdict == ArmVerdict.CHANGED:
        return capital(f"{request} takes {size} {more} {by}{than_that}{_medians(found)}")
    if found.verdict == ArmVerdict.EQUIVALENT:
        margin = f"any difference is below the {short(found.margin_us)} µs that nobody need care about"
        return capital(f"{request} takes as long {by} as {than or 'without'}: {margin}")
    if np.isnan(found.low_us):
        so_far = f"{request} took {size} {more} {by}{than_that} in the one build that was measured"
        return capital(f"{so_far}, and one is too few for an answer")
    seen = f"{short(found.visible_us)} µs would have shown"
    return f"This run can't tell whether {request} takes longer {by}{than_that}: {interval(found)}, and {seen}"


def effect(found: JudgedDifference) -> str:
    """Return a difference as an item of a list: its size with percent, or why it has none."""
    if found.verdict == ArmVerdict.NOT_APPLICABLE or np.isnan(found.mean_us):
        return "not measured"
    if found.verdict == ArmVerdict.EQUIVALENT:
        return "no difference that matters"
    if found.verdict == ArmVerdict.CHANGED:
        return f"{short(found.mean_us, sign=True)} µs{_share(found)}"
    if np.isnan(found.low_us):
        return f"{short(found.mean_us, sign=True)} µs in one build"
    return f"inconclusive ({interval(found)})"


def interval(found: JudgedDifference) -> str:
    """Format a difference with its 95 % interval."""
    center = microseconds(found.mean_us, sign=True)
    return f"{center} µs [{microseconds(found.low_us)}, {microseconds(found.high_us)}]"


def through(arm: Arm) -> str:
    """Return how requests travel in an arm, as the end of a sentence."""
    said = arm.describe()
    if arm.injected or arm.server == "explicit":
        return f"through {'an' if said.startswith(_WITH_AN) else 'a'} {said}"
    return f"with {said}"


def short(us: float, *, sign: bool = False) -> str:
    """Format a time for a sentence: whole microseconds from 10 up; the tables have the decimals."""
    if np.isnan(us) or abs(us) < 9.95:
        return microseconds(us, sign=sign)
    return f"{us:{'+' if sign else ''},.0f}".replace("-", "\N{MINUS SIGN}")


def capital(said: str) -> str:
    """Begin with a capital letter."""
    return said[:1].upper() + said[1:]


def _share(found: JudgedDifference) -> str:
    """Format the difference as a share of the other way's median, in brackets; '' if that is unknown."""
    if np.isnan(found.base_us) or found.base_us <= 0:
        return ""
    share = 100 * abs(found.mean_us) / found.base_us
    return f" ({share:,.0f} %)" if share >= 1.95 else f" ({share:.1f} %)"


def _medians(found: JudgedDifference) -> str:
    """Format both medians, if both are known, with a note if they visibly differ by something else."""
    if np.isnan(found.us) or np.isnan(found.base_us):
        return ""
    said = f": {short(found.us)} instead of {short(found.base_us)} µs"
    if abs(found.us - found.base_us - found.mean_us) <= max(1.0, 0.03 * abs(found.mean_us)):
        return said
    size = short(abs(found.mean_us))
    return f"{said} (the medians; the {size} µs compare requests made at about the same moment)"
