"""What a supervisor is started with, and how many files that takes."""

import resource
from collections.abc import Collection
from dataclasses import dataclass

from sidelab.lab.errors import MachineError
from sidelab.lab.plan.blueprint import Blueprint, Process
from sidelab.lab.plan.machine_view import View
from sidelab.lab.runtime.pod_services import is_stranger, sees_files

_OTHER_FILES = 64
_NAMESPACES_OF_POD = 1  # network
_NAMESPACES_OF_FILES = 1  # mount
_NAMESPACES_OF_STRANGERS = (
    4  # IPC; pid, with a socket of its first process; what makes them, where that is the pod's own
)


@dataclass(frozen=True)
class Order:
    """What to run: `cpus` (None: all) is where everything in the lab is scheduled, `view` what pods are shown.

    `log_bytes` is what is kept of each container's log. With `host_ids` the users of pods are the lab's, and so root's
    labs run containers as the machine's root.
    """

    name: str
    blueprint: Blueprint
    view: View
    timeout_s: float
    background: bool
    cpus: Collection[int] | None
    log_bytes: int
    host_ids: bool = False


def files_needed(blueprint: Blueprint) -> int:
    """Return how many files the supervisor of a lab holds open at most.

    For each pod its network namespace, its mount namespace where one of its programs sees files, and those that keep a
    stranger apart where one of its programs is of this machine; for each container its log; and what every lab needs:
    the control socket and some connections to it, the fork servers, netlink, the name server's sockets, the probes
    under way, the descriptors of what is being spawned.
    """
    files = _OTHER_FILES
    for pod in blueprint.pods:
        containers = (*pod.init, *pod.containers)
        files += _NAMESPACES_OF_POD + len(containers)
        if any(isinstance(each.run, Process) and sees_files(each.run.program) for each in containers):
            files += _NAMESPACES_OF_FILES
        if any(isinstance(each.run, Process) and is_stranger(each.run.program) for each in containers):
            files += _NAMESPACES_OF_STRANGERS
    return files


def raise_file_limit(needed: int) -> int:
    """Raise the limit of open files to the hard limit; return how many are left besides those that are `needed`.

    Raises `MachineError` if there are too few.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < needed:
        raise MachineError(
            f"this lab needs {needed} open files and the hard limit is {hard}: raise it (`ulimit -Hn {needed}` as "
            "root, or /etc/security/limits.conf), or start fewer pods"
        )
    return hard - needed
