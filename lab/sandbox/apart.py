"""Isolate a container's process from those of the lab: in a pid namespace, with its own /proc and locked mounts.

What a manifest runs is a stranger. It sees only the processes of its container (of its pod, if that shares them), and
of the machine's files a copy of the pod's mounts that was made in the pods' user namespace: mounts made above that
can't be removed, even with CAP_SYS_ADMIN (mount_namespaces(7), "Restrictions").
"""

import os
import resource
import socket
from pathlib import Path
from typing import NoReturn

from sidelab.lab.base import syscalls

# As in container runtimes (the OCI runtime specification's readonlyPaths and maskedPaths): settings of the whole
# machine, and information about it.
_READ_ONLY = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_MASKED = ("/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/proc/kmsg")


_MOST_PROCESSES = 8192


def leave_to_sibling(birth: socket.socket) -> socket.socket:
    """Continue in a process that is the first of the new pid namespace, or is in the one entered; end this one.

    The other is a child of this one's parent. Its pid is sent to `birth`, which must be answered before it may go on:
    `go_on` waits for that, with what is returned.
    """
    ours, theirs = socket.socketpair()
    pid = syscalls.fork_sibling()
    if pid:
        theirs.close()
        _deliver(pid, ours, birth)
    ours.close()
    birth.close()
    return theirs


def _deliver(pid: int, sibling: socket.socket, birth: socket.socket) -> NoReturn:
    """End; the sibling may continue once it is set to die with its parent and the parent knows its pid."""
    status = 1
    try:
        if sibling.recv(1):
            birth.send(str(pid).encode())
            if birth.recv(1):
                sibling.send(b"+")
                status = 0
    finally:
        os._exit(status)


def go_on(link: socket.socket) -> None:
    """Wait until the parent knows of this process, which is already set to die with it."""
    with link:
        link.send(b"+")
        if not link.recv(1):
            os._exit(1)


def bound_processes() -> None:
    """Limit how many processes and threads all containers of the lab with this uid may have (setrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = _MOST_PROCESSES if hard == resource.RLIM_INFINITY else min(hard, _MOST_PROCESSES)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def mount_proc() -> None:
    """Mount a /proc of the caller's pid namespace, in which the machine's own files are read-only or empty."""
    syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)
    for path in _READ_ONLY:
        if Path(path).exists():
            syscalls.mount(path, path, "", syscalls.MS_BIND)
            syscalls.make_read_only(path)
    for path in _MASKED:
        if Path(path).exists():
            syscalls.mount(os.devnull, path, "", syscalls.MS_BIND)


def is_deaf(pid: int, number: int) -> bool:
    """Return whether a process never gets a signal: it is the first of its pid namespace and has no handler for it.

    On a cluster such a container runs on until its grace period is over (pid_namespaces(7)).
    """
    try:
        status = dict(line.split(":", 1) for line in Path("/proc", str(pid), "status").read_text().splitlines())
    except OSError:
        return False  # it has ended, or is not known yet
    return status["NSpid"].split()[-1] == "1" and not int(status["SigCgt"], 16) >> (number - 1) & 1
