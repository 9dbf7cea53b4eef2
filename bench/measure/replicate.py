"""A replicate, the unit of every statistic: the measurements of one whole build of the lab, as values.

It writes nothing and shows no progress, so its caller decides where its rounds go, and on which bed and in which
process it runs.
"""

from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from sidelab.bench.base.samples import LoadSample, RateSample, RequestSample, RoundSample
from sidelab.bench.clients.stamps import Stamps
from sidelab.bench.measure.beds.bed import Bed, Standing
from sidelab.bench.measure.beds.this_machine import HERE
from sidelab.bench.measure.path_proof import Opened
from sidelab.bench.measure.setup import Setup
from sidelab.bench.plan import request_order
from sidelab.bench.plan.request_order import Slot
from sidelab.bench.record import cpu_activity


class Round(NamedTuple):
    """A measured round, and what else happened during it."""

    samples: list[RequestSample]
    facts: RoundSample


class Loads(NamedTuple):
    """What was measured under load."""

    samples: list[LoadSample]


class Rates(NamedTuple):
    """What was measured by open loops."""

    samples: list[RateSample]


class Whole(NamedTuple):
    """The last part of a replicate: everything is measured, and only its lab is left to end."""

    rebuild: int


Part = Round | Loads | Rates | Whole


def replicate(setup: Setup, rebuild: int, bed: Bed = HERE) -> Generator[Part, None, None]:
    """Build the lab once with every arm alive, and yield rounds, loads and rates as they are measured.

    The lab lives until the last part is taken; close the iterator (`contextlib.closing`) to end it earlier. Raises
    `MachineError` when no lab can be built, and `PodError` when a pod fails or an arm's evidence disagrees with its
    label; the part being measured is then lost.
    """
    with bed.built(setup, rebuild) as standing:
        yield from _rounds(setup, rebuild, standing)
        if setup.plan.loads or setup.plan.idle_connections:
            yield Loads(standing.loads(rebuild))
        if setup.plan.rates:
            yield Rates(standing.rates(rebuild))
        yield Whole(rebuild)


def measure_build(setup: Setup, rebuild: int, bed: Bed = HERE) -> Iterator[list[RequestSample]]:
    """Measure only the requests of a replicate, and yield each round's samples; raises what `replicate` raises."""
    with bed.built(setup, rebuild) as standing:
        for found in _rounds(setup, rebuild, standing):
            yield found.samples


def _rounds(setup: Setup, rebuild: int, standing: Standing) -> Iterator[Round]:
    """Yield the rounds of one lab build, each with its arms' paths proven."""
    proof = standing.proof()
    with standing.client() as client:
        for round_, slots in request_order.rounds(setup.plan, setup.seed, rebuild):
            before = cpu_activity.read()
            stamps = client.round(slots)
            after = cpu_activity.read()
            opened = {name: Opened.exactly(count) for name, count in client.opened.items()}
            proof.check(opened, tracked=round_ == setup.plan.rounds)
            found = RoundSample(
                rebuild=rebuild,
                round=round_,
                duration_s=after.at_s - before.at_s,
                stolen_ratio=after.stolen_ratio(before),
                switches=after.switches - before.switches,
                preempted=client.preempted,
                time_wait=client.time_wait,
            )
            yield Round(_samples(rebuild, round_, slots, stamps), found)


def _samples(rebuild: int, round_: int, slots: Sequence[Slot], stamps: Sequence[Stamps]) -> list[RequestSample]:
    rows = []
    for position, (slot, (connect, pretransfer, starttransfer, total, status, size)) in enumerate(
        zip(slots, stamps, strict=True)
    ):
        rows.append(
            RequestSample(
                rebuild=rebuild,
                round=round_,
                position=position,
                arm=slot.arm,
                connection=slot.connection,
                namelookup_us=None,  # targets are addresses
                connect_us=None if connect is None else connect / 1000,
                appconnect_us=None,  # there is no TLS
                pretransfer_us=pretransfer / 1000,
                starttransfer_us=starttransfer / 1000,
                total_us=total / 1000,
                status=status,
                bytes=size,
            )
        )
    return rows
