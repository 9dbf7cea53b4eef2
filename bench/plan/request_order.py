"""The order of requests: seed → per rebuild and round a shuffled list of slots; pure, and the same on every machine."""

import random
from collections.abc import Iterator
from typing import NamedTuple

from sidelab.bench.base.samples import WARMUP_ROUND
from sidelab.bench.plan.plan import Connection, Plan


class Slot(NamedTuple):
    """One request to send: through which arm, on which kind of connection."""

    arm: str
    connection: Connection


def order(plan: Plan, seed: int, rebuild: int, round_: int) -> list[Slot]:
    """Shuffle one round: every arm x connection equally often, in an order that depends only on the four arguments.

    Round `WARMUP_ROUND` has `warmup_requests` of each, every other round `requests_per_round`.
    """
    count = plan.warmup_requests if round_ == WARMUP_ROUND else plan.requests_per_round
    slots = [Slot(arm.name, connection) for arm in plan.arms for connection in plan.connections] * count
    # The seed is text, which hashes all four arguments: neighbouring rounds and seeds are unrelated, and a round can be
    # repeated alone.
    random.Random(f"{seed}/{rebuild}/{round_}").shuffle(slots)
    return slots


def rounds(plan: Plan, seed: int, rebuild: int) -> Iterator[tuple[int, list[Slot]]]:
    """Yield the rounds of one rebuild in order: the warm-up, if there is one, then `plan.rounds` measured ones."""
    first = WARMUP_ROUND if plan.warmup_requests else WARMUP_ROUND + 1
    for round_ in range(first, plan.rounds + 1):
        yield round_, order(plan, seed, rebuild, round_)
