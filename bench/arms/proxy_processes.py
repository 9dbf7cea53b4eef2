"""What a proxy's processes consume: found in their pod, and read from /proc (proc_pid_stat(5), proc_pid_status(5))."""

import os
from collections.abc import Sequence
from pathlib import Path

from sidelab.lab.client.lab import Lab
from sidelab.lab.keys import PodKey
from sidelab.sidecar import inject

_PRIVATE = ("Private_Clean:", "Private_Dirty:", "Swap:")


def of_proxy(lab: Lab, pod: PodKey) -> list[int]:
    """Return the pids (as this process sees them) of the processes below the first one of the sidecar's container.

    The first process is the agent; if nothing runs below it, it is the proxy itself, and its pid is returned. A pod
    without such a container has no pids.
    """
    namespaces = lab.namespaces([pod])
    try:
        inode = os.fstat(namespaces.network[0]).st_ino
    finally:
        for fd in (namespaces.user, *namespaces.network):
            os.close(fd)
    state = next(each for each in lab.status()["pods"] if (each["namespace"], each["name"]) == pod)
    inside = next((each["pid"] for each in state["containers"] if each["name"] == inject.PROXY_NAME), None)
    if inside is None:
        return []
    parents = dict(_in_namespace(inode))
    first = next(pid for pid in parents if _innermost_pid(pid) == inside)
    family = {first}
    for pid in sorted(parents):
        if parents[pid] in family:
            family.add(pid)
    return sorted(family - {first}) or [first]


def cpu_s(pids: Sequence[int]) -> float:
    """Return the CPU seconds that processes have used so far, all threads, in user and kernel mode."""
    return sum(
        _ticks(Path("/proc", str(pid), "stat").read_text(encoding="utf-8", errors="replace")) for pid in pids
    ) / os.sysconf("SC_CLK_TCK")


def peak_kib(pids: Sequence[int]) -> int:
    """Return the peak resident memory of processes since they began, in KiB.

    Shared pages count for each process, so a program that shares its libraries with the server it was forked from
    looks larger than it is alone.
    """
    return sum(int(_status(pid, "VmHWM").removesuffix("kB")) for pid in pids)


def private_kib(pids: Sequence[int]) -> int:
    """Return the private memory of processes, in KiB."""
    lines = [
        line
        for pid in pids
        for line in Path("/proc", str(pid), "smaps_rollup").read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith(_PRIVATE))


def _ticks(stat: str) -> int:
    """Add utime and stime of a /proc/PID/stat, counted after the last ")": the name may hold spaces and parentheses."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _in_namespace(inode: int) -> list[tuple[int, int]]:
    """Return (pid, parent's pid) of every process in the network namespace with this inode."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if (entry / "ns" / "net").stat().st_ino == inode:
                found.append((int(entry.name), int(_status(int(entry.name), "PPid"))))
        except OSError:
            continue  # it ended meanwhile, or belongs to another user
    return found


def _innermost_pid(pid: int) -> int:
    return int(_status(pid, "NSpid").split()[-1])


def _status(pid: int, name: str) -> str:
    lines = Path("/proc", str(pid), "status").read_text(encoding="utf-8", errors="replace").splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))
