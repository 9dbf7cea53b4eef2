"""One run of a plan: build the lab, measure a round, record it, prove the path, do it all again, report.

It reads like that, too: `run` is the list of steps.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench import arms, environment, loads, plan, proof, schedule
from bench.arms import ArmPods
from bench.caveats import Caveat
from bench.plan import Plan
from bench.progress import Progress
from bench.records import RunWriter
from bench.samples import Sample
from bench.schedule import Slot
from bench.stamps import Stamps
from lab import wire
from lab.blueprint import Blueprint, draw
from lab.errors import InputError, MachineError, PodError
from lab.images import chosen, programs
from lab.lab import Lab, foreground
from lab.manifest import Manifest, load
from sidecar.images import IMAGES as MESH

CLIENTS = ("own", "curl")


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


def run(
    name: str, *, results: Path, seed: int | None, client: str, images: str = "standin", manifest: Path | None = None
) -> Path:
    """Measure the plan `name` into a new directory below `results`, print the answer, and return the directory.

    `images` chooses between stand-ins and real programs (see `lab.images.chosen`).

    Raises `InputError` for an unknown plan, client or manifest before anything is started, `MachineError` where no lab
    can be built, `PodError` when a pod fails or an arm's traffic did not take its path.
    """
    setup = prepare(plan.load(name), seed=seed, client=client, images=images, manifest=manifest)
    machine = environment.read(checkout=Path(__file__).parent.parent)
    with RunWriter(results, setup.plan, setup.seed, datetime.now(UTC)) as writer, Progress(setup.plan) as progress:
        writer.describe(**facts(setup, machine))
        for rebuild in range(1, setup.plan.rebuilds + 1):
            with _built(setup, rebuild) as lab:
                for samples in measure_requests(setup, rebuild, lab):
                    writer.append(samples)
                    progress.advance(len(samples))
                if setup.plan.loads or setup.plan.idle_connections:
                    writer.append_loads(
                        loads.measure(setup.plan, lab, setup.pods, rebuild, setup.seed, setup.client_cpu)
                    )
    from bench.present import present  # noqa: PLC0415  # pandas and matplotlib are imported after the measuring

    present(writer.directory)
    return writer.directory


def prepare(
    asked: Plan, *, seed: int | None, client: str, images: str = "standin", manifest: Path | None = None
) -> Setup:
    """Check and decide everything that a run needs; raises `InputError`, `MachineError` for a tool that is missing."""
    if client not in CLIENTS:
        raise InputError(f"--client {client}: there are {' and '.join(CLIENTS)}")
    if asked.loads and shutil.which("wrk") is None:
        raise MachineError(f"plan {asked.name} puts a load on its arms with wrk, which is not here: `apt install wrk`")
    client_cpu, lab_cpus = asked.placement.resolve(frozenset(os.sched_getaffinity(0)))
    every_arm, pods = arms.build(asked, load([manifest or arms.default_manifest()]))
    return Setup(
        plan=asked,
        seed=_first_given(seed, asked.seed),
        client=client,
        client_cpu=client_cpu,
        lab_cpus=lab_cpus,
        manifest=every_arm,
        blueprint=draw(every_arm, chosen(images) + MESH),
        pods=pods,
        images=programs(images),
    )


def _first_given(*seeds: int | None) -> int:
    return next((seed for seed in seeds if seed is not None), secrets.randbelow(1 << 32))


def facts(setup: Setup, machine: environment.Environment) -> dict[str, Any]:
    """Return what run.json says about the machine, the placement and the rules."""
    caveats = [*environment.caveats(machine), *_placement_caveats(setup)]
    caveats += [Caveat(each, "see the manifest") for each in setup.manifest.caveats]
    return {
        "environment": msgspec.to_builtins(machine),
        "placement": {"client_cpu": setup.client_cpu, "lab_cpus": sorted(setup.lab_cpus)},
        "client": setup.client,
        "images": dict(setup.images),
        "versions": machine.packages,
        "rule_sets": arms.rule_digests(setup.manifest),
        "caveats": [msgspec.to_builtins(each) for each in caveats],
    }


def _placement_caveats(setup: Setup) -> Iterator[Caveat]:
    if setup.client_cpu in setup.lab_cpus:
        yield Caveat("client and lab share their only CPU", "use a machine with two or more")


def measure_build(setup: Setup, rebuild: int) -> Iterator[list[Sample]]:
    """Build the lab once with every arm alive, and do what `measure_requests` does."""
    with _built(setup, rebuild) as lab:
        yield from measure_requests(setup, rebuild, lab)


def _built(setup: Setup, rebuild: int) -> AbstractContextManager[Lab]:
    return foreground(setup.blueprint, f"bench-{os.getpid()}-{rebuild}", cpus=setup.lab_cpus)


def measure_requests(setup: Setup, rebuild: int, lab: Lab) -> Iterator[list[Sample]]:
    """Yield the rounds' samples of one lab build, and prove the paths at the end.

    Raises `PodError` when an arm's counters disagree with its label.
    """
    before = {arm.name: proof.read(lab, arm, setup.pods[arm.name]) for arm in setup.plan.arms}
    with _client(setup, lab) as client:
        for round_, slots in schedule.rounds(setup.plan, setup.seed, rebuild):
            yield _samples(rebuild, round_, slots, client.round(slots))
        opened = dict(zip((arm.name for arm in setup.plan.arms), client.opened, strict=True))
    for arm in setup.plan.arms:
        after = proof.read(lab, arm, setup.pods[arm.name])
        proof.check(arm, before[arm.name], after, opened[arm.name])


class _Client:
    """The measuring process, from our side; `opened` counts the connections that it has made, by arm."""

    def __init__(self, link: socket.socket, arms_in_order: Sequence[str]) -> None:
        self._link = link
        self._index = {name: number for number, name in enumerate(arms_in_order)}
        self.opened: list[int] = [0] * len(arms_in_order)

    def round(self, slots: Sequence[Slot]) -> list[Stamps]:
        """Measure one round; raises `PodError` with the client's own words when it fails."""
        order = [(self._index[slot.arm], slot.connection == "new") for slot in slots]
        wire.send(self._link, {"slots": order})
        answer, _ = wire.receive(self._link)
        if "samples" not in answer:
            raise PodError(f"the measuring client failed: {answer.get('error', 'it ended without a word')}")
        self.opened = answer["opened"]
        return [tuple(stamps) for stamps in answer["samples"]]


@contextmanager
def _client(setup: Setup, lab: Lab) -> Iterator[_Client]:
    """Start a measuring client for this build, and end it with the block."""
    names = [arm.name for arm in setup.plan.arms]
    namespaces = lab.namespaces([setup.pods[name].client for name in names])
    addresses = {(pod["namespace"], pod["name"]): pod["ipv4"] for pod in lab.status()["pods"]}
    ours, theirs = socket.socketpair()
    with ours:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.client", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
        )
        theirs.close()
        order = {
            "cpu": setup.client_cpu,
            "client": setup.client,
            "path": setup.plan.path,
            "targets": [(addresses[setup.pods[name].server], setup.pods[name].port) for name in names],
        }
        try:
            wire.send(ours, order, (namespaces.user, *namespaces.network))
            yield _Client(ours, names)
        finally:
            ours.close()
            _end(process)
            for fd in (namespaces.user, *namespaces.network):
                os.close(fd)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a client whose socket was closed, and insist if it does not notice."""
    try:
        process.wait(timeout=2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
