"""What measuring needs from a place where arms run: build a lab, run our programs in its pods, prove the paths.

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
    """A client that sends the requests of a round, and timestamps them.

    About the last round: `opened`, the connections that it made, by arm; `preempted` and `time_wait` as in
    `bench.base.samples.RoundSample`.
    """

    opened: dict[str, int]
    preempted: int
    time_wait: int

    def round(self, slots: Sequence[Slot]) -> list[Stamps]:
        """Send these requests, in this order; raises `PodError` with the client's message when it fails."""


class PathProof(Protocol):
    """The arms' counters as read before a block of requests."""

    def check(self, opened: Mapping[str, "Opened"], *, tracked: bool) -> None:
        """Check that the block took every arm's path, as `bench.measure.path_proof.Prover.check` does."""


class Standing(Protocol):
    """One build of the lab, with every arm alive."""

    def client(self) -> AbstractContextManager[RoundClient]:
        """Start a measuring client, for the length of the block."""

    def proof(self) -> PathProof:
        """Read the arms' counters, before a block of requests."""

    def loads(self, rebuild: int) -> list[LoadSample]:
        """Measure the plan's loads and its proxies' memory, and prove their paths."""

    def rates(self, rebuild: int) -> list[RateSample]:
        """Measure the plan's open loops, and prove their paths."""


class Bed(Protocol):
    """A place where arms can run."""

    def built(self, setup: "Setup", rebuild: int) -> AbstractContextManager[Standing]:
        """Build the lab once, for the length of the block, on the CPUs that the plan gives it.

        Raises `MachineError` when no lab can be built, and `PodError` when a pod fails.
        """

    def refusal(self, blueprint: Blueprint, cpus: Collection[int]) -> str:
        """Try to build a lab of this blueprint here, and return why that fails; "" if it does not."""
