"""When requests are due: a rate, a duration and a seed become offsets from the start; pure."""

import random
from collections.abc import Iterator
from itertools import takewhile
from typing import Literal

Kind = Literal["uniform", "exponential"]
"""`uniform`: equal gaps, as fortio's `-uniform`; `exponential`: independent arrivals, a Poisson process."""


def starts_ns(kind: Kind, rate_per_s: float, duration_s: float, seed: str) -> list[int]:
    """Return the offsets in ns at which requests are due, ascending, all below `duration_s`.

    Uniform gaps share one random phase, so that repetitions do not always meet the same ticks of the machine.
    """
    end_ns = duration_s * 1e9
    return [round(each) for each in takewhile(lambda at_ns: at_ns < end_ns - 0.5, _offsets(kind, rate_per_s, seed))]


def _offsets(kind: Kind, rate_per_s: float, seed: str) -> Iterator[float]:
    chance = random.Random(seed)
    gap_ns = 1e9 / rate_per_s
    if kind == "uniform":
        phase = chance.random()
        number = 0
        while True:
            yield (number + phase) * gap_ns
            number += 1
    at_ns = 0.0
    while True:
        at_ns += chance.expovariate(1.0) * gap_ns
        yield at_ns
