import pytest

from sidelab.lab.cluster.change import compare
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest, decode

LIVE = ("example.org/live",)

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, annotations: {example.org/live: a, example.org/fixed: b}}
spec:
  containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: other}
spec:
  containers: [{name: nginx, image: nginx}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def manifest(*texts: str) -> Manifest:
    """Return what the YAML texts say."""
    return decode([("a.yaml", text) for text in texts])


RUNNING = manifest(PODS, SERVICE)


def outcomes(*texts: str, prune: bool = False) -> list[str]:
    """Return what would become of each object."""
    return [" ".join(each) for each in compare(RUNNING, manifest(*texts), LIVE, "x", prune=prune).outcomes]


def refusal(text: str, *, prune: bool = False) -> str:
    """Return the message for a change that is refused."""
    with pytest.raises(InputError) as caught:
        compare(RUNNING, manifest(text), LIVE, "x", prune=prune)
    return str(caught.value)


def test_what_is_the_same_is_unchanged():
    """Applying what runs changes nothing, and says so for each object."""
    change = compare(RUNNING, RUNNING, LIVE, "x")
    assert ((), (), ()) == (change.put, change.removed, change.pods)
    assert ["service/web unchanged", "pod/web unchanged", "pod/other unchanged"] == [
        " ".join(each) for each in change.outcomes
    ]


def test_services_are_created_and_configured():
    """New ones and those that say something else; what is not mentioned stays."""
    assert ["service/new created"] == outcomes(SERVICE.replace("name: web", "name: new"))
    assert ["service/web configured"] == outcomes(SERVICE.replace("port: 80", "port: 81"))


def test_pruning_removes_services_that_are_not_mentioned():
    """Only when it is asked for."""
    change = compare(RUNNING, manifest(PODS), LIVE, "x", prune=True)
    assert (("Service", "default", "web"),) == change.removed
    assert ("service/web", "pruned") == change.outcomes[-1]
    assert () == compare(RUNNING, manifest(PODS), LIVE, "x").removed


@pytest.mark.parametrize(
    ("old", "new"),
    [("labels: {app: web}", "labels: {app: other, more: z}"), ("live: a", "live: c"), ("example.org/live: a, ", "")],
)
def test_labels_and_live_annotations_may_change(old: str, new: str):
    """Changed, added or removed."""
    assert ["pod/web configured", "pod/other unchanged"] == outcomes(PODS.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("fixed: b", "fixed: c", "metadata.annotations[example.org/fixed]"),
        ("annotations: {", "annotations: {example.org/more: x, ", "metadata.annotations[example.org/more]"),
        ("containerPort: 80", "containerPort: 81", "spec.containers[0].ports[0].containerPort"),
        ("spec:\n", "spec:\n  hostname: h\n", "spec.hostname"),
        ("image: nginx, ports", "image: nginx, command: [x], ports", "spec.containers[0].command"),
        ("[{name: nginx, image: nginx}]", "[{name: a, image: a}, {name: b, image: b}]", "spec.containers"),
    ],
)
def test_other_changes_of_a_pod_are_refused_by_their_field(old: str, new: str, path: str):
    """The message has the pod, the field and the cure."""
    name = "other" if path == "spec.containers" else "web"
    assert (
        f"Pod default/{name}: {path}: a running pod can't be changed there: `sidelab down x`, then `sidelab up` again"
        == (refusal(PODS.replace(old, new, 1)))
    )


def test_a_new_pod_is_refused():
    """A lab's pods are those that it started with."""
    assert refusal(PODS.replace("name: other", "name: third")).startswith("Pod default/third is not in the lab")


def test_pruning_a_pod_is_refused():
    """The message names the one that would have to go."""
    assert refusal(SERVICE, prune=True).startswith("Pod default/web is not in the manifest")


def test_a_service_does_not_become_headless():
    """As on a cluster, where clusterIP is immutable; the message has two ways out."""
    message = refusal(SERVICE.replace("spec: {", "spec: {clusterIP: None, "))
    assert message.startswith("Service default/web: spec.clusterIP: it can't be changed")


def test_an_unknown_namespace_is_accepted_and_a_changed_one_refused():
    """A whole manifest can be applied again; what it says of its namespaces must be the same."""
    space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"
    running = manifest(space)
    assert (("namespace/shop", "unchanged"),) == compare(RUNNING, manifest(space), LIVE, "x").outcomes
    with pytest.raises(InputError, match="Namespace default/shop: a running lab takes no other Namespace"):
        compare(running, manifest(space.replace("shop}", "shop, labels: {a: b}}")), LIVE, "x")
