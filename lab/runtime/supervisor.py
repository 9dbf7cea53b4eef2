"""The supervisor: pid 1 of a sandbox. It builds the lab, keeps it running, answers for it, and ends with it."""

import os
import resource
import signal
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sidelab.lab import errors
from sidelab.lab.base.exhausted import as_refusal
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import Incidents, reason_of
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.live import Cluster
from sidelab.lab.errors import MachineError, PodError
from sidelab.lab.manifest import Manifest, Service
from sidelab.lab.plan.blueprint import Blueprint, Process
from sidelab.lab.plan.machine_view import View
from sidelab.lab.runtime import control
from sidelab.lab.runtime.live_pod import LivePod
from sidelab.lab.runtime.logfile import LogFile, Logs, Shelf
from sidelab.lab.runtime.mounts import PodMounts
from sidelab.lab.runtime.places import Places
from sidelab.lab.runtime.pod_services import Host, is_stranger, sees_files
from sidelab.lab.runtime.spawner import Spawner
from sidelab.lab.sandbox.overlay import DetachedMounts
from sidelab.lab.sandbox.sandbox import REPORT_BYTES, Inside, make_mounts
from sidelab.lab.sandbox.user_namespaces import AllSpaces, reach_out

if TYPE_CHECKING:
    from sidelab.lab.cluster.change import Change
    from sidelab.lab.runtime.network import Network

_PROGRESS_EVERY_S = 0.25
_OTHER_FILES = 64
_OWN_LOG_BYTES = 1 << 20
_NAMESPACES_OF_POD = 1  # network
_NAMESPACES_OF_FILES = 1  # mount
_NAMESPACES_OF_STRANGERS = (
    4  # IPC; pid, with a socket of its first process; what makes them, where that is the pod's own
)
_TRIM_EVERY_S, _TRIM_SOON_S = 1.0, 0.1  # usually, and where some container writes much
_TRIM_FACTOR = 100  # looking at the logs takes a hundredth of the supervisor's time at the most
_KILL_AFTER_S = 2.0  # what a process that ignores SIGKILL's arrival may take before pid 1 ends anyway


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


def run(inside: Inside, listener: socket.socket, order: Order) -> None:
    """Be the supervisor until the lab is stopped or its owner ends."""
    os.chdir("/")
    os.umask(0o022)  # as container runtimes have it: directories that are made for pods are not closed to their users
    if order.cpus is not None:
        os.sched_setaffinity(0, order.cpus)
    supervisor = None
    try:
        spare = _raise_file_limit(files_needed(order.blueprint))
        supervisor = Supervisor(inside, listener, order, spare)
        supervisor.run()
    except Exception as error:  # noqa: BLE001  # whatever it is, the owner gets to read it
        refusal = as_refusal(error)
        report = errors.report(refusal or error)
        _report(inside, report)
        if supervisor is not None:
            supervisor.control.say_last(report)  # a lab in the background has no owner any more
        raise SystemExit(70 if refusal is None else refusal.exit_status) from None


def files_needed(blueprint: Blueprint) -> int:
    """Return how many files the supervisor of a lab holds open at the most.

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


def _raise_file_limit(needed: int) -> int:
    """Allow as many open files as the hard limit does; return how many are left beside those that are `needed`.

    Raises `MachineError` where there are too few.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < needed:
        raise MachineError(
            f"this lab needs {needed} open files and the hard limit is {hard}: raise it (`ulimit -Hn {needed}` as "
            "root, or /etc/security/limits.conf), or start fewer pods"
        )
    return hard - needed


def _report(inside: Inside, message: dict[str, Any]) -> None:
    try:
        inside.channel.send(errors.encoded(message, REPORT_BYTES), socket.MSG_DONTWAIT)
    except OSError:
        return  # the owner is gone or does not listen, and there is nobody else to tell


