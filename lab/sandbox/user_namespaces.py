"""Choose each pod's user namespace: one for all, and one of its own for a pod that could reach others there.

CAP_SYS_ADMIN in a user namespace gives power over everything that this owns, whatever other namespaces that is in: with
it one can list and enter mount namespaces (listmount(2), ioctl_nsfs(2)), and register program formats (binfmt_misc),
for all pods there. No other capability reaches out of a pod's network, processes and mounts.
"""

from collections.abc import Collection, Iterable

from sidelab.lab.keys import PodKey
from sidelab.lab.plan.blueprint import PodPlan, Process
from sidelab.lab.sandbox.namespace_maker import PodSpaces

_REACHES_OUT = "SYS_ADMIN"


class AllSpaces:
    """The makers of the namespaces of a lab's pods, for each pod."""

    def __init__(self, *, host_ids: bool, apart: Collection[PodKey] = ()) -> None:
        """Start the processes that make namespaces. Raises `MachineError` if no user namespace can be made.

        The pods `apart` have a user namespace each. With `host_ids` no pod has one.
        """
        self.common = PodSpaces(host_ids=host_ids)
        self._own = {} if host_ids else {key: PodSpaces(host_ids=False) for key in apart}

    def of(self, key: PodKey) -> PodSpaces:
        """Return what makes the namespaces of the pod `key`."""
        return self._own.get(key, self.common)

    def user(self, keys: Iterable[PodKey]) -> int | None:
        """Return the descriptor of the user namespace that several pods share; None if they do not all share one."""
        users = {self.of(key).user for key in keys} or {self.common.user}
        return users.pop() if len(users) == 1 else None


def reach_out(pods: Iterable[PodPlan]) -> list[PodKey]:
    """Return the pods that have a container with the capability that reaches others in the same user namespace."""
    return [
        pod.key
        for pod in pods
        if any(
            isinstance(each.run, Process) and _REACHES_OUT in each.run.capabilities
            for each in (*pod.init, *pod.containers)
        )
    ]
