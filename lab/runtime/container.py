"""One container as a running thing: its process, restarts, probes, lifecycle hooks and end.

A small version of what the kubelet does. What depends on the pod's other containers is decided by the pod
(`lab.runtime.live_pod`).
"""

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sidelab.lab.base.exhausted import cannot_fork
from sidelab.lab.base.incidents import FAILURES, reason_of
from sidelab.lab.base.processes.stop import ask_then_kill
from sidelab.lab.errors import PodError
from sidelab.lab.plan.blueprint import ContainerPlan, PlannedCheck, PodPlan, ProbePlan, Process
from sidelab.lab.plan.registry import Standin
from sidelab.lab.runtime.pod_services import Host, is_stranger
from sidelab.lab.runtime.probes import Finish, ProbeAttempt, ProbeOutcome, Prober, begin
from sidelab.lab.sandbox.apart import is_deaf

if TYPE_CHECKING:
    from sidelab.lab.base.timers import Timer
    from sidelab.lab.runtime.logfile import LogFile
    from sidelab.lab.runtime.spawner import Handle

START_DEADLINE_S = 10.0  # for a stand-in to report that it serves
_BACKOFF_S, _BACKOFF_MAX_S, _BACKOFF_RESET_S = 10.0, 300.0, 600.0  # the kubelet's CrashLoopBackOff
_LEAST_GRACE_S = 2.0  # the kubelet's minimum between SIGTERM and SIGKILL after a preStop hook that used all of it
_LOG_TAIL_BYTES = 2000
_START_ERROR = 128  # the exit status that the kubelet shows for a container that could not be started


class OwningPod(Protocol):
    """The pod, as its containers see it."""

    plan: PodPlan

    def changed(self) -> None:
        """React when a container's readiness has changed."""

    def hook_returned(self, container: "LiveContainer") -> None:
        """React when the postStart hook has returned, passed or not: what waits for it may go on."""

    def container_started(self, container: "LiveContainer") -> None:
        """React when the container counts as started: after its postStart hook and its startup probe."""

    def container_exited(self, container: "LiveContainer", status: int, *, failed: bool) -> None:
        """React to its end, with its exit status and whether it was ended because a probe or hook `failed`."""

    def hook_done(self) -> None:
        """React when a preStop hook is done."""


