"""Start the measuring process for one build of the lab, and have it measure one round after the other."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from sidelab.bench.arms import pods_of_arms
from sidelab.bench.arms.pods_of_arms import ArmPods
from sidelab.bench.clients import client_process
from sidelab.bench.clients.stamps import Stamps
from sidelab.bench.plan.plan import Plan
from sidelab.bench.plan.request_order import Slot
from sidelab.lab.client.lab import Lab


class MeasuringClient:
    """A `bench.measure.beds.bed.RoundClient`."""

    def __init__(self, link: socket.socket, arms_in_order: Sequence[str]) -> None:
        self._link = link
        self._index = {name: number for number, name in enumerate(arms_in_order)}
        self._opened = [0] * len(arms_in_order)
        self.opened: dict[str, int] = {}
        self.preempted = self.time_wait = 0

    def round(self, slots: Sequence[Slot]) -> list[Stamps]:
        """Measure one round; raises `PodError` with the client's message when it fails."""
        order = [(self._index[slot.arm], slot.connection == "new") for slot in slots]
        answer = client_process.ask(self._link, {"slots": order}, "the measuring client")
        before, self._opened = self._opened, answer["opened"]
        self.opened = {name: self._opened[number] - before[number] for name, number in self._index.items()}
        self.preempted, self.time_wait = answer["preempted"], answer["time_wait"]
        return [tuple(stamps) for stamps in answer["samples"]]


@contextmanager
def measuring_client(
    plan: Plan, pods: Mapping[str, ArmPods], lab: Lab, *, client: str, cpu: int
) -> Iterator[MeasuringClient]:
    """Start a measuring client (one of `bench.measure.preparing.CLIENTS`) on a CPU, and end it with the block."""
    names = [arm.name for arm in plan.arms]
    targets = pods_of_arms.targets(plan, pods, lab.status())
    order = {"cpu": cpu, "client": client, "targets": [targets[name] for name in names]}
    with client_process.started(
        "sidelab.bench.clients.client", lab, [pods[name].client for name in names], order
    ) as link:
        yield MeasuringClient(link, names)
