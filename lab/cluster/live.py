"""The cluster side of a running lab: who is ready goes in; files, the node's rules and the name server follow.

Runs in the supervisor, in the node's network namespace.
"""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lab.blueprint import PodPlan
from lab.cluster.catalog import Catalog, member, translated
from lab.cluster.nameserver import NameServer
from lab.cluster.publish import STATE_FILE, publish_podinfo, publish_state
from lab.cluster.state import Service, State
from lab.errors import SidelabError
from lab.loop import Loop
from lab.manifest import Service as Wanted
from lab.steps import reached

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from lab.cluster.change import Change
    from lab.timers import Timer

Key = tuple[str, str]

CONNTRACK_CAVEAT = "connection tracking is on in the node: it translates Services' addresses"

_DELAY_S = 0.02
_COST_FACTOR = 10  # publishing takes a tenth of the supervisor's time at the most


class Cluster:
    """Publishes the lab's Services; pods count as not ready until `set_ready`."""

    def __init__(self, loop: Loop, plans: Iterable[PodPlan], services: Iterable[Wanted]) -> None:
        self._loop = loop
        self._plans = {plan.key: plan for plan in plans}
        self._catalog = Catalog(services, (member(plan.source, plan.address) for plan in self._plans.values()))
        self._ready: set[Key] = set()
        self._state = State(generation=-1)
        self._name_server = NameServer(loop, STATE_FILE)
        self._with_files: set[Key] = set()
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

    def set_ready(self, key: Key, *, ready: bool) -> None:
        """Hear whether a pod is ready; it is published soon."""
        if ready == (key in self._ready):
            return
        if ready:
            self._ready.add(key)
        else:
            self._ready.discard(key)
        if self._timer is None and self._catalog.services:
            self._timer = self._loop.after(max(_DELAY_S, _COST_FACTOR * self._cost_s), self.publish)

    def publish(self) -> None:
        """Publish now what has changed since the last time.

        Raises `MachineError` or `PodError` where the kernel refuses the rules.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        start = time.monotonic()
        state = self._catalog.state(self._ready, self._state.generation + 1)
        if state.services != self._state.services:
            self._load_rules(state)
            publish_state(state)
            self._state = state
        self._cost_s = time.monotonic() - start

    def podinfo(self, plan: PodPlan) -> "Path":
        """Return the directory with the file about a pod that wants to see it, which is up to date from now on."""
        self._with_files.add(plan.key)
        return publish_podinfo(self._plans[plan.key])

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
            self.publish()
        except SidelabError:
            self._catalog = before
            raise
        for plan in plans:
            self._plans[plan.key] = plan
            if plan.key in self._with_files:
                publish_podinfo(plan)
        if self._catalog.services:
            self._name_server.start()

    def _load_rules(self, state: State) -> None:
        """Make the node's rules those of `state`; a node that has never translated anything gets none."""
        if not self._rules and not translated(state):
            return
        from lab import nftables  # noqa: PLC0415  # a lab without Services needs neither, and would wait for them
        from lab.cluster import rules  # noqa: PLC0415  # the same

        batch = rules.batch(state)
        if batch != self._rules:
            if self._netlink is None:
                self._netlink = nftables.open_socket()
            nftables.send(self._netlink, batch)
            self._rules = batch
            reached("services-loaded")
