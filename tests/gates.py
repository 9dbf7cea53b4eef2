"""A kind that only tests know, registered as callers of `lab` register kinds, and the actor on it."""

from collections.abc import Collection, Iterable, Mapping
from typing import ClassVar

from sidelab.lab.cluster.acting import Node, Prepared
from sidelab.lab.errors import PodError
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import FieldError, Manifest, Object, Pod, Rows
from sidelab.lab.manifest.fields import OBJECT, Inert
from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.manifest.registered import KindColumn, RegisteredKind
from sidelab.lab.plan.blueprint import PodPlan


class Gate(Object, frozen=True, kw_only=True):
    """Selects the pods that have all labels of `selector`; `service` is a Service that must exist."""

    rows: ClassVar[Rows] = {**OBJECT, "color": Inert("it is not painted")}
    api_version: str = "example.org/v1"
    kind: str = "Gate"
    width: int
    service: str = ""
    material: str = ""
    selector: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        """Refuse a gate that is too narrow."""
        if self.width < 1:
            raise FieldError("width", f"{self.width} is too narrow; write 1 or more")


def check(gate: Gate, manifest: Manifest) -> Iterable[str]:
    """Complain about a Service that does not exist, and about air as the material."""
    if gate.service and (gate.namespace, gate.service) not in {each.key for each in manifest.services}:
        yield f"service: there is no Service {gate.service}"
    if gate.material == "air":
        yield "material: air holds nothing"


def doubt(gate: Gate, manifest: Manifest) -> Iterable[str]:
    """Complain if no pod is selected."""
    if not any(concerns(gate, pod) for pod in manifest.pods):
        yield "selector: it selects no pod"


def fixed(before: Gate, after: Gate) -> Iterable[str]:
    """Refuse a change of the material."""
    if before.material != after.material:
        yield "material: it can't be changed"


def concerns(gate: Gate, pod: Pod) -> bool:
    """By namespace and labels."""
    return gate.namespace == pod.namespace and gate.selector.items() <= pod.metadata.labels.items()


class Gates:
    """Acts on gates: it refuses those that are 13 wide, and counts the gates."""

    def __init__(self, _node: Node, gates: Collection[Gate]) -> None:
        self.gates = tuple(gates)
        self.calls: list[str] = []

    def begin(self) -> None:
        """See `Actor`."""
        self.calls.append("begin")

    def prepare(self, objects: Collection[Gate], plans: Collection[PodPlan]) -> Prepared:  # noqa: ARG002  # gates see no labels
        """See `Actor`."""
        if any(each.width == 13 for each in objects):
            raise PodError("a gate that is 13 wide can't be built here")
        gates = tuple(objects)

        def commit() -> None:
            self.calls.append("commit")
            self.gates = gates

        return Prepared(commit, lambda: self.calls.append("undo"))

    def set_ready(self, key: PodKey, *, ready: bool) -> None:
        """See `Actor`."""

    def live(self, value: Gate) -> Mapping[str, str]:
        """See `Actor`."""
        return {"number": f"{self.gates.index(value) + 1}/{len(self.gates)}"}


GATE = RegisteredKind(
    kind="Gate",
    versions=("example.org/v1", "example.org/v1beta1"),
    object_type=Gate,
    plural="gates",
    short=("gt",),
    check=check,
    doubt=doubt,
    fixed=fixed,
    concerns=concerns,
    acts="gates:Gates",
    columns=(
        KindColumn("WIDTH", lambda gate, _: str(gate.width)),
        KindColumn("NUMBER", lambda _, live: live["number"], wide=True),
    ),
)

KINDS = OWN.plus((GATE,))
