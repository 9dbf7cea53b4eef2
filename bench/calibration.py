"""Whether an instrument finds what is known to be there: delays that were put in, and a twin without any; pure.

Each check may fail by chance in one of a hundred runs of a perfect instrument (`ALPHA`, Holm-corrected over what it
looks at), where the 95 % intervals that are shown leave out the truth in one of twenty.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from bench import statistics
from bench.statistics import Floats
from bench.verdict import GATED

ALPHA: Final = 0.01
PHASE: Final = "total"
"""The phase that a delay before the answer lengthens by itself."""

LEAST_SEEN_US: Final = 20.0
"""A delay of this size has to be seen; a smaller one may be too small for a noisy machine."""

CLOSE_RATIO: Final = 0.15
"""So far may another client's median of the same requests lie from our own: each has its own cost of sending one."""


class Row(NamedTuple):
    """A delay that was put in and what a client found of it, in µs, with the 95 % interval over rebuilds.

    `p_value` is for "what was found is what was put in" (or up to `slack_us` more), `found_p_value` for "there is no
    delay".
    """

    client: str
    connection: str
    injected_us: float
    recovered_us: float
    low_us: float
    high_us: float
    p_value: float
    found_p_value: float

    @property
    def covered(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low_us <= self.injected_us <= self.high_us


class Outcome(StrEnum):
    """What a check says; `SKIPPED` where what it needs is not installed."""

    OK = "ok"
    FAILED = "FAILED"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"


class Check(NamedTuple):
    """A question, its answer, and the numbers behind it."""

    name: str
    outcome: Outcome
    detail: str


_SLACK_US: Final = 1.0
_SLACK_RATIO: Final = 0.02
_STRICT: Final = ("polling", "keep-alive")


def slack_us(client: str, connection: str, injected_us: float) -> float:
    """Return how much more than the delay may be found.

    On one virtual machine more was found than was put in: by a client that sleeps 0.8 µs at a delay of 20 µs and 1.5 at
    50, probably because it wakes up later after a longer sleep; by one that never sleeps 0.2 and 0.3, but on new
    connections 0.7 to 1.2, for an unknown reason. The slack was chosen after these figures, and only there; it is no
    prediction. Nothing is allowed to the client that never sleeps on a kept-alive connection.
    """
    return 0.0 if (client, connection) == _STRICT else _SLACK_US + _SLACK_RATIO * injected_us


def rows(client: str, medians: pd.DataFrame, delays_us: Mapping[str, float]) -> list[Row]:
    """Compare the rebuild medians of each delayed arm (`statistics.rebuild_medians`) with its delay."""
    found = []
    for arm, injected_us in delays_us.items():
        for connection in sorted({key[1] for key in medians.index}, reverse=True):
            values = medians.xs((arm, connection, PHASE)).to_numpy(dtype=float)
            found.append(row(client, connection, injected_us, values))
    return found


def row(client: str, connection: str, injected_us: float, differences_us: Floats) -> Row:
    """Make a row of the difference to an arm without a delay, in each rebuild."""
    estimate = statistics.estimate(differences_us)
    # Held against what is nearest of all that the truth may be.
    most_us = injected_us + slack_us(client, connection, injected_us)
    nearest_us = min(max(float(estimate.mean), injected_us), most_us)
    truth = statistics.estimate(differences_us - nearest_us)
    numbers = (estimate.mean, estimate.low, estimate.high, truth.p_value, estimate.p_value)
    mean, low, high, p_value, found_p_value = map(float, numbers)
    return Row(client, connection, injected_us, mean, low, high, p_value, found_p_value)


def recovery(found: Sequence[Row], floor_us: float = 0.0) -> Check:
    """Check that no row contradicts its delay: by its interval at Holm's level, and by more than the noise floor.

    Both, as for every claim of a difference: two builds of the same thing lie as far apart as the floor.
    """
    p_values = statistics.holm(np.array([each.p_value for each in found]))
    wrong = [
        each for each, p_value in zip(found, p_values, strict=True) if p_value < ALPHA and _error_us(each) > floor_us
    ]
    covered = sum(each.covered for each in found)
    most = max(map(_error_us, found))
    said = f"{covered} of {len(found)} 95 % intervals hold it; off by at most {most:.2f} µs, floor {floor_us:.2f} µs"
    return Check(f"{found[0].client}: recovers the delay", Outcome.FAILED if wrong else Outcome.OK, said)


def _error_us(found: Row) -> float:
    """Return how far what was found lies from all that it may be."""
    most_us = found.injected_us + slack_us(found.client, found.connection, found.injected_us)
    return max(found.injected_us - found.recovered_us, found.recovered_us - most_us, 0.0)


def floor_us(medians: pd.DataFrame, twin: str) -> float:
    """Return the noise floor: the larger one of the connections'."""
    connections = {key[1] for key in medians.index}
    twins = [medians.xs((twin, connection, PHASE)).to_numpy(dtype=float) for connection in connections]
    return max(float(statistics.noise_floor(values)) for values in twins)


def detection(found: Sequence[Row]) -> Check:
    """Check that the delays that have to be seen are; a machine on which they could not be is inconclusive."""
    large = [each for each in found if each.injected_us >= LEAST_SEEN_US]
    p_values = statistics.holm(np.array([each.found_p_value for each in large]))
    missed = [each for each, p_value in zip(large, p_values, strict=True) if p_value >= 1 - statistics.CONFIDENCE]
    widest = max((each.high_us - each.low_us) / 2 for each in large)
    said = f"{len(large) - len(missed)} of {len(large)} seen; the widest interval is ± {widest:.1f} µs"
    if not missed:
        outcome = Outcome.OK
    else:
        blind = all((each.high_us - each.low_us) / 2 >= each.injected_us for each in missed)
        outcome = Outcome.INCONCLUSIVE if blind else Outcome.FAILED
    return Check(f"{found[0].client}: sees {LEAST_SEEN_US:g} µs and more", outcome, said)


def quiet(client: str, medians: pd.DataFrame, twin: str) -> Check:
    """Check that the twin does not differ, by the rows that may raise an alarm."""
    keys = [(twin, *kind) for kind in GATED if (twin, *kind) in medians.index]
    estimate = statistics.estimate(medians.loc[keys].to_numpy(dtype=float))
    p_value = float(np.nanmin(statistics.holm(estimate.p_value)))
    total = float(estimate.mean[-1])
    said = f"{keys[-1][1]} {keys[-1][2]} {total:+.2f} µs; Holm-corrected p = {p_value:.3f}"
    return Check(f"{client}: the twin is quiet", Outcome.FAILED if p_value < ALPHA else Outcome.OK, said)


def close(name: str, own_us: float, other_us: float) -> Check:
    """Check that two clients' medians of the same requests are alike."""
    ratio = own_us / other_us if other_us > 0 else math.nan
    said = f"own {own_us:.1f} µs, {name} {other_us:.1f} µs: ratio {ratio:.2f}"
    outcome = Outcome.OK if abs(ratio - 1) <= CLOSE_RATIO else Outcome.FAILED
    return Check(f"own client and {name}: the same median", outcome, said)


def status(checks: Sequence[Check]) -> int:
    """Return the exit status: 1 if a check failed, else 4 if one is inconclusive, else 0."""
    outcomes = {check.outcome for check in checks}
    return 1 if Outcome.FAILED in outcomes else 4 if Outcome.INCONCLUSIVE in outcomes else 0
