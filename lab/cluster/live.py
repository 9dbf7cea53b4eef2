"""The cluster side of a running lab: from objects and pods' readiness follow the files that pods read, and actors.

Runs in the supervisor, in the node's network namespace. It knows about kinds only what `lab.manifest.registered` says.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING

from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import FAILURES, Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.acting import Actor, Node, Prepared, actor
from sidelab.lab.cluster.catalog import translated
from sidelab.lab.cluster.publish import (
    Written,
    discard,
    link_objects,
    put,
    write_objects,
    write_podinfo,
)
from sidelab.lab.cluster.services import Services
from sidelab.lab.cluster.state import PublishedService
from sidelab.lab.cluster.store import Store
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import Object
from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.manifest.registered import KnownKinds
from sidelab.lab.plan.blueprint import PodPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sidelab.lab.cluster.change import Change


CONNTRACK_CAVEAT = "connection tracking is on in the node: it translates Services' addresses"


class Cluster:
    """Publishes the lab's objects; pods count as not ready until `set_ready`."""

    def __init__(
        self,
        loop: Loop,
        incidents: Incidents,
        plans: Iterable[PodPlan],
        objects: Iterable[Object],
        kinds: KnownKinds = OWN,
    ) -> None:
        self._plans = {plan.key: plan for plan in plans}
        self._store = Store(kinds, objects, (plan.source for plan in self._plans.values()))
        self._generations = count()
        self._generation = 0  # of what is in the store, as far as pods read it
        self._read_generations: dict[PodKey, int] = {}
        self._shared: dict[tuple[bytes, ...], Written] = {}  # files of what the store has, by what is in them
        self._with_files: set[PodKey] = set()
        node = Node(loop, incidents, self._plans, self._generations)
        self._actors: dict[str, Actor] = {
            each.kind: actor(each.acts, node, self._store.of(each.kind)) for each in kinds.stored.values() if each.acts
        }

    @property
    def services(self) -> tuple[PublishedService, ...]:
        """The manifest's Services, as published last."""
        return self._services.published

    @property
    def objects(self) -> tuple[Object, ...]:
        """The objects of kinds that come and go, as they were asked for."""
        return self._store.objects

    @property
    def caveats(self) -> tuple[str, ...]:
        """What follows for measurements from what is loaded now."""
        return (CONNTRACK_CAVEAT,) if translated(self._services.state) else ()

    @property
    def _services(self) -> Services:
        found = self._actors["Service"]
        assert isinstance(found, Services)  # noqa: S101  # `own_kinds` names it
        return found

    def generation(self, pod: PodKey) -> int:
        """Return the generation of the newest state that a pod can read."""
        return max(self._services.state.generation, self._read_generations.get(pod, 0))

    def live(self, value: Object) -> "Mapping[str, str]":
        """Return what to show of an object besides its own fields."""
        acting = self._actors.get(value.kind)
        return {} if acting is None else acting.live(value)

    def begin(self) -> None:
        """Publish for the first time, before any pod starts."""
        for each in self._actors.values():
            each.begin()
        reached("cluster-published")

    def set_ready(self, key: PodKey, *, ready: bool) -> None:
        """Take note that a pod has become ready, or is no longer ready; it is published soon."""
        for each in self._actors.values():
            each.set_ready(key, ready=ready)

    def publish(self) -> None:
        """Publish now which pods are ready; raises what `Services.publish` raises."""
        self._services.publish()

    def podinfo(self, plan: PodPlan) -> "Path":
        """Return the directory with the files about a pod that wants to see them, up to date from now on."""
        files = [write_podinfo(self._plans[plan.key])]
        if objects := self._store.read_by(plan.key):
            files.append(self._objects_file(plan.key, objects, self._shared, self._generation))
            self._read_generations[plan.key] = self._generation
        put(files)
        self._with_files.add(plan.key)
        return files[0].path.parent

    def apply(self, change: "Change", plans: Sequence[PodPlan]) -> None:
        """Carry out a change; `plans` are its pods as they will be.

        Raises `OSError` if a file can't be written, `InputError` for more than there is room for, and what the actors
        raise; then nothing has changed.
        """
        store = self._store.changed(change.put, change.removed, change.pods)
        generation, shared = next(self._generations), dict[tuple[bytes, ...], Written]()
        files: list[Written] = []
        prepared: list[Prepared] = []
        readers = [key for key in self._with_files if store.read_by(key) != self._store.read_by(key)]
        try:
            # One by one: what was done before one fails is undone.
            files.extend(write_podinfo(plan) for plan in plans if plan.key in self._with_files)
            files.extend(self._objects_file(key, store.read_by(key), shared, generation) for key in readers)
            prepared.extend(acting.prepare(store.of(kind), plans) for kind, acting in self._actors.items())
        except FAILURES:
            for each in reversed(prepared):
                each.undo()
            discard(files)
            raise
        put(files)
        for each in prepared:
            each.commit()
        self._store, self._generation, self._shared = store, generation, shared
        self._read_generations |= dict.fromkeys(readers, generation)
        for plan in plans:
            self._plans[plan.key] = plan

    def _objects_file(
        self, pod: PodKey, objects: tuple[bytes, ...], shared: dict[tuple[bytes, ...], Written], generation: int
    ) -> Written:
        """Write what a pod reads, or link it to the file of a pod that reads the same, as most pods often do."""
        if (same := shared.get(objects)) is not None:
            return link_objects(pod, same.new if same.new.exists() else same.path)
        written = shared[objects] = write_objects(pod, generation, objects)
        return written
