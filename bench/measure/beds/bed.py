"""What measuring asks of a place where arms stand: to build a lab, to run our programs in its pods, to prove the paths.

`bench.measure.replicate` is written against this alone, and knows neither labs nor namespaces. This machine
(`bench.measure.beds.this_machine`) is the only such place so far.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from sidelab.bench.base.samples import LoadSample, RateSample
from sidelab.bench.clients.stamps import Stamps
from sidelab.bench.plan.request_order import Slot
from sidelab.lab.plan.blueprint import Blueprint

if TYPE_CHECKING:
    from sidelab.bench.measure.path_proof import Opened
    from sidelab.bench.measure.setup import Setup


class RoundClient(Protocol):
    """What makes the requests of a round, and stamps them.

    Of the last round: `opened`, the connections that it has made, by arm; `preempted` and `time_wait` as in
    `bench.base.samples.RoundSample`.
    """

    opened: dict[str, int]
    preempted: int
    time_wait: int

    def round(self, slots: Sequence[Slot]) -> list[Stamps]:
        """Make these requests, in this order; raises `PodError` in the client's own words where it fails."""


class PathProof(Protocol):
    """What has seen the arms' counters before a block of requests."""

    def check(self, opened: Mapping[str, "Opened"], *, tracked: bool) -> None:
        """Prove that the block took every arm's path, as `bench.measure.path_proof.Prover.check`."""


class Standing(Protocol):
    """One build of the lab, with every arm alive."""

    def client(self) -> AbstractContextManager[RoundClient]:
        """Start a measuring client, for the length of the block."""

    def proof(self) -> PathProof:
        """Read the arms' counters, before a block of requests."""

    def loads(self, rebuild: int) -> list[LoadSample]:
        """Measure the plan's loads and its proxies' memory, their paths proven."""

    def rates(self, rebuild: int) -> list[RateSample]:
        """Measure the plan's open loops, their paths proven."""


class Bed(Protocol):
    """A place where arms can stand."""

    def built(self, setup: "Setup", rebuild: int) -> AbstractContextManager[Standing]:
        """Build the lab once, for the length of the block, on CPUs as the plan places it.

        Raises `MachineError` where no lab can be built, and `PodError` where a pod fails.
        """

    def refusal(self, blueprint: Blueprint, cpus: Collection[int]) -> str:
        """Say why no lab of this blueprint can be built here, by trying; "" if one can."""
