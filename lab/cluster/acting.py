"""The interface between `live` and code in the supervisor that acts on a kind's objects, such as Services' rules.

`RegisteredKind.acts` names a function that is called with a `Node` and the kind's objects, in the node's network
namespace, before any pod starts. What it returns takes part in every change of the lab; a change is done completely or
not at all.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import Object
from sidelab.lab.plan.blueprint import PodPlan


class Node(NamedTuple):
    """What there is to act with; `generations` numbers what is published, for all who publish anything."""

    loop: Loop
    incidents: Incidents
    plans: Mapping[PodKey, PodPlan]
    generations: Iterator[int]


class Prepared(NamedTuple):
    """A change that can no longer fail: exactly one of the two is called, and neither raises."""

    commit: Callable[[], None]
    undo: Callable[[], None]


class Actor(Protocol):
    """Acts on all objects of one kind."""

    def begin(self) -> None:
        """Act on the objects that the lab starts with; raises `OSError` or `SidelabError`, which ends it."""

    def prepare(self, objects: Collection[Any], plans: Collection[PodPlan]) -> Prepared:
        """Do every step of a change that may fail: `objects` are all after it, `plans` the pods with changed labels.

        Raises `OSError` or `SidelabError`, and then has changed nothing.
        """

    def set_ready(self, key: PodKey, *, ready: bool) -> None:
        """Take note that a pod has become ready, or is no longer ready."""

    def live(self, value: Any) -> Mapping[str, str]:
        """Return what the columns of the kind's table show of an object besides its own fields."""


def actor(entry: str, node: Node, objects: Collection[Object]) -> Actor:
    """Return who acts, by the entry `module:function`."""
    module, _, function = entry.partition(":")
    return cast("Actor", getattr(import_module(module), function)(node, objects))
