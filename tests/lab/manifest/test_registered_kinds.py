"""The seam for kinds that `lab` does not know: what a registered one goes through, without a lab."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from gates import GATE, KINDS, Gate
from hypothesis import given
from hypothesis import strategies as st

from sidelab.lab.cluster import store as stores
from sidelab.lab.cluster.change import Change, changed, compare, without
from sidelab.lab.cluster.store import Store
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest, Metadata, Pod, decode, encode
from sidelab.lab.manifest.object_table import AskedObjects, tables
from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.plan.blueprint import draw
from sidelab.lab.standins.standin_images import IMAGES

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: nginx, image: nginx}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec: {containers: [{name: nginx, image: nginx}]}
"""
GATES = """
apiVersion: example.org/v1
kind: Gate
metadata: {name: g}
width: 3
selector: {app: web}
---
apiVersion: example.org/v1beta1
kind: Gate
metadata: {name: all}
width: 1
color: red
"""


def manifest(*texts: str) -> Manifest:
    """Return what the YAML texts say."""
    return decode([("a.yaml", text) for text in texts], KINDS.types)


RUNNING = manifest(PODS, GATES)


def compared(*texts: str, running: Manifest = RUNNING, prune: bool = False) -> Change:
    """Return what applying the texts would change."""
    return compare(running, manifest(*texts), (), "x", kinds=KINDS, prune=prune)


def store(running: Manifest = RUNNING) -> Store:
    """Return what a lab keeps."""
    return Store(KINDS, KINDS.stored_in(running), running.pods)


def read(kept: Store, pod: str) -> list[str]:
    """Return the names of what a pod reads."""
    return [msgspec.json.decode(each)["metadata"]["name"] for each in kept.read_by(("default", pod))]


def test_a_pod_reads_what_concerns_it_and_nothing_else():
    """As in a manifest, inert fields and the version that was written with it."""
    assert (["g", "all"], ["all"], []) == tuple(read(store(), pod) for pod in ("web", "other", "nobody"))
    assert {
        "apiVersion": "example.org/v1beta1",
        "kind": "Gate",
        "metadata": {"name": "all"},
        "width": 1,
        "color": "red",
    } == msgspec.json.decode(store().read_by(("default", "other"))[0])


def test_readers_follow_labels_and_changes():
    """A pod that gets a label reads what selects it, and what is removed nobody reads any more."""
    labelled = manifest(PODS.replace("{name: other}", "{name: other, labels: {app: web}}")).pods
    later = store().changed((), (), labelled)
    assert ["g", "all"] == read(later, "other")
    assert ["all"] == read(store(), "other")
    assert ["all"] == read(later.changed((), [("Gate", "default", "g")], ()), "web")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(["", "web", "x"]))))
def test_a_store_that_is_changed_step_by_step_is_the_one_that_is_made_at_once(steps: list[tuple[str, bool, str]]):
    """Whatever comes and goes, and whoever is selected."""
    kept, objects = store(manifest(PODS)), dict[str, Gate]()
    for name, put, app in steps:
        gate = Gate(metadata=Metadata(name=name), width=len(name), selector={"app": app} if app else {})
        objects.pop(name, None)
        kept = kept.changed((), [gate.identity], ())
        if put:
            objects[name] = gate
            kept = kept.changed([gate], (), ())
    whole = Store(KINDS, objects.values(), RUNNING.pods)
    assert whole.objects == kept.objects
    assert [read(whole, pod) for pod in ("web", "other")] == [read(kept, pod) for pod in ("web", "other")]


def test_what_pods_read_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """One object, and all together; what nobody reads does not count."""
    monkeypatch.setattr(stores, "MAX_OBJECT_BYTES", 90)
    with pytest.raises(InputError, match=r"Gate default/g: it has \d+ bytes, and 90 is the most"):
        store()
    monkeypatch.setattr(stores, "MAX_OBJECT_BYTES", 1000)
    monkeypatch.setattr(stores, "MAX_READ_BYTES", 100)
    with pytest.raises(InputError, match="100 is the most"):
        store()
    assert 2 == len(store(manifest(GATES)).objects)


def test_changes_come_and_go_as_those_of_services():
    """Created, configured, unchanged, pruned, deleted; named as kubectl names what is in a group."""
    text = (
        GATES.replace("width: 3", "width: 4")
        + "---\napiVersion: example.org/v1\nkind: Gate\nmetadata: {name: new}\nwidth: 1\n"
    )
    found = compared(text)
    assert [4, 1] == [each.width for each in found.put if isinstance(each, Gate)]
    assert (
        ("gate.example.org/g", "configured"),
        ("gate.example.org/all", "unchanged"),
        ("gate.example.org/new", "created"),
    ) == found.outcomes
    assert (("Gate", "default", "g"), ("Gate", "default", "all")) == compared(PODS, prune=True).removed
    gone = without(RUNNING, [("gt", "default", "g"), ("Gates.example.org", "default", "all")], "x", kinds=KINDS)
    assert (("gate.example.org/g", "deleted"), ("gate.example.org/all", "deleted")) == gone.outcomes
    assert manifest(PODS) == changed(RUNNING, gone)