def _let_go_of_terminal(shelf: Shelf) -> LogFile:
    """Hold nothing of the command line's standard three: whoever reads what it prints waits for the end of that.

    Returns the log that the supervisor and its fork servers write to instead.
    """
    log = LogFile(_OWN_LOG_BYTES, shelf)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (log.descriptor, 1), (log.descriptor, 2)):
        os.dup2(fd, target)
    os.close(null)
    return log


class Supervisor:
    """A lab from inside: its network, its pods, and the loop that serves them."""

    def __init__(self, inside: Inside, listener: socket.socket, order: Order, spare_files: int) -> None:
        self.order = order
        self.incidents = Incidents()
        self.loop = Loop(self.incidents.unforeseen)
        self._inside = inside
        self._is_ready = False
        self._stopping = False
        shown = DetachedMounts()
        shown.open_early(order.view)
        make_mounts()
        reached("mounts-made")
        shelf = Shelf()
        self._own_log = _let_go_of_terminal(shelf)
        self._watch_signals()
        self._spawners = {preload: Spawner(self.loop, preload) for preload in order.blueprint.preloads}
        reached("servers-started")
        # While the fork servers import.
        self.spaces = AllSpaces(host_ids=order.host_ids, apart=reach_out(order.blueprint.pods))
        self.network = self._build_network()
        kinds = order.blueprint.kinds
        objects = kinds.stored_in(order.blueprint.manifest)
        self.cluster = Cluster(self.loop, self.incidents, order.blueprint.pods, objects, kinds)
        self._places = Places(self.spaces, self.network, PodMounts(self.cluster.podinfo, order.view, shown))
        self._logs = Logs(order.log_bytes, shelf)
        self.host = Host(
            self.loop,
            self._spawners,
            self.network.inside,
            self._places.of,
            self._logs,
            self.incidents,
            order.view.covers,
        )
        self.pods = {plan.key: LivePod(self.host, plan, self._pod_changed) for plan in order.blueprint.pods}
        self._unready = set(self.pods)
        self.control = control.ControlServer(self, listener, spare_files + control.CONNECTIONS_INCLUDED)

    def _build_network(self) -> "Network":
        # Its import takes a moment, in which the fork servers, already started, import what they need.
        from sidelab.lab.runtime.network import Network  # noqa: PLC0415

        network = Network(self.spaces)
        network.build([plan.address for plan in self.order.blueprint.pods])
        return network

    def run(self) -> None:
        """Start the pods, say when all are ready, and serve until told to stop."""
        self.loop.after(self.order.timeout_s, self._too_late)
        self.loop.after(_PROGRESS_EVERY_S, self._progress)
        self.loop.after(_TRIM_EVERY_S, self._trim_logs)
        self.loop.watch(self._inside.channel, self._owner_spoke)
        self.cluster.begin()
        for pod in self.pods.values():
            pod.start()
            self.loop.poll()
        self._check_ready()
        self.loop.run()

    def manifest(self) -> Manifest:
        """Return what runs now as a manifest."""
        pods = tuple(pod.plan.source for pod in self.pods.values())
        services = [each for each in self.cluster.objects if isinstance(each, Service)]
        others = [each for each in self.cluster.objects if not isinstance(each, Service)]
        first = self.order.blueprint.manifest
        kept = [each for each in first.others if each.kind not in self.order.blueprint.kinds.stored]
        return replace(first, pods=pods, services=tuple(services), others=(*kept, *others))

    def apply(self, change: "Change") -> None:
        """Carry out a change of what runs; raises as `Cluster.apply`, and then nothing has changed."""
        plans = [replace(self.pods[source.key].plan, source=source) for source in change.pods]
        self.cluster.apply(change, plans)
        for plan in plans:
            self.pods[plan.key].plan = plan

    def _pod_changed(self, pod: LivePod) -> None:
        if self._stopping:
            if not self._awaited():
                self.loop.stop()
            return
        self.cluster.set_ready(pod.plan.key, ready=pod.ready)
        if self._is_ready:
            return
        if pod.phase == "Failed":
            raise pod.failure(f"pod {_full_name(pod)}: {pod.reason}" if pod.reason else _unready_because(pod))
        if pod.ready or pod.phase == "Succeeded":
            self._unready.discard(pod.plan.key)
        else:
            self._unready.add(pod.plan.key)
        self._check_ready()

    def _check_ready(self) -> None:
        if not self._unready and not self._is_ready:
            self._is_ready = True
            self.cluster.publish()
            self.incidents.strict = False
            reached("lab-ready")
            _report(self._inside, {"ready": True})

    def _progress(self) -> None:
        if not self._is_ready:
            total = len(self.pods)
            _report(self._inside, {"progress": [total - len(self._unready), total]})
            self.loop.after(_PROGRESS_EVERY_S, self._progress)

    def _trim_logs(self) -> None:
        """Free the oldest part of long logs; told is only of lines that may be lost though they are new."""
        begun_s = time.monotonic()
        trimmed = []
        try:
            self._own_log.trim()
            trimmed = self._logs.trim()
        except OSError as error:
            self.incidents.note(f"the logs could not be kept short: {reason_of(error)}")
        for (namespace, pod, container), log in trimmed:
            if log.was_full:
                self.incidents.note(
                    f"pod {namespace}/{pod}: container {container} wrote more at once than its log holds "
                    f"({2 * self.order.log_bytes} bytes): lines are missing in it (see `up --log-max`)"
                )
        usual_s = _TRIM_SOON_S if trimmed else _TRIM_EVERY_S
        self.loop.after(max(usual_s, _TRIM_FACTOR * (time.monotonic() - begun_s)), self._trim_logs)

    def _too_late(self) -> None:
        if not self._is_ready:
            pods = [self.pods[key] for key in sorted(self._unready)]
            shown = "\n".join(_unready_because(pod) for pod in pods[:5])
            more = f"\n(and {len(pods) - 5} more)" if len(pods) > 5 else ""
            raise PodError(f"not ready within {self.order.timeout_s:g} s:\n{shown}{more}")

    def _owner_spoke(self) -> None:
        """Go on without the owner if it says so; end if it has ended."""
        word = self._inside.channel.recv(64)
        self.loop.forget(self._inside.channel)
        if word == b"detach":
            self._inside.detach()
        else:
            self.loop.stop()

    def stop(self) -> None:
        """Ask the manifest's own programs to end, insist when the longest grace period is over, and end.

        Stand-ins are not asked: nobody is left for them to serve, and they end with the sandbox, at once.
        """
        if self._stopping:
            return
        self._stopping = True
        for pod in self.pods.values():
            pod.stop()
        if not self._awaited():
            self.loop.stop()
            return
        grace_s = max(pod.plan.grace_s for pod in self.pods.values())
        self.loop.after(grace_s, self._insist)

    def _awaited(self) -> bool:
        return any(pod.programs for pod in self.pods.values())

    def _insist(self) -> None:
        for pod in self.pods.values():
            for container in pod.programs:
                container.signal(signal.SIGKILL)
        self.loop.after(_KILL_AFTER_S, self.loop.stop)

    def _watch_signals(self) -> None:
        """Pid 1 gets no signal that it has no handler for, and inherits the orphans of all others."""
        wakeup, waker = socket.socketpair()
        wakeup.setblocking(False)
        waker.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._waker = waker

        def woken() -> None:
            numbers = wakeup.recv(4096)
            if signal.SIGCHLD in numbers:
                _reap()
            if signal.SIGTERM in numbers:
                self.stop()

        self.loop.watch(wakeup, woken)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _full_name(pod: LivePod) -> str:
    return "/".join(pod.plan.key)


def _unready_because(pod: LivePod) -> str:
    reasons = []
    unfinished = [container for container in pod.init if container.exit_status != 0]
    for container in (*unfinished, *pod.containers):
        if (not container.ready and container.state != "waiting") or container.restarts:
            tail = container.log_tail()
            ending = f"; its log ends:\n{tail}" if tail else ""
            reasons.append(f"container {container.plan.name}: {container.reason or 'not ready'}{ending}")
    return f"pod {_full_name(pod)}: {'; '.join(reasons) or pod.reason or 'not started'}"
