"""Pods as running things: init containers in order, containers with restarts and readiness, an escalating stop.

The kubelet's part, in the small. Events of the fork servers, of probes and of timers drive everything; nothing polls.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.blueprint import ContainerPlan, PodPlan, Process
from lab.errors import PodError, SidelabError, kind
from lab.loop import Loop
from lab.probes import Prober
from lab.program import Command, Hook, Standin
from lab.spawner import Handle, Place, Spawner
from lab.steps import reached

if TYPE_CHECKING:
    from lab.timers import Timer

START_DEADLINE_S = 10.0  # for a stand-in to say that it serves
_BACKOFF_S, _BACKOFF_MAX_S, _BACKOFF_RESET_S = 10.0, 300.0, 600.0  # the kubelet's CrashLoopBackOff
_LOG_TAIL_BYTES = 2000


@dataclass(frozen=True)
class Host:
    """What pods need of the lab that they live in."""

    loop: Loop
    spawners: dict[tuple[str, ...], Spawner]
    inside: Callable[[tuple[str, str] | None], AbstractContextManager[None]]
    place: Callable[[PodPlan, bool], Place]
    logs: Path

    def spawn(self, pod: PodPlan, process: Process, on_event: Callable[[str, int | str], None], **how: Any) -> Handle:
        """Spawn a process in `pod` from the fork server that has its program imported."""
        program = process.program
        preload = program.preload if isinstance(program, Standin) else ()
        place = self.place(pod, isinstance(program, Command))
        return self.spawners[preload].spawn(process, place, on_event, **how)


class LiveContainer:
    """One container: its process, restarts and readiness."""

    def __init__(self, host: Host, pod: "LivePod", plan: ContainerPlan) -> None:
        self.plan = plan
        self.ready = False
        self.restarts = 0
        self.state = "waiting"
        self.reason = ""
        self.exit_status: int | None = None
        self.log = host.logs / pod.plan.key[0] / pod.plan.key[1] / f"{plan.name}.log"
        self._host = host
        self._pod = pod
        self._handle: Handle | None = None
        self._prober: Prober | None = None
        self._timer: Timer | None = None
        self._started_at = 0.0
        self._backoff_s = 0.0

    @property
    def pid(self) -> int:
        """The process id inside the sandbox; 0 when there is none."""
        return self._handle.pid if self._handle else 0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._handle is not None

    @property
    def is_standin(self) -> bool:
        """Whether one of our own programs stands in for the image."""
        return isinstance(self.plan.run, Process) and isinstance(self.plan.run.program, Standin)

    def start(self) -> None:
        """Spawn the process."""
        if not isinstance(self.plan.run, Process):
            raise PodError(f"container {self.plan.name}: a hook can only be an init container")
        self.state, self.reason, self.exit_status = "running", "", None
        self._started_at = time.monotonic()
        self._handle = self._host.spawn(self._pod.plan, self.plan.run, self._heard, output=str(self.log))
        if isinstance(self.plan.run.program, Standin):
            self._timer = self._host.loop.after(START_DEADLINE_S, self._late)

    def call_off(self) -> None:
        """Call off a restart that is due."""
        if self._timer is not None:
            self._timer.cancel()

    def signal(self, number: int) -> None:
        """Signal the process, if there is one."""
        if self._handle is not None:
            self._handle.signal(number)

    def _late(self) -> None:
        self.reason = f"did not say that it serves within {START_DEADLINE_S:g} s"
        if self._handle is not None:
            self._handle.signal(signal.SIGKILL)

    def _heard(self, what: str, value: int | str) -> None:
        if what == "ready":
            if self._timer is not None:
                self._timer.cancel()
            self._serving()
        elif what == "failed":
            self.reason = str(value)
        elif what == "exited":
            self._exited(int(value))

    def _serving(self) -> None:
        probe = self.plan.probe
        if probe is None:
            self._set_ready(ready=True)
        else:
            address = (self._pod.plan.address.ipv4, self.plan.probe_port)
            self._prober = Prober(self._host.loop, probe, address, self._execute, self._probed)

    def _execute(self, argv: tuple[str, ...], done: Callable[[int], None]) -> Callable[[], None]:
        """Run a probe's command as this container would, its output in the container's log."""
        if not isinstance(self.plan.run, Process):
            raise PodError(f"container {self.plan.name}: a hook has no process to probe")
        run = self.plan.run
        process = Process(Command(argv), run.uid, run.gid, run.env, run.capabilities, run.cwd)

        def heard(what: str, value: int | str) -> None:
            if what == "exited":
                done(os.waitstatus_to_exitcode(int(value)))

        handle = self._host.spawn(self._pod.plan, process, heard, output=str(self.log))
        return lambda: handle.signal(signal.SIGKILL)

    def _probed(self, ready: bool, reason: str) -> None:
        self.reason = reason
        self._set_ready(ready=ready)

    def _set_ready(self, *, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._pod.changed()

    def _exited(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._handle = None
        if self._timer is not None:
            self._timer.cancel()
        if self._prober is not None:
            self._prober.stop()
            self._prober = None
            self.reason = ""  # what a probe said no longer matters
        self.state, self.exit_status = "terminated", code
        self.reason = self.reason or (f"signal {-code}" if code < 0 else f"exit status {code}")
        self._set_ready(ready=False)
        self._pod.container_exited(self, code)

    def restart_later(self) -> None:
        """Restart at once the first time, then after 10 s, 20 s … 5 min, as the kubelet does."""
        if time.monotonic() - self._started_at > _BACKOFF_RESET_S:
            self._backoff_s = 0.0
        self.state = "waiting"
        self.restarts += 1
        self._timer = self._host.loop.after(self._backoff_s, self.start)
        self._backoff_s = min(max(_BACKOFF_S, 2 * self._backoff_s), _BACKOFF_MAX_S)

    def log_tail(self) -> str:
        """Return the last lines that the container wrote."""
        try:
            data = self.log.read_bytes()
        except FileNotFoundError:
            return ""
        return data[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


class LivePod:
    """One pod: phase as Kubernetes names it, and its containers."""

    def __init__(self, host: Host, plan: PodPlan, on_change: Callable[["LivePod"], None]) -> None:
        self.plan = plan
        self.phase = "Pending"
        self.reason = ""
        self.failure: type[SidelabError] = PodError  # whose fault it is that the phase is Failed
        self.init = [LiveContainer(host, self, each) for each in plan.init]
        self.containers = [LiveContainer(host, self, each) for each in plan.containers]
        self._host = host
        self._on_change = on_change
        self._next_init = 0
        self._stopping = False

    @property
    def ready(self) -> bool:
        """Whether every container is ready."""
        return self.phase == "Running" and all(container.ready for container in self.containers)

    @property
    def programs(self) -> list[LiveContainer]:
        """The containers in which a program of the manifest, not a stand-in, runs now."""
        return [each for each in (*self.init, *self.containers) if each.running and not each.is_standin]

    def start(self) -> None:
        """Run the init containers, then start the containers; an init container that fails stops the pod."""
        (self._host.logs / self.plan.key[0] / self.plan.key[1]).mkdir(parents=True)
        self._advance()

    def _advance(self) -> None:
        while self._next_init < len(self.init):
            container = self.init[self._next_init]
            self._next_init += 1
            if not isinstance(container.plan.run, Hook):
                container.start()
                return
            try:
                with self._host.inside(self.plan.key):
                    container.plan.run.call()
                reached("hook-called")
            except SidelabError as error:
                self._fail(f"init container {container.plan.name}: {error}", type(error))
                return
            container.state, container.exit_status = "terminated", 0
        self.phase = "Running"
        for container in self.containers:
            container.start()

    def _fail(self, reason: str, failure: type[SidelabError] = PodError) -> None:
        self.phase, self.reason, self.failure = "Failed", reason, failure
        self._on_change(self)

    def changed(self) -> None:
        """Hear that a container's readiness changed."""
        self._on_change(self)

    def container_exited(self, container: LiveContainer, status: int) -> None:
        """Restart by policy; an init container's end starts the next, or fails the pod."""
        if self._stopping:
            self._on_change(self)
        elif container in self.init:
            if status == 0:
                self._advance()
            else:
                tail = container.log_tail()
                ending = f"; its log ends:\n{tail}" if tail else ""
                # A stand-in ends as our own command line does; what another program's status means is its own affair.
                failure = kind(status, PodError) if container.is_standin else PodError
                self._fail(f"init container {container.plan.name} failed: {container.reason}{ending}", failure)
        elif self.plan.restart_policy == "Always" or (self.plan.restart_policy == "OnFailure" and status):
            container.restart_later()
        elif not any(each.state != "terminated" for each in self.containers):
            failed = any(each.exit_status for each in self.containers)
            self.phase = "Failed" if failed else "Succeeded"
            self._on_change(self)

    def stop(self) -> None:
        """Restart nothing from now on, and ask the manifest's own programs to end."""
        self._stopping = True
        for container in (*self.init, *self.containers):
            container.call_off()
        for container in self.programs:
            container.signal(signal.SIGTERM)
