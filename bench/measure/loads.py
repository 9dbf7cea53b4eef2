"""Measure an arm under many connections at once, and a proxy's memory: what single requests do not show.

Arms are measured one after the other, as two loads at once would measure each other; the run's seed gives each lab
build a new order. This talks to a live lab and returns values.
"""

import os
import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

from sidelab.bench.arms import pods_of_arms, proxy_processes
from sidelab.bench.arms.pods_of_arms import ArmPods, ArmTarget
from sidelab.bench.base.samples import LoadSample
from sidelab.bench.clients import wrk
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.lab.client.lab import Lab
from sidelab.lab.errors import PodError
from sidelab.lab.keys import PodKey
from sidelab.lab.net.ask import answer_to
from sidelab.lab.net.http_answer import AnswerError

_TIMEOUT_S = 10.0


def measure(plan: Plan, lab: Lab, pods: Mapping[str, ArmPods], rebuild: int, seed: int, cpu: int) -> list[LoadSample]:
    """Put every arm under every load of `plan`, then measure each proxy's memory with its idle connections.

    Raises `PodError` when wrk fails or a connection gets no answer.
    """
    targets = pods_of_arms.targets(plan, pods, lab.status())
    names = [arm.name for arm in plan.arms]
    random.Random(f"{seed}/{rebuild}/loads").shuffle(names)
    found = []
    for name in names:
        target = targets[name]
        for load in plan.loads:
            said = _run(lab, pods[name].client, wrk.command(target.url, load.connections, load.duration_s, cpu))
            found.append(LoadSample(rebuild, name, load.connections, *wrk.parse(said), -1, -1))
    if plan.idle_connections:
        for name in names:
            if plan.arm(name).server == "injected":
                unloaded, loaded = _memory(lab, pods[name], targets[name], plan.idle_connections)
                nothing = (0, 0, 0.0, -1.0, -1.0, -1.0)
                found.append(LoadSample(rebuild, name, plan.idle_connections, *nothing, unloaded, loaded))
    return found


def opened(plan: Plan, arm: Arm) -> int:
    """Return how many connections `measure` makes to an arm, at least: wrk replaces each that is closed."""
    idle = plan.idle_connections if arm.server == "injected" else 0
    return sum(load.connections for load in plan.loads) + idle


def _run(lab: Lab, pod: PodKey, argv: tuple[str, ...]) -> str:
    with TemporaryFile() as output, Path(os.devnull).open("rb") as nothing:
        status = lab.execute(pod, argv, (nothing.fileno(), output.fileno(), output.fileno()))
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status:
        raise PodError(f"{argv[3]} ended with status {status}: {text.strip()[-500:]}")
    return text


def _memory(lab: Lab, pods: ArmPods, target: ArmTarget, connections: int) -> tuple[int, int]:
    """Return the proxy's private memory in KiB, without and with idle connections that each got one answer."""
    request = f"GET {target.path} HTTP/1.1\r\nHost: {target.url.split('/')[2]}\r\n\r\n".encode()
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    pids = proxy_processes.of_proxy(lab, pods.server)
    unloaded = proxy_processes.private_kib(pids)
    with ExitStack() as opened:
        for _ in range(connections):
            link = opened.enter_context(lab.open_socket(pods.client, family, socket.SOCK_STREAM))
            link.settimeout(_TIMEOUT_S)
            try:
                link.connect((target.host, target.port))
                answer_to(link, request, _TIMEOUT_S)
            except (OSError, AnswerError) as error:
                raise PodError(f"one of {connections} idle connections to {target.host} failed: {error}") from error
        return unloaded, proxy_processes.private_kib(pids)
