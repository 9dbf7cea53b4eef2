"""One run of a plan: build the lab, measure a round, record it, prove the path, do it all again.

It reads like that, too: `run` is the list of steps.
"""

import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple, TypeVar

from sidelab.bench.arms import pods_of_arms, revisions
from sidelab.bench.base.interruption import Interrupted
from sidelab.bench.base.samples import RoundSample, Sample
from sidelab.bench.clients import client_process
from sidelab.bench.clients.stamps import Stamps
from sidelab.bench.measure import awake, loads
from sidelab.bench.measure.path_proof import Opened, Prover
from sidelab.bench.measure.progress import Progress
from sidelab.bench.measure.setup import Setup, facts, prepare, require_question
from sidelab.bench.openloop import measure as openloop
from sidelab.bench.plan import request_order
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.bench.plan.request_order import Slot
from sidelab.bench.record import cpu_activity, environment
from sidelab.bench.record.records import RunWriter
from sidelab.lab.client.lab import Lab, foreground
from sidelab.lab.errors import InputError

CHECKOUT = Path(__file__).parents[2]

T = TypeVar("T")


class Round(NamedTuple):
    """A measured round, and what else happened meanwhile."""

    samples: list[Sample]
    facts: RoundSample


class Recorded(NamedTuple):
    """Where a run was recorded, how many whole builds of the lab it has, and the signal that ended it early."""

    directory: Path
    builds: int
    planned: int
    stopped: Interrupted | None = None


def run(
    asked: Plan,
    *,
    results: Path,
    seed: int | None,
    client: str,
    images: str = "standin",
    manifest: Path | None = None,
    budget_s: float | None = None,
    require_all: bool = False,
) -> Recorded:
    """Measure a plan into a new directory below `results`.

    `images` chooses between stand-ins and real programs (see `lab.standins.standin_images.chosen`); `budget_s` counts
    instead of the plan's. Arms that this machine can't run are left out with a caveat, unless `require_all`, or unless
    nothing were left of the plan's question.

    Raises `InputError` for an unknown client or revision or another manifest before anything is started,
    `MachineError` where no lab can be built, an arm is missing or the question can't be answered, `PodError` when a pod
    fails or an arm's traffic did not take its path, and `Interrupted` where that was before the first round that
    counts: then nothing is kept.
    """
    if budget_s is not None and not 0 < budget_s < math.inf:
        raise InputError(f"--budget-s {budget_s:g}: give seconds, more than 0")
    machine = environment.read(checkout=CHECKOUT)
    with revisions.extracted(asked, CHECKOUT) as proxies:
        setup = prepare(
            asked,
            seed=seed,
            client=client,
            images=images,
            manifest=manifest,
            proxies={word: each.program for word, each in proxies.items()},
            require_all=require_all,
        )
        require_question(asked, setup)
        recorder = RunWriter(results, setup.plan, setup.seed, datetime.now(UTC))
        try:
            with recorder as writer, Progress(setup.plan) as progress:
                revised = {word: each.commit for word, each in proxies.items()}
                writer.describe(**facts(setup, machine), revisions=revised)
                _measure(setup, writer, progress, budget_s)
        except Interrupted as stop:
            if not recorder.measured_rounds:
                recorder.discard()
                raise Interrupted(stop.number, "stopped before anything was measured; nothing is kept") from None
            return Recorded(recorder.directory, recorder.builds, setup.plan.rebuilds, stop)
    return Recorded(recorder.directory, recorder.builds, setup.plan.rebuilds)


def _measure(setup: Setup, writer: RunWriter, progress: Progress, budget_s: float | None) -> None:
    """Measure and record rebuild after rebuild, until the last or until the stop rule has enough."""
    from sidelab.bench.measure.enough import StopRule  # noqa: PLC0415  # pandas: a machine without namespaces should hear of it first

    rule = StopRule(setup.plan, budget_s)
    begun_s, longest_s = monotonic(), 0.0
    for rebuild in range(1, setup.plan.rebuilds + 1):
        since_s = monotonic()
        samples: list[Sample] = []
        with built(setup, rebuild) as lab:
            for found in measure_requests(setup, rebuild, lab):
                writer.append(found.samples)
                writer.append_round(found.facts)
                progress.advance(len(found.samples))
                samples += found.samples
            if setup.plan.loads or setup.plan.idle_connections:
                writer.append_loads(_proven(setup, lab, loads.measure, rebuild, loads.opened))
            if setup.plan.rates:
                writer.append_rates(_proven(setup, lab, openloop.measure, rebuild, openloop.opened))
            writer.builds = rebuild
        now_s = monotonic()
        longest_s = max(longest_s, now_s - since_s)
        reason = rule.reason(rebuild, samples, now_s - begun_s, longest_s)
        if reason and rebuild < setup.plan.rebuilds:
            writer.stop(reason, rebuild)
            return


