"""Run a function in a forked child, which may enter a pod's network as any user.

The kernel's rules look at the user that opened a socket, so testing what happens to the proxy's packets means sending
them as the proxy's user. The child sees this process's files, not the pod's: no program of the pod is needed.
"""

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from sidelab.lab import errors
from sidelab.lab.base import identity, syscalls
from sidelab.lab.base.exhausted import fork
from sidelab.lab.base.processes.parent_death import die_with_parent
from sidelab.lab.client.lab import Lab
from sidelab.lab.errors import PodError
from sidelab.lab.keys import PodKey


def in_pod(lab: Lab, pod: PodKey, uid: int, gid: int, work: Callable[[], Any]) -> Any:
    """Return what `work` returns (JSON values) when it runs in the pod's network namespace as `uid` and `gid`.

    The calling process must be single-threaded. Raises what `work` raises, if that is a `SidelabError` (anything else
    is a bug, reported with its traceback), and `PodError` if something kills the child.
    """
    identity.require(("SYS_ADMIN", "SETUID", "SETGID"), "to send from inside a pod as its users")
    namespaces = lab.namespaces([pod])
    parent = os.getpid()

    def visit() -> Any:
        if os.fstat(namespaces.user).st_ino != Path("/proc/self/ns/user").stat().st_ino:
            syscalls.setns(namespaces.user, syscalls.CLONE_NEWUSER)
        syscalls.setns(namespaces.network[0], syscalls.CLONE_NEWNET)
        syscalls.drop_to(uid, gid, ())
        die_with_parent(parent)
        return work()

    try:
        return _forked(visit)
    finally:
        for fd in (namespaces.user, *namespaces.network):
            os.close(fd)


def _forked(work: Callable[[], Any]) -> Any:
    read, write = os.pipe()
    child = fork()
    if child == 0:
        os.close(read)
        _run(work, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not data:
        raise PodError(f"a process of sidelab ended without a word (status {status}): did memory run out? see `dmesg`")
    answer = json.loads(data)
    errors.raise_reported(answer)
    return answer["result"]


def _run(work: Callable[[], Any], pipe: int) -> NoReturn:
    """Run `work` in a forked child, which must never return into its parent's code."""
    try:
        try:
            answer = {"result": work()}
        except BaseException as error:  # noqa: BLE001  # whatever it is, the parent raises it
            answer = errors.report(error)
        with os.fdopen(pipe, "w") as file:
            json.dump(answer, file)
    except BaseException:  # noqa: BLE001  # the parent is gone, or the result is not JSON
        traceback.print_exc()
    finally:
        os._exit(0)
