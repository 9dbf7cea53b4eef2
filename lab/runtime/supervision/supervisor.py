"""The supervisor: pid 1 of a sandbox. It builds the lab, keeps it running, answers requests, and ends with it."""

import os
import signal
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sidelab.lab import errors
from sidelab.lab.base.exhausted import as_refusal
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.live import Cluster
from sidelab.lab.errors import PodError
from sidelab.lab.manifest import Manifest, Service
from sidelab.lab.runtime.live_pod import LivePod
from sidelab.lab.runtime.supervision import control
from sidelab.lab.runtime.supervision.foundation import Foundation
from sidelab.lab.runtime.supervision.order import Order, files_needed, raise_file_limit
from sidelab.lab.sandbox.sandbox import REPORT_BYTES, Inside

if TYPE_CHECKING:
    from sidelab.lab.cluster.change import Change

_PROGRESS_EVERY_S = 0.25
_KILL_AFTER_S = 2.0  # how long a process may take to die of SIGKILL before pid 1 ends anyway


def run(inside: Inside, listener: socket.socket, order: Order) -> None:
    """Run the supervisor until the lab is stopped or its owner ends."""
    os.chdir("/")
    os.umask(0o022)  # as in container runtimes: directories made for pods are not closed to their users
    if order.cpus is not None:
        os.sched_setaffinity(0, order.cpus)
    supervisor = None
    try:
        spare = raise_file_limit(files_needed(order.blueprint))
        supervisor = Supervisor(inside, listener, order, spare)
        supervisor.run()
    except Exception as error:  # noqa: BLE001  # any error is reported to the owner
        refusal = as_refusal(error)
        report = errors.report(refusal or error)
        _report(inside, report)
        if supervisor is not None:
            supervisor.control.say_last(report)  # a background lab no longer has an owner
        raise SystemExit(70 if refusal is None else refusal.exit_status) from None


def _report(inside: Inside, message: dict[str, Any]) -> None:
    try:
        inside.channel.send(errors.encoded(message, REPORT_BYTES), socket.MSG_DONTWAIT)
    except OSError:
        return  # the owner is gone or does not listen, and nobody else is connected


class Supervisor:
    """A lab from inside: its network, its pods, and the loop that serves them."""

    def __init__(self, inside: Inside, listener: socket.socket, order: Order, spare_files: int) -> None:
        self.order = order
        self.incidents = Incidents()
        self.loop = Loop(self.incidents.unforeseen)
        self._inside = inside
        self._is_ready = False
        self._stopping = False
        self._foundation = Foundation(order, self.loop, self.incidents, before_forking=self._watch_signals)
        self.spaces, self.network = self._foundation.spaces, self._foundation.network
        kinds = order.blueprint.kinds
        objects = kinds.stored_in(order.blueprint.manifest)
        self.cluster = Cluster(self.loop, self.incidents, order.blueprint.pods, objects, kinds)
        self.host = self._foundation.host(self.cluster.podinfo)
        self.pods = {plan.key: LivePod(self.host, plan, self._pod_changed) for plan in order.blueprint.pods}
        self._unready = set(self.pods)
        self.control = control.ControlServer(self, listener, spare_files + control.CONNECTIONS_INCLUDED)

    def run(self) -> None:
        """Start the pods, report when all are ready, and serve until stopped."""
        self.loop.after(self.order.timeout_s, self._too_late)
        self.loop.after(_PROGRESS_EVERY_S, self._progress)
        self._foundation.logs.begin()
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
        """Change what runs; raises what `Cluster.apply` raises, and then nothing has changed."""
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

    def _too_late(self) -> None:
        if not self._is_ready:
            pods = [self.pods[key] for key in sorted(self._unready)]
            shown = "\n".join(_unready_because(pod) for pod in pods[:5])
            more = f"\n(and {len(pods) - 5} more)" if len(pods) > 5 else ""
            raise PodError(f"not ready within {self.order.timeout_s:g} s:\n{shown}{more}")

    def _owner_spoke(self) -> None:
        """Continue without the owner if it detaches; end if it has ended."""
        word = self._inside.channel.recv(64)
        self.loop.forget(self._inside.channel)
        if word == b"detach":
            self._inside.detach()
        else:
            self.loop.stop()

    def stop(self) -> None:
        """Ask the manifest's own programs to end, kill them when the longest grace period is over, and end.

        Stand-ins are not asked: they have nothing left to serve, and end with the sandbox, at once.
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
        """Handle signals and orphans: pid 1 gets only signals that it has handlers for, and inherits all orphans."""
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
