"""One run of a plan: build the lab, measure a round, record it, prove the path, do it all again, report.

It reads like that, too: `run` is the list of steps.
"""

import math
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import msgspec

from bench import activity, arms, environment, inside, loads, programs, revisions, schedule
from bench.arms import ArmPods, Target
from bench.caveats import Caveat
from bench.openloop import measure as openloop
from bench.plan import Plan
from bench.progress import Progress
from bench.proof import Prover
from bench.records import RunWriter
from bench.samples import RoundSample, Sample
from bench.schedule import Slot
from bench.stamps import Stamps
from lab import wire
from lab.blueprint import Blueprint, draw
from lab.errors import InputError, MachineError, PodError
from lab.lab import Lab, foreground
from lab.manifest import Manifest, load

CLIENTS = ("own", "curl", "polling")
CHECKOUT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setup:
    """What all builds of a run have in common."""

    plan: Plan
    seed: int
    client: str
    client_cpu: int
    lab_cpus: frozenset[int]
    manifest: Manifest
    blueprint: Blueprint
    pods: Mapping[str, ArmPods]
    images: Mapping[str, str]
    skipped: Mapping[str, str]


class Round(NamedTuple):
    """A measured round, and what else happened meanwhile."""

    samples: list[Sample]
    facts: RoundSample


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
) -> Path:
    """Measure a plan into a new directory below `results`, print the answer, and return the directory.

    `images` chooses between stand-ins and real programs (see `lab.images.chosen`); `budget_s` counts instead of the
    plan's. Arms that this machine can't run are left out with a caveat, unless `require_all`.

    Raises `InputError` for an unknown client or revision or another manifest before anything is started,
    `MachineError` where no lab can be built or an arm is missing, `PodError` when a pod fails or an arm's traffic did
    not take its path.
    """
    if budget_s is not None and not 0 < budget_s < math.inf:
        raise InputError(f"--budget-s {budget_s:g}: give seconds, more than 0")
    machine = environment.read(checkout=CHECKOUT)
    with revisions.extracted(asked, CHECKOUT) as proxies:
        setup = prepare(
            asked, seed=seed, client=client, images=images, manifest=manifest, proxies=proxies, require_all=require_all
        )
        with RunWriter(results, setup.plan, setup.seed, datetime.now(UTC)) as writer, Progress(setup.plan) as progress:
            writer.describe(**facts(setup, machine))
            _measure(setup, writer, progress, budget_s)
    from bench.present import present  # noqa: PLC0415  # matplotlib is imported after the measuring

    present(writer.directory)
    return writer.directory


def _measure(setup: Setup, writer: RunWriter, progress: Progress, budget_s: float | None) -> None:
    """Measure and record rebuild after rebuild, until the last or until the stop rule has enough."""
    from bench.stop import StopRule  # noqa: PLC0415  # pandas: a machine without namespaces should hear of it first

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
                writer.append_loads(loads.measure(setup.plan, lab, setup.pods, rebuild, setup.seed, setup.client_cpu))
            if setup.plan.rates:
                rates = openloop.measure(setup.plan, lab, setup.pods, rebuild, setup.seed, setup.client_cpu)
                writer.append_rates(rates)
        now_s = monotonic()
        longest_s = max(longest_s, now_s - since_s)
        reason = rule.reason(rebuild, samples, now_s - begun_s, longest_s)
        if reason and rebuild < setup.plan.rebuilds:
            writer.stop(reason, rebuild)
            return


def prepare(
    asked: Plan,
    *,
    seed: int | None,
    client: str,
    images: str = "standin",
    manifest: Path | None = None,
    proxies: Mapping[str, str] | None = None,
    require_all: bool = False,
) -> Setup:
    """Check and decide everything that a run needs; `proxies` are those of git revisions (`revisions.extracted`).

    Arms that this machine can't run are left out, and `skipped` says why. Raises `InputError`; `MachineError` for a
    tool that is missing, and for a missing arm that is the reference, its twin, or required.
    """
    if client not in CLIENTS:
        raise InputError(f"--client {client}: there are {', '.join(CLIENTS)}")
    if asked.loads and shutil.which("wrk") is None:
        raise MachineError(f"plan {asked.name} puts a load on its arms with wrk, which is not here: `apt install wrk`")
    client_cpu, lab_cpus = asked.placement.resolve(frozenset(os.sched_getaffinity(0)))
    base = load([manifest or arms.default_manifest()])
    skipped: dict[str, str] = {}
    possible = asked
    while True:
        every_arm, pods = arms.build(possible, base, proxies)
        missing = programs.lacking(possible, every_arm)
        if not missing:
            every_arm = programs.awaiting(possible, every_arm, images)
            blueprint = draw(every_arm, programs.registry(possible, images))
            missing = _refused(possible, blueprint, lab_cpus)
        if not missing:
            break
        skipped |= missing
        possible = _without(possible, missing, require_all=require_all)
    return Setup(
        plan=possible,
        seed=_first_given(seed, asked.seed),
        client=client,
        client_cpu=client_cpu,
        lab_cpus=lab_cpus,
        manifest=every_arm,
        blueprint=blueprint,
        pods=pods,
        images=programs.versions(possible, images),
        skipped=skipped,
    )