def test_everything_that_is_wrong_is_said_at_once():
    """Refusals of the kind and of the lab, then what does not fit the rest of what will be there."""
    with pytest.raises(InputError) as caught:
        compared(GATES.replace("width: 3", "width: 3\nmaterial: wood"), PODS.replace("name: other", "name: third"))
    assert str(caught.value) == (
        "Gate default/g: material: it can't be changed\n"
        "Pod default/third is not in the lab, and a running lab gets no new pods: "
        "`sidelab down x`, then `sidelab up` again"
    )
    with pytest.raises(InputError) as caught:
        compared(
            "apiVersion: example.org/v1\nkind: Gate\nmetadata: {name: new}\nwidth: 1\nmaterial: air\nservice: web\n"
        )
    wrong = ["Gate default/new: service: there is no Service web", "Gate default/new: material: air holds nothing"]
    assert wrong == str(caught.value).splitlines()


def test_what_is_new_and_doubtful_is_warned_of():
    """Beside the pods that run, not those of the file; what stays as it is was warned of before."""
    doubtful = GATES.replace("{app: web}", "{app: nothing}")
    assert () == compared(GATES).doubts
    assert ("Gate default/g: selector: it selects no pod",) == compared(doubtful).doubts
    assert () == compared(doubtful, running=manifest(PODS, doubtful)).doubts


def test_a_lab_is_not_started_with_objects_that_do_not_fit():
    """All that is wrong is known before anything is built."""
    bad = manifest(PODS, GATES.replace("width: 3", "width: 3\nservice: web").replace("color: red", "material: air"))
    with pytest.raises(InputError, match=r"(?s)there is no Service web.*air holds nothing"):
        draw(bad, IMAGES, KINDS)


def test_what_is_not_there_and_what_stays_is_refused_at_once():
    """With kubectl's message for the first; ignoring what is not there leaves the others to be refused."""
    named = [("svc", "default", "a"), ("gate", "shop", "g"), ("pod", "default", "web"), ("gate", "default", "g")]
    with pytest.raises(InputError) as caught:
        without(RUNNING, named, "x", kinds=KINDS)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith('Error from server (NotFound): services "a" not found: ')
    assert second.startswith('Error from server (NotFound): gates.example.org "g" not found: ')
    assert third == "Pod default/web: a running lab loses no pods: `sidelab down x` ends all of it"
    with pytest.raises(InputError, match=r"^Pod default/web"):
        without(RUNNING, named, "x", kinds=KINDS, ignore_not_found=True)


def shown(*wanted: tuple[str, str | None], **asked: Any) -> list[dict[str, Any]]:
    """Return tables of what runs."""
    return tables(AskedObjects(wanted=wanted, **asked), KINDS, RUNNING.objects, lambda each: {"number": each.name})


def test_tables_have_the_columns_of_their_kind():
    """Those of the wide ones only when asked; objects of one namespace or of all."""
    (table,) = shown(("GT", None))
    assert (["WIDTH"], [["3"], ["1"]]) == (table["headings"], [row["cells"] for row in table["rows"]])
    assert [["3", "g"]] == [row["cells"] for row in shown(("gates", "g"), wide=True)[0]["rows"]]
    assert ["gates", "pods"] == [table["plural"] for table in shown()]
    assert [] == shown(("gates", None), namespace="shop")


def test_a_shown_object_is_what_decode_reads():
    """What `get -o yaml` prints is the manifest again."""
    values = [row["value"] for table in shown(values=True) for row in table["rows"]]
    text = msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": values}).decode()
    assert RUNNING == manifest(text)
    assert RUNNING == manifest(encode(RUNNING))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([("gate", "x"), ("pod", "y")], '(?s)gates.example.org "x" not found.*pods "y" not found'),
        ([("a", None), ("b", None)], "(?s)a resource type 'a': it has services/svc, gates/gt, pods/po.*'b'"),
    ],
)
def test_all_words_that_mean_nothing_are_named(wanted: Sequence[tuple[str, str | None]], message: str):
    """Names and kinds."""
    with pytest.raises(InputError, match=message):
        shown(*wanted)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({}, "is not a kind that this lab was started with"),
        ({"apiVersion": "example.org/v2", "kind": "Gate"}, r"Gate \(example.org/v2\) is not a kind"),
        (
            {"apiVersion": "example.org/v1", "kind": "Gate", "metadata": {"name": "g"}, "width": 0},
            "width: 0 is too narrow",
        ),
        (
            {"apiVersion": "example.org/v1", "kind": "Gate", "metadata": {"name": "g"}, "width": 1, "x": 1},
            "unknown field",
        ),
        ({"apiVersion": "example.org/v1", "kind": "Gate", "metadata": {"name": "/"}, "width": 1}, "name"),
    ],
)
def test_what_comes_over_a_socket_is_checked_again(plain: dict[str, Any], message: str):
    """As if it were a manifest's."""
    with pytest.raises(InputError, match=message):
        KINDS.decoded(plain)


def test_what_was_encoded_for_the_socket_is_decoded():
    """Pods and objects of registered kinds, with all that they have."""
    for each in RUNNING.objects:
        assert each == KINDS.decoded(msgspec.to_builtins(each))


def test_two_kinds_of_one_name_are_a_mistake_of_the_caller():
    """Short names count as well."""
    with pytest.raises(ValueError, match="both called 'svc'"):
        OWN.plus([msgspec.structs.replace(GATE, short=("svc",))])


def test_a_lab_without_the_kind_does_not_take_it():
    """It is unknown to `decode`, and no object of it comes in by another way."""
    with pytest.raises(InputError, match="Gate"):
        decode([("a.yaml", GATES)])
    assert all(isinstance(each, Pod) for each in decode([("a.yaml", PODS)]).objects)
    with pytest.raises(InputError, match="is not a kind that this lab was started with"):
        OWN.decoded(msgspec.to_builtins(RUNNING.others[0]))