class LiveContainer:
    """One container.

    `state` is waiting, running or terminated, `reason` why it is not as it should be; `started` and `ready` are what
    its probes say. `exit_status` is of the process that has ended, None while one runs; `last_exit_status` and
    `last_reason` are of the process before.
    """

    def __init__(self, host: Host, pod: OwningPod, plan: ContainerPlan) -> None:
        self.plan = plan
        self.started = False
        self.ready = False
        self.restarts = 0
        self.state = "waiting"
        self.reason = ""
        self.exit_status: int | None = None
        self.last_exit_status: int | None = None
        self.last_reason = ""
        self._host = host
        self._pod = pod
        self._handle: Handle | None = None
        self._probers: list[Prober] = []
        self._hook: ProbeAttempt | None = None
        self._ending = False
        self._said: dict[str, str] = {}  # the last result of each probe and hook, by its name
        self._cause = ""  # the probe or hook whose failure ends it
        self._timer: Timer | None = None
        self._kill_timer: Timer | None = None
        self._started_at = 0.0
        self._backoff_s = 0.0

    @property
    def log(self) -> "LogFile":
        """What it writes; raises `OSError` if the log does not exist yet and can't be made."""
        return self._host.logs.of((*self._pod.plan.key, self.plan.name))

    @property
    def pid(self) -> int:
        """The process id inside the sandbox; 0 without a process."""
        return self._handle.pid if self._handle else 0

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._handle is not None

    @property
    def is_standin(self) -> bool:
        """Whether one of our own programs stands in for the image."""
        return isinstance(self.plan.run, Process) and isinstance(self.plan.run.program, Standin)

    @property
    def beside(self) -> int:
        """The pid of the process that a probe's, a hook's or a person's command runs beside; see `Host.spawn`."""
        return self.pid if is_stranger(self._process.program) else 0

    @property
    def awaited(self) -> bool:
        """Whether the end of a lab waits for it: true of a manifest's program, and of any with a preStop hook."""
        return self.running and (not self.is_standin or (self._ending and self._hook is not None))

    def start(self) -> None:
        """Spawn the process."""
        self.state, self.reason, self.exit_status = "running", "", None
        self._started_at = time.monotonic()
        try:
            self._handle = self._host.spawn(self._pod.plan, self._process, self._heard, output=self.log.descriptor)
        except FAILURES as error:
            self._host.incidents.survived(f"{self._name} can't be started", error)
            self.reason = f"it can't be started: {reason_of(error)}"
            self._exited(_START_ERROR << 8)
            return
        if self.is_standin:
            self._timer = self._host.loop.after(START_DEADLINE_S, self._late)

    @property
    def _name(self) -> str:
        return f"pod {'/'.join(self._pod.plan.key)}: container {self.plan.name}"

    @property
    def _process(self) -> Process:
        if not isinstance(self.plan.run, Process):
            raise PodError(f"container {self.plan.name}: a hook has no process")
        return self.plan.run

    def call_off(self) -> None:
        """Cancel a pending restart."""
        if self._timer is not None:
            self._timer.cancel()

    def signal(self, number: int) -> None:
        """Signal the process, if there is one."""
        if self._handle is not None:
            self._handle.signal(number)

    def end(self, grace_s: float, cause: str = "", *, asked: bool = True) -> None:
        """Run the preStop hook, then ask the process to end, and kill it when `grace_s` seconds are over.

        `cause` is the failure that it is ended for. Without being `asked` it is left alone after its hook: it ends with
        the sandbox.
        """
        if self._ending or self._handle is None:
            return
        self._ending, self._cause = True, cause
        self._stop_asking()
        self._end_hook()
        self._set_ready(ready=False)
        deadline_s = time.monotonic() + grace_s

        def hook_done(outcome: ProbeOutcome) -> None:
            self._end_hook()
            self._say("preStop hook", outcome)
            if asked:
                self._ask_to_end(deadline_s)
            self._pod.hook_done()

        if self.plan.pre_stop is None or grace_s <= 0:
            self._ask_to_end(deadline_s)
        else:
            late = ProbeOutcome(passed=False, reason="timed out")
            self._kill_timer = self._host.loop.after(grace_s, lambda: hook_done(late))
            self._begin_hook(self.plan.pre_stop, hook_done)

    def _ask_to_end(self, deadline_s: float) -> None:
        if is_deaf(self.pid, signal.SIGTERM):
            self.signal(signal.SIGKILL)
            return
        rest_s = max(deadline_s - time.monotonic(), _LEAST_GRACE_S)
        self._kill_timer = ask_then_kill(self.signal, self._host.loop.after, rest_s)

    def _late(self) -> None:
        self.reason = f"did not say that it serves within {START_DEADLINE_S:g} s"
        self.signal(signal.SIGKILL)

    def _heard(self, what: str, value: int | str) -> None:
        if what == "ready":
            if self._timer is not None:
                self._timer.cancel()
            if not self._ending:
                self._serving()
        elif what == "failed":
            self.reason = str(value)
        elif what == "unforked":
            refusal = cannot_fork(str(value))
            self._host.incidents.survived(f"{self._name} can't be started", refusal)
            self.reason = str(refusal)
        elif what == "exited":
            self._exited(int(value))

    def _serving(self) -> None:
        if self.plan.post_start is None:
            self._check_startup()
            return
        self.reason = "its postStart hook has not returned yet"
        self._begin_hook(self.plan.post_start, self._post_started)

    def _post_started(self, outcome: ProbeOutcome) -> None:
        self._end_hook()
        self._say("postStart hook", outcome)
        if outcome.passed:
            self._check_startup()
        else:
            self.end(self._pod.plan.grace_s, self.reason)
        self._pod.hook_returned(self)

    def _begin_hook(self, check: PlannedCheck, finish: Finish) -> None:
        try:
            self._hook = begin(self._host.loop, check, self._execute, finish, any_answer=True)
        except FAILURES as error:
            finish(ProbeOutcome(passed=False, reason=reason_of(error)))

    def _end_hook(self) -> None:
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self._hook is not None:
            self._hook.close()
            self._hook = None

    def _check_startup(self) -> None:
        startup = self.plan.startup
        if startup is None:
            self._set_started()
            return

        def said(outcome: ProbeOutcome) -> None:
            self._say("startup probe", outcome)
            if outcome.passed:
                self._stop_asking()
                self._set_started()
            elif outcome.counts:
                self._end_for(startup)

        self._ask(startup, said, since_s=time.monotonic())

    def _set_started(self) -> None:
        """Probe liveness and readiness from now on; without a readiness probe it is ready."""
        self.started = True
        liveness, readiness = self.plan.liveness, self.plan.readiness

        def liveness_said(outcome: ProbeOutcome) -> None:
            self._say("liveness probe", outcome)
            if liveness is not None and outcome.counts and not outcome.passed:
                self._end_for(liveness)

        def readiness_said(outcome: ProbeOutcome) -> None:
            self._say("readiness probe", outcome)
            if outcome.counts:
                self._set_ready(ready=outcome.passed)

        if liveness is not None:
            self._ask(liveness, liveness_said, since_s=self._started_at, patient=True)
        if readiness is not None:
            self._ask(readiness, readiness_said, since_s=self._started_at)
        else:
            self._set_ready(ready=True)
        self._pod.container_started(self)

    def _say(self, who: str, outcome: ProbeOutcome) -> None:
        """Make the reason show the last results of the probes and hooks."""
        warning = f"{who}: {outcome.reason}" if outcome.reason else ""
        self._said[who] = warning if outcome.passed else f"{who} failed: {outcome.reason}"
        self.reason = "; ".join(filter(None, self._said.values()))

    def _end_for(self, probe: ProbePlan) -> None:
        own = probe.timing.termination_grace_period_seconds
        self.end(self._pod.plan.grace_s if own is None else own, self.reason)

    def _ask(self, plan: ProbePlan, on_result: Finish, *, since_s: float, patient: bool = False) -> None:
        """Begin to probe when the initial delay since `since_s` (of the monotonic clock) is over.

        A patient one begins after a period at the earliest: the kubelet's tick comes some time within the first, and a
        program that has only just begun must not be ended because it does not answer yet.
        """
        after_s = max(0.0, since_s + plan.timing.initial_delay_seconds - time.monotonic())
        if patient:
            after_s = max(after_s, plan.timing.period_seconds)
        loop, execute = self._host.loop, self._execute
        self._probers.append(Prober(loop, plan, execute, on_result, after_s=after_s, patient=patient))

    def hurry(self) -> None:
        """Repeat now the probes that are waiting to be repeated."""
        for prober in self._probers:
            prober.hurry()

    def _stop_asking(self) -> None:
        for prober in self._probers:
            prober.stop()
        self._probers.clear()

    def _execute(self, argv: tuple[str, ...], done: Callable[[int], None]) -> Callable[[], None]:
        """Run a probe's or hook's command as this container would, its output in the container's log."""
        run = self._process
        process = Process(run.program.runs(argv), run.uid, run.gid, run.env, run.capabilities, run.cwd)

        def heard(what: str, value: int | str) -> None:
            if what == "exited":
                done(os.waitstatus_to_exitcode(int(value)))

        handle = self._host.spawn(self._pod.plan, process, heard, self.beside, output=self.log.descriptor)
        return lambda: handle.signal(signal.SIGKILL)

    def _set_ready(self, *, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._pod.changed()

    def _exited(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._handle = None
        if self._timer is not None:
            self._timer.cancel()
        if self._said or self._hook:
            self.reason = ""  # a probe's result no longer matters, unless it is the cause
        self._said.clear()
        self._stop_asking()
        self._end_hook()
        cause, self._cause, self._ending, self.started = self._cause, "", False, False
        ending = f"signal {-code}" if code < 0 else f"exit status {code}"
        self.state, self.exit_status = "terminated", code
        self.reason = f"{cause}; {ending}" if cause else self.reason or ending
        self.last_exit_status, self.last_reason = code, self.reason
        self._set_ready(ready=False)
        self._pod.container_exited(self, code, failed=bool(cause))

    def restart_later(self) -> None:
        """Restart at once the first time, then after 10 s, 20 s … 5 min, as the kubelet does."""
        if time.monotonic() - self._started_at > _BACKOFF_RESET_S:
            self._backoff_s = 0.0
        self.state = "waiting"
        if self._backoff_s:
            self.reason += f" (CrashLoopBackOff: back-off {self._backoff_s:g} s)"
        self.restarts += 1
        self._timer = self._host.loop.after(self._backoff_s, self.start)
        self._backoff_s = min(max(_BACKOFF_S, 2 * self._backoff_s), _BACKOFF_MAX_S)

    def log_tail(self) -> str:
        """Return the last lines that the container wrote."""
        try:
            data = self.log.tail(_LOG_TAIL_BYTES)
        except OSError:
            return ""  # it was never started, because no log could be made for it
        return data.decode(errors="replace").strip()