def _without(asked: Plan, missing: Mapping[str, str], *, require_all: bool) -> Plan:
    name, reason = next(iter(missing.items()))
    if require_all:
        raise MachineError(f"arm {name} can't run here: {reason} (without --require-all it would be left out)")
    needed = {asked.reference, asked.twin} & set(missing)
    if needed:
        raise MachineError(f"arm {needed.pop()}, which all others are held against, can't run here: {reason}")
    return asked.without(missing)


def _refused(asked: Plan, blueprint: Blueprint, cpus: frozenset[int]) -> dict[str, str]:
    """Return the arms whose pods this kernel refuses, each with its reason, by trying.

    Only plans that ask for more than the usual rules are tried, each arm alone; whatever else goes wrong will do so
    while measuring.
    """
    reasons = {}
    for arm in asked.arms:
        if arm.has_rules and (arm.rules, arm.way, arm.family) != ("redirect", "nft", 4):
            pods = tuple(pod for pod in blueprint.pods if pod.key[0] == arm.name)
            try:
                with foreground(replace(blueprint, pods=pods), f"bench-{os.getpid()}-try", cpus=cpus):
                    pass
            except MachineError as error:
                reasons[arm.name] = str(error)
    return reasons


def _first_given(*seeds: int | None) -> int:
    return next((seed for seed in seeds if seed is not None), secrets.randbelow(1 << 32))


def facts(setup: Setup, machine: environment.Environment) -> dict[str, Any]:
    """Return what run.json says about the machine, the placement and the rules."""
    caveats = [*environment.caveats(machine), *_placement_caveats(setup)]
    caveats += [
        Caveat(f"arm {name} was left out: {reason}", "provide it, or give --require-all to insist")
        for name, reason in setup.skipped.items()
    ]
    caveats += [Caveat(each, "see the manifest") for each in setup.manifest.caveats]
    return {
        "environment": msgspec.to_builtins(machine),
        "placement": {"client_cpu": setup.client_cpu, "lab_cpus": sorted(setup.lab_cpus)},
        "client": setup.client,
        "images": dict(setup.images),
        "versions": machine.packages,
        "envoys": programs.envoys(setup.plan),
        "rule_sets": arms.rule_digests(setup.manifest),
        "arms": {arm.name: arm.describe() for arm in setup.plan.arms},
        "skipped": dict(setup.skipped),
        "caveats": [msgspec.to_builtins(each) for each in caveats],
    }


def _placement_caveats(setup: Setup) -> Iterator[Caveat]:
    if setup.client_cpu in setup.lab_cpus:
        yield Caveat("client and lab share their only CPU", "use a machine with two or more")


def measure_build(setup: Setup, rebuild: int) -> Iterator[list[Sample]]:
    """Build the lab once with every arm alive, and yield each round's samples as `measure_requests` does."""
    with built(setup, rebuild) as lab:
        for found in measure_requests(setup, rebuild, lab):
            yield found.samples


def built(setup: Setup, rebuild: int) -> AbstractContextManager[Lab]:
    """Return the lab of one build, which is there once it is entered."""
    return foreground(setup.blueprint, f"bench-{os.getpid()}-{rebuild}", cpus=setup.lab_cpus)


def measure_requests(setup: Setup, rebuild: int, lab: Lab) -> Iterator[Round]:
    """Yield the rounds of one lab build, each with its arms' paths proven.

    Raises `PodError` when an arm's evidence disagrees with its label; that round is lost.
    """
    prover = Prover(lab, setup.plan, setup.pods)
    with measuring_client(setup, lab) as client:
        for round_, slots in schedule.rounds(setup.plan, setup.seed, rebuild):
            before = activity.read()
            stamps = client.round(slots)
            after = activity.read()
            prover.check(client.opened, tracked=round_ == setup.plan.rounds)
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
    `bench.samples.RoundSample`.
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
        wire.send(self._link, {"slots": order})
        answer, _ = wire.receive(self._link)
        if "samples" not in answer:
            raise PodError(f"the measuring client failed: {answer.get('error', 'it ended without a word')}")
        before, self._opened = self._opened, answer["opened"]
        self.opened = {name: self._opened[number] - before[number] for name, number in self._index.items()}
        self.preempted, self.time_wait = answer["preempted"], answer["time_wait"]
        return [tuple(stamps) for stamps in answer["samples"]]


@contextmanager
def measuring_client(setup: Setup, lab: Lab) -> Iterator[MeasuringClient]:
    """Start a measuring client for this build, and end it with the block."""
    names = [arm.name for arm in setup.plan.arms]
    targets: dict[str, Target] = arms.targets(setup.plan, setup.pods, lab.status())
    order = {
        "cpu": setup.client_cpu,
        "client": setup.client,
        "targets": [targets[name] for name in names],
    }
    with inside.started("bench.client", lab, [setup.pods[name].client for name in names], order) as link:
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
