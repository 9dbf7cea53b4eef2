"""Services of a running lab: from pods' readiness follow files that pods read, the node's rules and the name server.

Runs in the supervisor, in the node's network namespace. It is the first actor on a kind: see `acting`.
"""

import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from msgspec import structs

from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import FAILURES
from sidelab.lab.cluster.acting import Node, Prepared
from sidelab.lab.cluster.catalog import Catalog, member, translated
from sidelab.lab.cluster.dns.nameserver import NameServer
from sidelab.lab.cluster.publish import STATE_FILE, discard, put, write_state
from sidelab.lab.cluster.state import PublishedService, State
from sidelab.lab.keys import PodKey, ServiceKey
from sidelab.lab.manifest import Service as Wanted
from sidelab.lab.plan.blueprint import PodPlan

if TYPE_CHECKING:
    import socket

    from sidelab.lab.base.timers import Timer

_DELAY_S = 0.02
_AGAIN_S = 1.0
_COST_FACTOR = 10  # publishing takes at most a tenth of the supervisor's time
_UNKNOWN = b"?"  # the rules after a refusal to take some back: those of no state


class Services:
    """Publishes the lab's Services; pods count as not ready until `set_ready`."""

    def __init__(self, node: Node, services: Collection[Wanted]) -> None:
        self._node = node
        self._catalog = Catalog(services, (member(plan.source, plan.address) for plan in node.plans.values()))
        self._ready: set[PodKey] = set()
        self._state = State(generation=-1)
        self._indexed, self._index = self._state, dict[ServiceKey, PublishedService]()
        self._name_server = NameServer(node.loop, node.incidents, STATE_FILE)
        self._netlink: socket.socket | None = None
        self._rules = b""
        self._cost_s = 0.0
        self._timer: Timer | None = None

    @property
    def state(self) -> State:
        """What was published last."""
        return self._state

    @property
    def published(self) -> tuple[PublishedService, ...]:
        """The manifest's Services, as published last."""
        return tuple(each for each in self._state.services if (each.namespace, each.name) in self._catalog.services)

    def begin(self) -> None:
        """Publish for the first time; see `acting.Actor`."""
        self.publish()
        if self._catalog.services:
            self._name_server.start()

    def live(self, value: Wanted) -> Mapping[str, str]:
        """See `acting.Actor`."""
        if self._indexed is not self._state:
            self._indexed = self._state
            self._index = {(each.namespace, each.name): each for each in self._state.services}
        found = self._index[value.key]
        ready = sum(endpoint.ready for endpoint in found.endpoints)
        return {"ipv4": found.ipv4, "ipv6": found.ipv6, "ready": f"{ready}/{len(found.endpoints)}"}

    def set_ready(self, key: PodKey, *, ready: bool) -> None:
        """Schedule its publication; see `acting.Actor`."""
        if ready == (key in self._ready):
            return
        if ready:
            self._ready.add(key)
        else:
            self._ready.discard(key)
        if self._timer is None and self._catalog.services:
            self._publish_in(max(_DELAY_S, _COST_FACTOR * self._cost_s))

    def _publish_in(self, delay_s: float) -> None:
        self._timer = self._node.loop.after(delay_s, self._publish_due)

    def _publish_due(self) -> None:
        """Publish which pods are ready; if that is refused, keep what was published, and try again."""
        self._timer = None
        try:
            self.publish()
        except FAILURES as error:
            self._node.incidents.survived("who is ready could not be published to pods, and is tried again", error)
            self._publish_in(_AGAIN_S)

    def publish(self) -> None:
        """Publish now what has changed since the last time, all of it or, on an error, nothing.

        Raises `MachineError` or `PodError` if the kernel refuses the rules, `OSError` if a file can't be written.
        """
        begun_s = time.monotonic()
        self._prepared(self._catalog).commit()
        self._cost_s = time.monotonic() - begun_s

    def prepare(self, objects: Collection[Wanted], plans: Collection[PodPlan]) -> Prepared:
        """See `acting.Actor`; raises what `publish` raises, or `InputError` from `Catalog.put`."""
        catalog = self._catalog.copied()
        for plan in plans:
            catalog.relabel(member(plan.source, plan.address))
        for service in objects:
            if catalog.services.get(service.key) != service:
                catalog.put(service)
        for key in set(catalog.services) - {each.key for each in objects}:
            catalog.remove(key)
        prepared = self._prepared(catalog)

        def commit() -> None:
            prepared.commit()
            if catalog.services:
                self._name_server.start()

        return Prepared(commit, prepared.undo)

    def _prepared(self, catalog: Catalog) -> Prepared:
        """Write the file and load the rules for `catalog`, if they differ from the present ones."""
        state, files, rules = catalog.state(self._ready), [], self._rules
        if state.services == self._state.services and rules != _UNKNOWN:
            state = self._state
        else:
            state = structs.replace(state, generation=next(self._node.generations))
            files = [write_state(state)]
            try:
                self._load_rules(state)
            except FAILURES:
                discard(files)
                raise

        def commit() -> None:
            put(files)
            self._catalog, self._state = catalog, state
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def undo() -> None:
            discard(files)
            if self._rules != rules:
                self._restore()

        return Prepared(commit, undo)

    def _restore(self) -> None:
        """Reload the rules of what is published."""
        try:
            self._load_rules(self._state)
        except FAILURES as error:
            self._node.incidents.note(f"the node's rules for Services are ahead of what pods read: {error}")
            self._rules = _UNKNOWN
            if self._timer is None:
                self._publish_in(_AGAIN_S)

    def _load_rules(self, state: State) -> None:
        """Make the node's rules those of `state`; a node that has never translated anything gets none."""
        if not self._rules and not translated(state):
            return
        from sidelab.lab.cluster import service_rules  # noqa: PLC0415  # the same
        from sidelab.lab.netlink import nftables  # noqa: PLC0415  # a lab without Services needs neither, and would wait for them

        batch = service_rules.batch(state)
        if batch != self._rules:
            link = nftables.open_socket() if self._netlink is None else self._netlink
            self._netlink = None  # an unread answer would be taken for that of the next transaction
            nftables.send(link, batch)
            self._netlink = link
            self._rules = batch
            reached("services-loaded")
