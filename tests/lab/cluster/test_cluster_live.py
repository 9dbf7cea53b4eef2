import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from gates import KINDS, Gates

from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster import live, services
from sidelab.lab.cluster.change import compare
from sidelab.lab.errors import PodError
from sidelab.lab.manifest import decode
from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.manifest.registered import KnownKinds
from sidelab.lab.netlink import nftables
from sidelab.lab.plan.blueprint import Blueprint, draw
from sidelab.lab.plan.registry import Registry, Standin

if TYPE_CHECKING:
    from sidelab.lab.cluster.state import State

TEXT = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: Pod
metadata: {name: more, labels: {app: web}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def blueprint(text: str = TEXT, kinds: KnownKinds = OWN) -> Blueprint:
    """Return what a lab of `text` is."""
    registry = Registry((("*", lambda _pod, _container: Standin("none:none")),))
    return draw(decode([("a.yaml", text)], kinds.types), registry, kinds)


class Node:
    """What the cluster does to the node and to its files, recorded; `fails` has the kernel refuse the next rules.

    With `full` there is no room for files.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: list[State] = []
        self.batches = 0
        self.starts = 0
        self.fails = False
        self.full = False
        monkeypatch.setattr(services, "NameServer", lambda _loop, _incidents, _path: self)
        monkeypatch.setattr(services, "write_state", self._write)
        monkeypatch.setattr(services, "put", self.states.extend)
        monkeypatch.setattr(services, "discard", lambda _files: None)
        monkeypatch.setattr(nftables, "open_socket", lambda: None)
        monkeypatch.setattr(nftables, "send", self._send)

    def start(self) -> None:
        """Stand for the name server's start."""
        self.starts += 1

    def _write(self, state: "State") -> "State":
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return state

    def _send(self, _link: Any, _batch: bytes) -> None:
        if self.fails:
            raise PodError("refused")
        self.batches += 1

    def endpoints(self) -> list[bool]:
        """Return the readiness of the last Service's endpoints, as published last."""
        return [each.ready for each in self.states[-1].services[-1].endpoints]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    """Return a node that records."""
    return Node(monkeypatch)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Return an event loop."""
    found = Loop()
    yield found
    found.close()


def cluster(loop: Loop, drawn: Blueprint, incidents: Incidents | None = None) -> live.Cluster:
    """Return the cluster of a lab that begins."""
    objects = drawn.kinds.stored_in(drawn.manifest)
    found = live.Cluster(loop, incidents or Incidents(), drawn.pods, objects, drawn.kinds)
    found.begin()
    return found


def test_all_that_gets_ready_within_a_moment_is_published_at_once(loop: Loop, node: Node):
    """Many pods get ready together while a lab starts."""
    running = cluster(loop, blueprint())
    assert [False, False] == node.endpoints()
    for pod in ("web", "more"):
        running.set_ready(("default", pod), ready=True)
    assert 1 == len(node.states)
    loop.turn()
    assert (2, [True, True]) == (len(node.states), node.endpoints())


def test_what_changes_nothing_is_not_published(loop: Loop, node: Node):
    """Neither for the pods nor for the kernel."""
    running = cluster(loop, blueprint())
    seen = len(node.states), node.batches
    running.set_ready(("default", "web"), ready=True)
    running.set_ready(("default", "web"), ready=False)
    running.publish()
    assert seen == (len(node.states), node.batches)


def test_without_services_there_are_neither_rules_nor_a_name_server(loop: Loop, node: Node):
    """One file is written, and that is all."""
    running = cluster(loop, blueprint(TEXT.rpartition("---")[0]))
    running.set_ready(("default", "web"), ready=True)
    assert (1, 0, 0, ()) == (len(node.states), node.batches, node.starts, running.caveats)


def test_the_last_services_end_takes_the_rules_away(loop: Loop, node: Node):
    """And the caveat with them; a Service that comes later finds who is ready."""
    drawn = blueprint()
    running = cluster(loop, drawn)
    running.set_ready(("default", "web"), ready=True)
    pods = decode([("a.yaml", TEXT.rpartition("---")[0])])
    running.apply(compare(drawn.manifest, pods, (), "x", prune=True), ())
    assert (2, ()) == (node.batches, running.caveats)
    running.apply(compare(pods, drawn.manifest, (), "x"), ())
    assert [True, False] == node.endpoints()
    assert 1 == len(running.caveats)


def test_a_change_that_the_kernel_refuses_has_not_happened(loop: Loop, node: Node):
    """What is published stays, and so does what the next change is compared with."""
    drawn = blueprint()
    running = cluster(loop, drawn)
    wanted = decode([("a.yaml", TEXT.replace("port: 80", "port: 81"))])
    before = running.objects, len(node.states)
    node.fails = True
    running.set_ready(("default", "web"), ready=True)
    with pytest.raises(PodError, match="refused"):
        running.apply(compare(drawn.manifest, wanted, (), "x"), ())
    assert before == (running.objects, len(node.states))
    node.fails = False
    running.publish()
    assert (80, [True, False]) == (node.states[-1].services[-1].ports[0].port, node.endpoints())


def test_a_change_without_room_for_its_files_has_not_happened(loop: Loop, node: Node):
    """Files are written before the rules are loaded, so that the kernel's rules and the files stay each other's."""
    drawn = blueprint()
    running = cluster(loop, drawn)
    wanted = decode([("a.yaml", TEXT.replace("port: 80", "port: 81"))])
    before = running.objects, len(node.states), node.batches
    node.full = True
    with pytest.raises(OSError, match="No space"):
        running.apply(compare(drawn.manifest, wanted, (), "x"), ())
    assert before == (running.objects, len(node.states), node.batches)


GATE = "---\napiVersion: example.org/v1\nkind: Gate\nmetadata: {name: g}\nwidth: 3\n"


def test_all_who_act_take_part_in_a_change_or_none(loop: Loop, node: Node):
    """What the Services' rules had become is taken back where somebody else refuses the change."""
    drawn = blueprint(TEXT + GATE, KINDS)
    running = cluster(loop, drawn)
    running.set_ready(("default", "web"), ready=True)
    running.publish()
    gates = running._actors["Gate"]
    assert isinstance(gates, Gates)
    before = running.objects, len(node.states), node.batches
    text = (TEXT + GATE).replace("port: 80", "port: 81")
    refused = decode([("a.yaml", text.replace("width: 3", "width: 13"))], KINDS.types)
    with pytest.raises(PodError, match="13 wide"):
        running.apply(compare(drawn.manifest, refused, (), "x", kinds=KINDS), ())
    assert (*before[:2], before[2] + 2) == (running.objects, len(node.states), node.batches)
    node.fails = True
    with pytest.raises(PodError, match="refused"):
        running.apply(compare(drawn.manifest, decode([("a.yaml", text)], KINDS.types), (), "x", kinds=KINDS), ())
    node.fails = False
    assert ["begin"] == gates.calls
    running.apply(compare(drawn.manifest, decode([("a.yaml", text)], KINDS.types), (), "x", kinds=KINDS), ())
    assert (81, ["begin", "commit"]) == (node.states[-1].services[-1].ports[0].port, gates.calls)


def test_rules_that_can_not_be_taken_back_are_loaded_again_later(
    loop: Loop, node: Node, monkeypatch: pytest.MonkeyPatch
):
    """The kernel refuses the former ones, too: an incident, and then they are what pods read again."""
    monkeypatch.setattr(services, "_AGAIN_S", 0.0)
    incidents = Incidents()
    drawn = blueprint(TEXT + GATE, KINDS)
    running = cluster(loop, drawn, incidents)
    running.set_ready(("default", "web"), ready=True)
    running.publish()
    incidents.strict = False

    def refuse(*_: Any) -> None:
        node.fails = True
        raise PodError("not now")

    monkeypatch.setattr(Gates, "prepare", refuse)
    wanted = decode([("a.yaml", (TEXT + GATE).replace("port: 80", "port: 81"))], KINDS.types)
    with pytest.raises(PodError, match="not now"):
        running.apply(compare(drawn.manifest, wanted, (), "x", kinds=KINDS), ())
    assert (3, 2, 1) == (node.batches, len(node.states), len(incidents.texts))
    node.fails = False
    loop.turn()
    assert (4, 80) == (node.batches, node.states[-1].services[-1].ports[0].port)


@pytest.mark.parametrize("refusal", ["full", "fails"])
def test_what_can_not_be_published_now_is_published_later(
    loop: Loop, node: Node, refusal: str, monkeypatch: pytest.MonkeyPatch
):
    """A full file system or a kernel that refuses the rules is an incident, not the end of the lab."""
    monkeypatch.setattr(services, "_AGAIN_S", 0.0)
    incidents = Incidents()
    running = cluster(loop, blueprint(), incidents)
    incidents.strict = False
    setattr(node, refusal, True)
    running.set_ready(("default", "web"), ready=True)
    loop.turn()
    assert [False, False] == node.endpoints()
    setattr(node, refusal, False)
    loop.turn()
    assert ([True, False], 1) == (node.endpoints(), len(incidents.texts))
