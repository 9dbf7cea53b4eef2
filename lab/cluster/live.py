"""The cluster side of a running lab: who is ready goes in; files, the node's rules and the name server follow.

Runs in the supervisor, in the node's network namespace.
"""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import FAILURES, Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.catalog import Catalog, member, translated
from sidelab.lab.cluster.dns.nameserver import NameServer
from sidelab.lab.cluster.publish import STATE_FILE, Written, discard, put, write_podinfo, write_state
from sidelab.lab.cluster.state import Service, State
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import Service as Wanted
from sidelab.lab.plan.blueprint import PodPlan

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from sidelab.lab.base.timers import Timer
    from sidelab.lab.cluster.change import Change


CONNTRACK_CAVEAT = "connection tracking is on in the node: it translates Services' addresses"

_DELAY_S = 0.02
_AGAIN_S = 1.0
_COST_FACTOR = 10  # publishing takes a tenth of the supervisor's time at the most


class Cluster:
    """Publishes the lab's Services; pods count as not ready until `set_ready`."""

    def __init__(self, loop: Loop, incidents: Incidents, plans: Iterable[PodPlan], services: Iterable[Wanted]) -> None:
        self._loop = loop
        self._incidents = incidents
        self._plans = {plan.key: plan for plan in plans}
        self._catalog = Catalog(services, (member(plan.source, plan.address) for plan in self._plans.values()))
        self._ready: set[PodKey] = set()
        self._state = State(generation=-1)
        self._name_server = NameServer(loop, incidents, STATE_FILE)
        self._with_files: set[PodKey] = set()
        self._netlink: socket.socket | None = None
        self._rules = b""
        self._cost_s = 0.0
        self._timer: Timer | None = None

    @property
    def services(self) -> tuple[Service, ...]:
        """The manifest's Services, as published last."""
        return tuple(each for each in self._state.services if (each.namespace, each.name) in self._catalog.services)

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        """The manifest's Services, as they were asked for."""
        return tuple(self._catalog.services.values())

    @property
    def caveats(self) -> tuple[str, ...]:
        """What follows for measurements from what is loaded now."""
        return (CONNTRACK_CAVEAT,) if translated(self._state) else ()

    def begin(self) -> None:
        """Publish for the first time, before any pod starts."""
        self.publish()
        reached("cluster-published")
        if self._catalog.services:
            self._name_server.start()

    def set_ready(self, key: PodKey, *, ready: bool) -> None:
        """Hear whether a pod is ready; it is published soon."""
        if ready == (key in self._ready):
            return
        if ready:
            self._ready.add(key)
        else:
            self._ready.discard(key)
        if self._timer is None and self._catalog.services:
            self._publish_in(max(_DELAY_S, _COST_FACTOR * self._cost_s))

    def _publish_in(self, delay_s: float) -> None:
        self._timer = self._loop.after(delay_s, self._publish_due)

    def _publish_due(self) -> None:
        """Publish who is ready; where that is refused, what was published stays, and it is tried again."""
        self._timer = None
        try:
            self.publish()
        except FAILURES as error:
            self._incidents.survived("who is ready could not be published to pods, and is tried again", error)
            self._publish_in(_AGAIN_S)

    def publish(self, podinfos: Iterable[PodPlan] = ()) -> None:
        """Publish now what has changed since the last time, and files about pods: all of it or, on an error, nothing.

        Raises `MachineError` or `PodError` where the kernel refuses the rules, `OSError` where a file can't be written.
        """
        start = time.monotonic()
        state = self._catalog.state(self._ready, self._state.generation + 1)
        files: list[Written] = []
        try:
            for plan in podinfos:
                files.append(write_podinfo(plan))  # noqa: PERF401  # those already written are removed where one fails
            if state.services != self._state.services:
                files.append(write_state(state))
                self._load_rules(state)
        except FAILURES:
            discard(files)
            raise
        put(files)
        if state.services != self._state.services:
            self._state = state
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._cost_s = time.monotonic() - start

    def podinfo(self, plan: PodPlan) -> "Path":
        """Return the directory with the file about a pod that wants to see it, which is up to date from now on."""
        written = write_podinfo(self._plans[plan.key])
        put((written,))
        self._with_files.add(plan.key)
        return written.path.parent

    def apply(self, change: "Change", plans: Sequence[PodPlan]) -> None:
        """Carry a change out; `plans` are the pods of it as they will be.

        Raises as `publish`, or `InputError` as `Catalog.put`, and then nothing has changed.
        """
        before, self._catalog = self._catalog, self._catalog.copied()
        try:
            for plan in plans:
                self._catalog.relabel(member(plan.source, plan.address))
            for service in change.services:
                self._catalog.put(service)
            for key in change.removed:
                self._catalog.remove(key)
            self.publish(plan for plan in plans if plan.key in self._with_files)
        except FAILURES:
            self._catalog = before
            raise
        for plan in plans:
            self._plans[plan.key] = plan
        if self._catalog.services:
            self._name_server.start()

    def _load_rules(self, state: State) -> None:
        """Make the node's rules those of `state`; a node that has never translated anything gets none."""
        if not self._rules and not translated(state):
            return
        from sidelab.lab.cluster import service_rules  # noqa: PLC0415  # the same
        from sidelab.lab.netlink import nftables  # noqa: PLC0415  # a lab without Services needs neither, and would wait for them

        batch = service_rules.batch(state)
        if batch != self._rules:
            link = nftables.open_socket() if self._netlink is None else self._netlink
            self._netlink = None  # an answer that was not read would be taken for that to the next transaction
            nftables.send(link, batch)
            self._netlink = link
            self._rules = batch
            reached("services-loaded")
