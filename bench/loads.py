"""What is measured beside single requests: an arm under many connections at once, and a proxy's memory.

One arm after the other, in an order that the run's seed decides anew for each lab build: two loads at once would
measure each other. It talks to a live lab; what it returns are values.
"""

import os
import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile

from bench import wrk
from bench.arms import ArmPods
from bench.plan import Plan
from bench.samples import LoadSample
from lab.errors import PodError
from lab.lab import Key, Lab
from sidecar import inject

_TIMEOUT_S = 10.0
_PRIVATE = ("Private_Clean:", "Private_Dirty:", "Swap:")


def measure(plan: Plan, lab: Lab, pods: Mapping[str, ArmPods], rebuild: int, seed: int, cpu: int) -> list[LoadSample]:
    """Put every arm under every load of `plan`, then count the memory of each proxy with its idle connections.

    Raises `PodError` where wrk fails or a connection is not answered.
    """
    addresses = {(pod["namespace"], pod["name"]): pod["ipv4"] for pod in lab.status()["pods"]}
    names = [arm.name for arm in plan.arms]
    random.Random(f"{seed}/{rebuild}/loads").shuffle(names)
    found = []
    for name in names:
        arm = pods[name]
        url = f"http://{addresses[arm.server]}:{arm.port}{plan.path}"
        for load in plan.loads:
            said = _run(lab, arm.client, wrk.command(url, load.connections, load.duration_s, cpu))
            found.append(LoadSample(rebuild, name, load.connections, *wrk.parse(said), -1, -1))
    if plan.idle_connections:
        for name in names:
            if plan.arm(name).server == "injected":
                target = (addresses[pods[name].server], pods[name].port)
                unloaded, loaded = _memory(lab, pods[name], target, plan.path, plan.idle_connections)
                nothing = (0, 0, 0.0, -1.0, -1.0, -1.0)
                found.append(LoadSample(rebuild, name, plan.idle_connections, *nothing, unloaded, loaded))
    return found


def _run(lab: Lab, pod: Key, argv: tuple[str, ...]) -> str:
    with TemporaryFile() as output, Path(os.devnull).open("rb") as nothing:
        status = lab.execute(pod, argv, (nothing.fileno(), output.fileno(), output.fileno()))
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status:
        raise PodError(f"{argv[3]} ended with status {status}: {text.strip()[-500:]}")
    return text


def _memory(lab: Lab, pods: ArmPods, target: tuple[str, int], path: str, connections: int) -> tuple[int, int]:
    """Return the proxy's private memory in KiB, without and with idle connections that have each had one answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: {target[0]}\r\n\r\n".encode()
    processes = _proxy_processes(lab, pods.server)
    unloaded = sum(map(_private_kib, processes))
    with ExitStack() as opened:
        for _ in range(connections):
            link = opened.enter_context(lab.open_socket(pods.client, socket.AF_INET, socket.SOCK_STREAM))
            link.settimeout(_TIMEOUT_S)
            try:
                link.connect(target)
                link.sendall(request)
                answered = link.recv(1 << 16)
            except OSError as error:
                raise PodError(f"one of {connections} idle connections to {target[0]} failed: {error}") from error
            if not answered:
                raise PodError(f"one of {connections} idle connections to {target[0]} was closed unanswered")
        return unloaded, sum(map(_private_kib, processes))


def _proxy_processes(lab: Lab, pod: Key) -> list[int]:
    """Return the pids (as this process sees them) of what the sidecar's container runs below its first process.

    That first one is the agent; a container that is the proxy itself has none below, and is returned.
    """
    namespaces = lab.namespaces([pod])
    try:
        inode = os.fstat(namespaces.network[0]).st_ino
    finally:
        for fd in (namespaces.user, *namespaces.network):
            os.close(fd)
    state = next(each for each in lab.status()["pods"] if (each["namespace"], each["name"]) == pod)
    inside = next(each["pid"] for each in state["containers"] if each["name"] == inject.PROXY_NAME)
    parents = dict(_processes_in(inode))
    first = next(pid for pid in parents if _innermost_pid(pid) == inside)
    family = {first}
    for pid in sorted(parents):
        if parents[pid] in family:
            family.add(pid)
    return sorted(family - {first}) or [first]


def _processes_in(inode: int) -> list[tuple[int, int]]:
    """Return (pid, parent's pid) of every process in the network namespace with this inode."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if (entry / "ns" / "net").stat().st_ino == inode:
                found.append((int(entry.name), int(_status(entry, "PPid"))))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def _innermost_pid(pid: int) -> int:
    return int(_status(Path("/proc", str(pid)), "NSpid").split()[-1])


def _status(process: Path, name: str) -> str:
    lines = (process / "status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def _private_kib(pid: int) -> int:
    lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(_PRIVATE))
