"""What a hostile peer costs: the bundled proxy's memory, and the time of another client of that proxy.

    python -m sidelab.bench.studies.hostile_peers [REPETITIONS] [ATTACK …]

Each attack runs from its own pod, or from the application behind the proxy, against a new lab. Meanwhile a bystander in
a third pod sends requests over one connection to its own application in the same pod, so behind the same proxy: an
application that the attacker keeps busy would make others wait even without a proxy. Prints the highest rise of the
proxy's resident memory, over all repetitions, and the median of the ratios of the bystander's p99, attacked to calm
(before and after). The proxy has its own CPU, and attackers run as SCHED_IDLE on the other: they use only CPU time that
is left over, so the result shows the proxy and not the machine's scheduler. Exits 1 if a target is missed. Needs root.
"""

import functools
import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sidelab.bench.measure.beds.this_machine import ThisMachine
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.measure.setup import Setup
from sidelab.bench.plan.plan import from_dict
from sidelab.bench.studies import hostile
from sidelab.lab.base import syscalls
from sidelab.lab.base.processes import stop
from sidelab.lab.base.processes.parent_death import die_with_parent
from sidelab.lab.client.lab import Lab
from sidelab.lab.net.ask import ask_port
from sidelab.sidecar import istio_ports

_TARGET_BYTES = 8_000_000
_TARGET_RATIO = 2.0
_REQUESTS = 1500
_SETTLE_S = 1.0
_PLAN = {
    "name": "hostile",
    "description": "a meshed server, a bystander, and an attacker's pod",
    "rebuilds": 2,
    "rounds": 1,
    "requests_per_round": 1,
    "arms": [
        {"name": "direct"},
        {"name": "direct-twin"},
        {"name": "meshed", "server": "injected", "proxy": "bundled", "protocol": "http"},
    ],
}


@dataclass(frozen=True)
class Result:
    """`risen_bytes` is the rise of the proxy's resident memory, the others are the bystander's 99th percentiles."""

    risen_bytes: int
    calm_us: float
    attacked_us: float


class Stage:
    """A lab with the three pods, inside each of which sockets can be opened."""

    def __init__(self, lab: Lab, setup: Setup) -> None:
        meshed, direct = setup.pods["meshed"], setup.pods["direct"]
        keys = (meshed.server, meshed.client, direct.client)
        self.victim, self.bystander, self.attacker = lab.namespaces(keys).network
        self.address = next(
            pod["ipv4"] for pod in lab.status()["pods"] if (pod["namespace"], pod["name"]) == meshed.server
        )
        self._link: socket.socket

    def connect(self) -> None:
        """Connect the bystander, once its application listens."""
        with inside(self.victim):
            end_s = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", hostile.BYSTANDERS_PORT), timeout=30).close()
                    break
                except ConnectionRefusedError:
                    if time.monotonic() > end_s:
                        raise
                    time.sleep(0.01)
        with inside(self.bystander):
            self._link = socket.create_connection((self.address, hostile.BYSTANDERS_PORT), timeout=30)

    def memory_bytes(self) -> int:
        """Return the proxy's resident memory, as it reports it."""
        with inside(self.victim), socket.socket() as link:
            page = ask_port(link, istio_ports.ADMIN, "GET", "/memory", 30)
        return int(json.loads(page.body)["total_physical_bytes"])

    def p99_us(self, count: int = _REQUESTS) -> float:
        """Return the 99th percentile of the bystander's requests."""
        times = [hostile.asked_us(self._link) for _ in range(count)]
        return statistics.quantiles(times, n=100)[98]


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Run the block in a network namespace."""
    with Path("/proc/self/ns/net").open() as home:
        syscalls.setns(namespace, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home.fileno(), syscalls.CLONE_NEWNET)


@contextmanager
def running(namespace: int, work: Callable[[], None], cpu: int, *, idle: bool = True) -> Iterator[None]:
    """Do `work` in a network namespace, in a new process, until the block ends; `idle`: only in left-over CPU time."""
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        die_with_parent(parent)
        os.sched_setaffinity(0, {cpu})
        if idle:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with inside(namespace):
            try:
                work()
            finally:
                os._exit(0)
    try:
        yield
    finally:
        stop.kill(pid)


def measured(setup: Setup, attack: hostile.Attack) -> Result:
    """Return the effect of one attack on a new lab."""
    with (
        ThisMachine().built(setup, 1) as standing,
        running((stage := Stage(standing.lab, setup)).victim, hostile.serve_bystander, setup.client_cpu, idle=False),
    ):
        stage.connect()
        stage.p99_us()
        before_us, memory = stage.p99_us(), stage.memory_bytes()
        server = functools.partial(attack.server, hostile.PORT)
        client = functools.partial(attack.client, stage.address, attack.port)
        cpu = setup.client_cpu
        with running(stage.victim, server, cpu), running(stage.attacker, client, cpu):
            highest = _watched(stage, _SETTLE_S)
            attacked_us = stage.p99_us()
            highest = max(highest, _watched(stage, _SETTLE_S))
        return Result(highest - memory, (before_us + stage.p99_us()) / 2, attacked_us)


def _watched(stage: Stage, duration_s: float) -> int:
    """Return the highest memory seen within a duration."""
    end_s, highest = time.monotonic() + duration_s, 0
    while time.monotonic() < end_s:
        highest = max(highest, stage.memory_bytes())
        time.sleep(0.05)
    return highest


def main(arguments: Sequence[str]) -> int:
    """Measure the named attacks, by default all, and print a table."""
    repetitions = int(arguments[0]) if arguments else 3
    names = list(arguments[1:]) or list(hostile.ATTACKS)
    setup = prepare(from_dict(_PLAN, "hostile_peers.py"), seed=1, client="own", manifest=None)
    os.sched_setaffinity(0, {setup.client_cpu})
    missed = []
    print(f"{'attack':<34} {'memory':>10} {'calm p99':>10} {'attacked':>10} {'ratio':>6}", flush=True)
    for name in names:
        results = [measured(setup, hostile.ATTACKS[name]) for _ in range(repetitions)]
        risen = max(each.risen_bytes for each in results)
        ratio = statistics.median(each.attacked_us / each.calm_us for each in results)
        calm_us, attacked_us = (
            statistics.median(values) for values in zip(*((e.calm_us, e.attacked_us) for e in results), strict=True)
        )
        print(f"{name:<34} {risen / 1e6:7.2f} MB {calm_us:7.0f} us {attacked_us:7.0f} us {ratio:6.2f}", flush=True)
        if risen > _TARGET_BYTES or ratio > _TARGET_RATIO:
            missed.append(name)
    print(f"targets: {_TARGET_BYTES / 1e6:.0f} MB, ratio {_TARGET_RATIO:g}; missed: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