def _proven(
    setup: Setup, lab: Lab, measure: Callable[..., list[T]], rebuild: int, opened: Callable[[Plan, Arm], int]
) -> list[T]:
    """Measure loads of one kind, and prove that every arm's took its path."""
    prover = Prover(lab, setup.plan, setup.pods)
    found = measure(setup.plan, lab, setup.pods, rebuild, setup.seed, setup.client_cpu)
    prover.check({arm.name: Opened.at_least(opened(setup.plan, arm)) for arm in setup.plan.arms}, tracked=False)
    return found


def measure_build(setup: Setup, rebuild: int) -> Iterator[list[Sample]]:
    """Build the lab once with every arm alive, and yield each round's samples as `measure_requests` does."""
    with built(setup, rebuild) as lab:
        for found in measure_requests(setup, rebuild, lab):
            yield found.samples


@contextmanager
def built(setup: Setup, rebuild: int) -> Iterator[Lab]:
    """Build the lab once, for the block, on CPUs as the plan places it."""
    with (
        foreground(setup.blueprint, f"bench-{os.getpid()}-{rebuild}", cpus=setup.lab_cpus) as lab,
        awake.kept(setup.plan.placement.awake),
    ):
        yield lab


def measure_requests(setup: Setup, rebuild: int, lab: Lab) -> Iterator[Round]:
    """Yield the rounds of one lab build, each with its arms' paths proven.

    Raises `PodError` when an arm's evidence disagrees with its label; that round is lost.
    """
    prover = Prover(lab, setup.plan, setup.pods)
    with measuring_client(setup, lab) as client:
        for round_, slots in request_order.rounds(setup.plan, setup.seed, rebuild):
            before = cpu_activity.read()
            stamps = client.round(slots)
            after = cpu_activity.read()
            opened = {name: Opened.exactly(count) for name, count in client.opened.items()}
            prover.check(opened, tracked=round_ == setup.plan.rounds)
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


class MeasuringClient:
    """The measuring process, from our side.

    Of the last round: `opened`, the connections that it has made, by arm; `preempted` and `time_wait` as in
    `bench.base.samples.RoundSample`.
    """

    def __init__(self, link: socket.socket, arms_in_order: Sequence[str]) -> None:
        self._link = link
        self._index = {name: number for number, name in enumerate(arms_in_order)}
        self._opened = [0] * len(arms_in_order)
        self.opened: dict[str, int] = {}
        self.preempted = self.time_wait = 0

    def round(self, slots: Sequence[Slot]) -> list[Stamps]:
        """Measure one round; raises `PodError` with the client's own words when it fails."""
        order = [(self._index[slot.arm], slot.connection == "new") for slot in slots]
        answer = client_process.ask(self._link, {"slots": order}, "the measuring client")
        before, self._opened = self._opened, answer["opened"]
        self.opened = {name: self._opened[number] - before[number] for name, number in self._index.items()}
        self.preempted, self.time_wait = answer["preempted"], answer["time_wait"]
        return [tuple(stamps) for stamps in answer["samples"]]


@contextmanager
def measuring_client(setup: Setup, lab: Lab) -> Iterator[MeasuringClient]:
    """Start a measuring client for this build, and end it with the block."""
    names = [arm.name for arm in setup.plan.arms]
    targets = pods_of_arms.targets(setup.plan, setup.pods, lab.status())
    order = {
        "cpu": setup.client_cpu,
        "client": setup.client,
        "targets": [targets[name] for name in names],
    }
    with client_process.started(
        "sidelab.bench.clients.client", lab, [setup.pods[name].client for name in names], order
    ) as link:
        yield MeasuringClient(link, names)


def _samples(rebuild: int, round_: int, slots: Sequence[Slot], stamps: Sequence[Stamps]) -> list[Sample]:
    rows = []
    for position, (slot, (connect, pretransfer, starttransfer, total, status, size)) in enumerate(
        zip(slots, stamps, strict=True)
    ):
        rows.append(
            Sample(
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
