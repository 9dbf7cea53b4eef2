"""Pods as running things: init containers in order, sidecars beside them, containers with restarts, an end in order.

A small version of what the kubelet does. Events of fork servers, probes and timers drive everything; nothing polls.
"""

import time
from collections.abc import Callable

from sidelab.lab.base.exhausted import as_refusal
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import FAILURES
from sidelab.lab.errors import PodError, SidelabError, kind
from sidelab.lab.plan.blueprint import PodPlan
from sidelab.lab.plan.registry import Hook
from sidelab.lab.runtime.container import LiveContainer
from sidelab.lab.runtime.pod_services import Host

__all__ = ["Host", "LiveContainer", "LivePod"]


class LivePod:
    """One pod: phase as Kubernetes names it, and its containers."""

    def __init__(self, host: Host, plan: PodPlan, on_change: Callable[["LivePod"], None]) -> None:
        self.plan = plan
        self.phase = "Pending"
        self.reason = ""
        self.failure: type[SidelabError] = PodError  # whose fault the Failed phase is
        self.init = [LiveContainer(host, self, each) for each in plan.init]
        self.containers = [LiveContainer(host, self, each) for each in plan.containers]
        self._sidecars = [each for each in self.init if each.plan.sidecar]
        self._host = host
        self._on_change = on_change
        self._next_init = 0
        self._next = 0
        self._awaited: LiveContainer | None = None  # what the next container's start waits for
        self._quiet = False
        self._stopping = False
        self._finishing = False  # the containers have ended and won't restart, and the sidecars are being ended
        self._deadline_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether every container and sidecar is ready."""
        return self.phase == "Running" and all(each.ready for each in (*self.containers, *self._sidecars))

    @property
    def programs(self) -> list[LiveContainer]:
        """The containers that the end of the lab waits for: programs of the manifest, and any with a preStop hook."""
        return [each for each in (*self.init, *self.containers) if each.awaited]

    def start(self) -> None:
        """Run the init containers, then start the containers; an init container that fails stops the pod."""
        self._advance()

    def _advance(self) -> None:
        """Start the next init container; after the last one, start the others."""
        while self._next_init < len(self.init):
            container = self.init[self._next_init]
            self._next_init += 1
            if not isinstance(container.plan.run, Hook):
                self._awaited = container
                container.start()
                return
            try:
                with self._host.inside(self.plan.key):
                    container.plan.run.call()
                reached("hook-called")
            except FAILURES as error:
                refusal = as_refusal(error)
                if refusal is None:
                    raise
                self._fail(f"init container {container.plan.name}: {refusal}", type(refusal))
                return
            container.state, container.exit_status = "terminated", 0
        self.phase = "Running"
        self._start_next()

    def _start_next(self) -> None:
        """Start containers in order; as in the kubelet, one with a postStart hook delays those after it."""
        self._awaited = None
        while self._next < len(self.containers):
            container = self.containers[self._next]
            self._next += 1
            container.start()
            if container.plan.post_start is not None:
                self._awaited = container
                return

    def _fail(self, reason: str, failure: type[SidelabError] = PodError) -> None:
        self.phase, self.reason, self.failure = "Failed", reason, failure
        self._tell()

    def _tell(self) -> None:
        if not self._quiet:
            self._on_change(self)

    def changed(self) -> None:
        """React when a container's readiness has changed."""
        self._tell()

    def hook_returned(self, container: LiveContainer) -> None:
        """React when a postStart hook has returned: the next container may start."""
        if container is self._awaited and not container.plan.sidecar and not self._stopping:
            self._start_next()

    def container_started(self, container: LiveContainer) -> None:
        """React when a container has started: after a sidecar, the next init container may start.

        What the others' probes depend on may be up now, such as a sidecar's agent that answers in their place.
        """
        for other in (*self.init, *self.containers):
            if other is not container:
                other.hurry()
        if container is self._awaited and container.plan.sidecar and not self._stopping:
            self._awaited = None
            self._advance()

    def container_exited(self, container: LiveContainer, status: int, *, failed: bool) -> None:
        """Restart by policy; an init container's end starts the next, or fails the pod."""
        if self._stopping or self._finishing:
            self._end_sidecars()
        elif container.plan.sidecar:
            container.restart_later()
        elif container in self.init:
            self._init_exited(container, status)
        else:
            policy = self.plan.restart_policy
            if policy == "Always" or (policy == "OnFailure" and (status or failed)):
                container.restart_later()
            if container is self._awaited:
                self._start_next()
            if not any(each.state != "terminated" for each in self.containers):
                self._finishing = True
                self._deadline_s = time.monotonic() + self.plan.grace_s
                self._end_sidecars()

    def _init_exited(self, container: LiveContainer, status: int) -> None:
        if status == 0:
            self._advance()
            return
        tail = container.log_tail()
        ending = f"; its log ends:\n{tail}" if tail else ""
        # A stand-in's exit statuses are those of our own command line; another program's may mean anything.
        failure = kind(status, PodError) if container.is_standin else PodError
        self._fail(f"init container {container.plan.name} failed: {container.reason}{ending}", failure)

    def hook_done(self) -> None:
        """React when a preStop hook is done."""
        if self._stopping:
            self._end_sidecars()

    def stop(self) -> None:
        """Restart nothing from now on, and end the manifest's own programs, sidecars last.

        For stand-ins only the preStop hooks are run: they have nothing left to serve, and end with the sandbox.
        """
        self._stopping = self._quiet = True  # no notifications while all pods are being stopped
        self._deadline_s = time.monotonic() + self.plan.grace_s
        for container in (*self.init, *self.containers):
            container.call_off()
        for container in (*self.init, *self.containers):
            if container not in self._sidecars:
                self._end(container)
        self._end_sidecars()
        self._quiet = False

    def _end(self, container: LiveContainer) -> None:
        asked = self._finishing or not container.is_standin
        if asked or container.plan.pre_stop is not None:
            container.end(max(0.0, self._deadline_s - time.monotonic()), asked=asked)

    def _end_sidecars(self) -> None:
        """End the sidecars one by one, the last started first, once nothing else is awaited."""
        if not any(each.awaited for each in self.init + self.containers if each not in self._sidecars):
            for sidecar in reversed(self._sidecars):
                sidecar.call_off()
                self._end(sidecar)
                if sidecar.awaited or (self._finishing and sidecar.running):
                    break
            else:
                self._ended()
                return
        self._tell()

    def _ended(self) -> None:
        if self._finishing:
            failed = any(each.exit_status for each in self.containers)
            self.phase = "Failed" if failed else "Succeeded"
        self._tell()
