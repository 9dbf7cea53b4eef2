"""What this machine can do for a lab, each finding tried or read, each "no" with its cure.

The host's own network is not touched: what has to be tried is tried in a sandbox that is gone afterwards.
"""

import json
import os
import platform
import re
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from sidelab.lab.base import identity
from sidelab.lab.doctor.finding import Finding
from sidelab.lab.errors import MachineError, SidelabError
from sidelab.lab.sandbox import sandbox

OLDEST_KERNEL = (5, 12)  # mount_setattr(2), MOUNT_ATTR_RDONLY over a whole tree
MANY_PODS = 1000  # what limits are judged by
# Two containers a pod, and some processes around them.
_PROCESSES_NEEDED = 2 * MANY_PODS + 100
_FILES_NEEDED = MANY_PODS + 100
_SYSTEM_PATH = "/usr/sbin:/sbin:/usr/local/sbin"  # not in an ordinary user's PATH

# What more is possible where a program is installed: the Debian package, and what it is for.
TOOLS = {
    "iptables": ("iptables", "rules by iptables-restore"),
    "iptables-legacy": ("iptables", "rules by the legacy variant"),
    "nft": ("nftables", "looking at the rules with nft"),
    "conntrack": ("conntrack", "comparing `rules conntrack` with it"),
    "nginx": ("nginx-light", "a real nginx in a pod"),
    "curl": ("curl", "requests by hand"),
    "wrk": ("wrk", "load"),
}


def examine() -> tuple[Finding, ...]:
    """Return everything that was found out about this machine and this user, in the order in which it matters."""
    readings = identity.read()
    who = judge_identity(readings)
    found = [who, judge_kernel(platform.release()), judge_user_namespaces(readings)]
    if who.ok:
        found += _tried()
    found += [judge_cpus(len(os.sched_getaffinity(0))), *_limits()]
    found += [tool(name, partial(_find, name), *about) for name, about in TOOLS.items()]
    return tuple(found)


def works(findings: tuple[Finding, ...]) -> bool:
    """Return whether the main job can be done: labs with interception rules."""
    return all(finding.ok for finding in findings if finding.needed)


def judge_identity(readings: identity.Readings) -> Finding:
    """Return whether this user may make a sandbox."""
    try:
        who = identity.decide(readings)
    except MachineError as error:
        problem, _, cure = str(error).partition(": ")
        return Finding("identity", False, problem, cure, needed=True)
    if isinstance(who, identity.Root):
        return Finding("identity", True, "root, who needs no user namespace", needed=True)
    ids = f"{who.uids.count} subordinate ids from {who.uids.start}"
    return Finding("identity", True, f"user {readings.user} with {ids}", needed=True)


def judge_kernel(release: str) -> Finding:
    """Return whether the kernel of that release (as uname(2) has it) is new enough."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    new_enough = numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST_KERNEL
    wanted = ".".join(map(str, OLDEST_KERNEL))
    cure = "" if new_enough else f"boot Linux {wanted} or newer, or use the Vagrantfile's machine"
    return Finding("kernel", new_enough, f"Linux {release}", cure, needed=True)


def judge_user_namespaces(readings: identity.Readings) -> Finding:
    """Return whether user namespaces may be made: every lab has one for its pods. Root needs the limit alone."""
    switches = {"user.max_user_namespaces": (readings.max_user_namespaces, "0", "15000")}
    for_others = {
        "kernel.unprivileged_userns_clone": (readings.unprivileged_userns_clone, "0", "1"),
        "kernel.apparmor_restrict_unprivileged_userns": (readings.apparmor_restricts_userns, "1", "0"),
    }
    for name, (value, refused, cured) in (switches | (for_others if readings.uid else {})).items():
        if value is not None and value.strip() == refused:
            return Finding("user namespaces", False, f"{name}={refused}", f"`sudo sysctl {name}={cured}`", needed=True)
    return Finding("user namespaces", True, "allowed", needed=True)


def judge_cpus(count: int) -> Finding:
    """Return whether the measuring client can have a CPU of its own."""
    cure = "" if count >= 2 else "give the machine or this process a second CPU: measurements will be less noisy"
    return Finding("CPUs", count >= 2, f"{count} for this process", cure)


def judge_limit(name: str, limits: Mapping[str, int], needed: int) -> Finding:
    """Return whether the least of `limits` (by where each comes from) is enough for `MANY_PODS` pods."""
    source, least = min(limits.items(), key=lambda item: item[1], default=("", needed))
    found = f"{least} ({source})" if limits else "no limit is known"
    cure = "" if least >= needed else f"raise {source} to {needed} for a lab of {MANY_PODS} pods"
    return Finding(name, least >= needed, found, cure)


def tool(name: str, find: Callable[[], object], package: str = "", purpose: str = "") -> Finding:
    """Return whether `find` finds an optional program; it raises `SidelabError` with the cure, or returns None."""
    try:
        path = find()
    except SidelabError as error:
        problem, _, cure = str(error).rpartition(": ")
        return Finding(name, False, problem, cure)
    if path is None:
        return Finding(name, False, "not installed", f"`sudo apt-get install {package}`, for {purpose}")
    return Finding(name, True, str(path))


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def _limits() -> Iterator[Finding]:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    yield judge_limit("open files", _known({"the hard limit of `ulimit -n`": files}), _FILES_NEEDED)
    processes = {
        "kernel.pid_max": _number("/proc/sys/kernel/pid_max"),
        "the hard limit of `ulimit -u`": resource.getrlimit(resource.RLIMIT_NPROC)[1] if os.getuid() else None,
        "pids.max of this control group": _pids_max(),
    }
    yield judge_limit("processes", _known(processes), _PROCESSES_NEEDED)
    names = ("net", "mnt")  # of the others a lab has one
    namespaces = {f"user.max_{name}_namespaces": _number(f"/proc/sys/user/max_{name}_namespaces") for name in names}
    yield judge_limit("namespaces", _known(namespaces), MANY_PODS + 1)


def _known(limits: Mapping[str, int | None]) -> dict[str, int]:
    return {name: limit for name, limit in limits.items() if limit is not None and limit != resource.RLIM_INFINITY}


def _number(path: str) -> int | None:
    """Read a kernel file's number; None where there is none, or the word `max`."""
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _pids_max() -> int | None:
    """Return the limit of our own control group (cgroups(7), version 2)."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return _number(f"/sys/fs/cgroup/{own}/pids.max")


def _tried() -> list[Finding]:
    """Make a sandbox as a lab does, and try in it what labs need of the kernel."""
    tools = {name: path for name in ("iptables", "iptables-legacy", "nft") if (path := _find(name))}

    def inside(supervisor: sandbox.Inside) -> None:
        from sidelab.lab.doctor import trials  # noqa: PLC0415  # only the sandbox speaks to the kernel

        findings = [finding.to_json() for finding in trials.run(tools)]
        supervisor.channel.send(json.dumps([findings]).encode())

    try:
        box = sandbox.start(inside)
        try:
            [findings] = json.loads(box.hear()[0])
        finally:
            box.kill()
    except SidelabError as error:
        problem, _, cure = str(error).rpartition(": ")
        return [Finding("sandbox", False, problem, cure, needed=True)]
    return [Finding("sandbox", True, "made and gone again", needed=True), *(Finding(**each) for each in findings)]
