"""Choose the namespaces of a pod's process: a stand-in, a container's program, or a command beside one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from sidelab.lab.base.framing import hung_up
from sidelab.lab.keys import PodKey
from sidelab.lab.plan.blueprint import PodPlan
from sidelab.lab.runtime.mounts import PodMounts
from sidelab.lab.runtime.spawner import ProcessPlace
from sidelab.lab.sandbox.user_namespaces import AllSpaces

if TYPE_CHECKING:
    import socket

    from sidelab.lab.runtime.network import Network


class Places:
    """The places of a lab's processes; namespaces that few pods need are made when first needed."""

    def __init__(self, spaces: AllSpaces, network: "Network", mounts: PodMounts) -> None:
        self._spaces = spaces
        self._network = network
        self._mounts = mounts
        self._ipc: dict[PodKey, int] = {}
        self._processes: dict[PodKey, tuple[int, socket.socket]] = {}

    @contextmanager
    def of(
        self, plan: PodPlan, *, files: bool, stranger: bool, beside: int | None, words: Sequence[str] = ()
    ) -> Iterator[ProcessPlace]:
        """Yield where a process of a pod runs; the descriptors are valid for the length of the block.

        With `files` it sees the pod's own mounts. A `stranger` is kept apart from the lab: with those of its container
        where it runs `beside` one (see `Host.spawn`), and with all of the pod's where that shares its processes. It is
        shown what `words` name beside what its pod is shown; then it has not the mounts of its container.
        """
        place = ProcessPlace(
            hostname=plan.hostname,
            network=self._network.descriptor(plan.key),
            user=self._spaces.of(plan.key).user,
            mounts=self._mounts.descriptor(plan, words) if files else None,
        )
        if not stranger:
            yield replace(place, processes=self._shared(plan.key)) if plan.shares_processes else place
            return
        place = replace(place, ipc=self._own_ipc(plan.key))
        joined = self._joined(beside) if beside else None
        if joined is not None:
            mounts, processes = joined
            try:
                if self._mounts.lacks(words):
                    yield replace(place, processes=processes, copied=True)
                else:
                    yield replace(place, mounts=mounts, processes=processes)
            finally:
                os.close(mounts)
                os.close(processes)
        elif beside is None and not plan.shares_processes:
            yield replace(place, copied=True, alone=True)
        else:
            yield replace(place, copied=True, processes=self._shared(plan.key))

    def _own_ipc(self, key: PodKey) -> int:
        if key not in self._ipc:
            self._ipc[key] = self._spaces.of(key).ipc()
        return self._ipc[key]

    def _shared(self, key: PodKey) -> int:
        """Return the pod's pid namespace: that of all its containers, or of commands beside those without one."""
        known = self._processes.get(key)
        if known is not None and hung_up(known[1]):  # somebody has killed its first process
            os.close(known[0])
            known[1].close()
            known = None
        if known is None:
            known = self._processes[key] = self._spaces.of(key).processes()
        return known[0]

    def _joined(self, pid: int) -> tuple[int, int] | None:
        """Open the mount and the pid namespace of a container's process; return None if the process has ended."""
        try:
            mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return mounts, os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                os.close(mounts)
                raise
        except OSError:  # or a root without CAP_SYS_PTRACE may not look into one of our own
            return None
