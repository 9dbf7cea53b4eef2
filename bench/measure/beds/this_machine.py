"""This machine as the place where arms run: labs of namespaces, which end with the process that measures."""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from sidelab.bench.base.samples import LoadSample, RateSample
from sidelab.bench.measure import awake, loads
from sidelab.bench.measure.beds.bed import Bed
from sidelab.bench.measure.measuring_client import MeasuringClient, measuring_client
from sidelab.bench.measure.path_proof import Opened, Prover
from sidelab.bench.openloop import measure as openloop
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.lab.client.lab import Lab
from sidelab.lab.client.starting import foreground
from sidelab.lab.errors import MachineError
from sidelab.lab.plan.blueprint import Blueprint

if TYPE_CHECKING:
    from sidelab.bench.measure.setup import Setup

T = TypeVar("T")


class StandingLab:
    """A lab that is up, with every arm alive: a `bench.measure.beds.bed.Standing`.

    `lab` is for programs that measure in their own ways.
    """

    def __init__(self, setup: "Setup", lab: Lab) -> None:
        self._setup, self.lab = setup, lab

    def client(self) -> AbstractContextManager[MeasuringClient]:
        """Start a measuring process that enters the client pods."""
        setup = self._setup
        return measuring_client(setup.plan, setup.pods, self.lab, client=setup.client, cpu=setup.client_cpu)

    def proof(self) -> Prover:
        """Read the arms' counters; raises what `bench.measure.path_proof.read` raises."""
        return Prover(self.lab, self._setup.plan, self._setup.pods)

    def loads(self, rebuild: int) -> list[LoadSample]:
        """Measure with `bench.measure.loads`."""
        return self._proven(loads.measure, rebuild, loads.opened)

    def rates(self, rebuild: int) -> list[RateSample]:
        """Measure with `bench.openloop.measure`."""
        return self._proven(openloop.measure, rebuild, openloop.opened)

    def _proven(self, measure: Callable[..., list[T]], rebuild: int, opened: Callable[[Plan, Arm], int]) -> list[T]:
        """Measure loads of one kind, and prove that each took its arm's path."""
        setup, proof = self._setup, self.proof()
        found = measure(setup.plan, self.lab, setup.pods, rebuild, setup.seed, setup.client_cpu)
        proof.check({arm.name: Opened.at_least(opened(setup.plan, arm)) for arm in setup.plan.arms}, tracked=False)
        return found


class ThisMachine:
    """Labs of this machine: a `bench.measure.beds.bed.Bed`."""

    @contextmanager
    def built(self, setup: "Setup", rebuild: int) -> Iterator[StandingLab]:
        """Build the lab once, for the length of the block; its CPUs are kept awake if the plan asks for it."""
        with (
            foreground(setup.blueprint, f"bench-{os.getpid()}-{rebuild}", cpus=setup.lab_cpus) as lab,
            awake.kept(setup.plan.placement.awake),
        ):
            yield StandingLab(setup, lab)

    def refusal(self, blueprint: Blueprint, cpus: Collection[int]) -> str:
        """Return why this kernel, or this user, can't have that lab."""
        try:
            with foreground(blueprint, f"bench-{os.getpid()}-try", cpus=cpus):
                return ""
        except MachineError as error:
            return str(error)


HERE: Final[Bed] = ThisMachine()
