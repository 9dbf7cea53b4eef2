"""The supervisor: pid 1 of a sandbox. It builds the lab, keeps it running, answers for it, and ends with it."""

import json
import os
import resource
import signal
import socket
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lab import control
from lab.blueprint import Blueprint, PodPlan
from lab.cluster.live import Cluster
from lab.errors import MachineError, PodError, SidelabError
from lab.loop import Loop
from lab.manifest import Manifest
from lab.mounts import PodMounts
from lab.overlay import Shown
from lab.runtime import Host, LivePod
from lab.sandbox import LOG, RUN, Inside, make_mounts
from lab.spawner import Place, Spawner
from lab.steps import reached
from lab.view import View

if TYPE_CHECKING:
    from lab.cluster.change import Change
    from lab.netns import Network

_PROGRESS_EVERY_S = 0.25
_OTHER_FILES = 64
_KILL_AFTER_S = 2.0  # what a process that ignores SIGKILL's arrival may take before pid 1 ends anyway


@dataclass(frozen=True)
class Order:
    """What to run: `cpus` (None: all) is where everything in the lab is scheduled, `view` what pods are shown."""

    name: str
    blueprint: Blueprint
    view: View
    timeout_s: float
    background: bool
    cpus: Collection[int] | None


def run(inside: Inside, listener: socket.socket, order: Order) -> None:
    """Be the supervisor until the lab is stopped or its owner ends."""
    os.chdir("/")
    os.umask(0o022)  # as container runtimes have it: directories that are made for pods are not closed to their users
    if order.cpus is not None:
        os.sched_setaffinity(0, order.cpus)
    try:
        _raise_file_limit(len(order.blueprint.pods) + _OTHER_FILES)
        Supervisor(inside, listener, order).run()
    except SidelabError as error:
        _report(inside, {"error": str(error), "exit_status": error.exit_status})
        raise SystemExit(error.exit_status) from None
    except Exception:  # noqa: BLE001  # whatever it is, the owner gets to read it
        _report(inside, {"bug": traceback.format_exc()})
        raise SystemExit(70) from None


def _raise_file_limit(needed: int) -> None:
    """Allow as many open files as the hard limit does: a pod's namespace is one.

    Raises `MachineError` where that is not enough.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < needed:
        raise MachineError(
            f"this lab needs {needed} open files and the hard limit is {hard}: raise it (`ulimit -Hn {needed}` as "
            "root, or /etc/security/limits.conf), or start fewer pods"
        )


def _report(inside: Inside, message: dict[str, object]) -> None:
    try:
        inside.channel.send(json.dumps(message).encode()[:200_000], socket.MSG_DONTWAIT)
    except OSError:
        return  # the owner is gone or does not listen, and there is nobody else to tell


def _let_go_of_terminal() -> None:
    """Hold nothing of the command line's standard three: whoever reads what it prints waits for the end of that."""
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(fd, target)
    os.close(null)
    os.close(log)


class Supervisor:
    """A lab from inside: its network, its pods, and the loop that serves them."""

    def __init__(self, inside: Inside, listener: socket.socket, order: Order) -> None:
        self.order = order
        self.loop = Loop()
        self._inside = inside
        self._is_ready = False
        self._stopping = False
        shown = Shown()
        shown.open_early(order.view)
        make_mounts()
        reached("mounts-made")
        _let_go_of_terminal()
        self._watch_signals()
        self._spawners = {preload: Spawner(self.loop, preload) for preload in order.blueprint.preloads}
        reached("servers-started")
        self.network = self._build_network()
        self.cluster = Cluster(self.loop, order.blueprint.pods, order.blueprint.manifest.services)
        self._mounts = PodMounts(self.cluster.podinfo, order.view, shown)
        logs = Path(RUN, "logs")
        logs.mkdir()
        self.host = Host(self.loop, self._spawners, self.network.inside, self.place, logs, order.view.covers)
        self.pods = {plan.key: LivePod(self.host, plan, self._pod_changed) for plan in order.blueprint.pods}
        self._unready = set(self.pods)
        self._control = control.Server(self, listener)

    def _build_network(self) -> "Network":
        # pyroute2 takes 0.14 s to import; meanwhile the fork servers, already started, import what they need.
        from lab.netns import Network  # noqa: PLC0415

        network = Network()
        network.build([plan.address for plan in self.order.blueprint.pods])
        return network

    def place(self, plan: PodPlan, files: bool, words: Sequence[str] = ()) -> Place:
        """Return where a process of the pod runs; with `files` it sees the pod's own mounts, and what `words` name."""
        mounts = self._mounts.descriptor(plan, words) if files else None
        return Place(self.network.descriptor(plan.key), mounts, plan.hostname)

    def run(self) -> None:
        """Start the pods, say when all are ready, and serve until told to stop."""
        self.loop.after(self.order.timeout_s, self._too_late)
        self.loop.after(_PROGRESS_EVERY_S, self._progress)
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
        return replace(self.order.blueprint.manifest, pods=pods, services=self.cluster.wanted)

    def apply(self, change: "Change") -> None:
        """Carry out a change of what runs.

        Raises `MachineError` or `PodError`, and nothing has changed, where the kernel refuses the rules.
        """
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
            reached("lab-ready")
            _report(self._inside, {"ready": True})

    def _progress(self) -> None:
        if not self._is_ready:
            total = len(self.pods)
            _report(self._inside, {"progress": [total - len(self._unready), total]})
            self.loop.after(_PROGRESS_EVERY_S, self._progress)

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
