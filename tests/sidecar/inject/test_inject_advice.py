"""Warnings: what a manifest says to its sidecars in vain, or against them."""

import pytest
from injecting import PLAIN, deployment, pod
from msgspec.structs import replace

from sidelab.lab.manifest import Manifest
from sidelab.sidecar.inject import inject, warnings


def said(annotations: str = "", *containers: str, spec: str = "") -> list[str]:
    """Return the warnings about one pod, which are the same before and after injection."""
    manifest = Manifest(pods=(pod(annotations, *containers, spec=spec),))
    found = warnings(manifest)
    assert found == warnings(inject(manifest))
    return found


def test_nothing_is_said_about_an_ordinary_pod() -> None:
    """What injection adds itself is no reason for a warning."""
    assert [] == said()
    assert [] == said("proxy.istio.io/config: 'concurrency: 2', sidelab.io/protocol: tcp")


@pytest.mark.parametrize(
    ("expected", "annotation"),
    [
        (
            "annotation traffic.sidecar.istio.io/excludeInboundPort is unknown",
            "traffic.sidecar.istio.io/excludeInboundPort: '1'",
        ),
        (
            "did you mean traffic.sidecar.istio.io/excludeInboundPorts?",
            "traffic.sidecar.istio.io/excludeInboundPort: '1'",
        ),
        ("annotation sidelab.io/protocl is unknown", "sidelab.io/protocl: http"),
        ("annotation sidecar.istio.io/userVolume has no effect here", "sidecar.istio.io/userVolume: '[]'"),
        ("annotation proxy.istio.io/config: tracing has no effect here", "proxy.istio.io/config: 'tracing: {}'"),
        ("Istio has no field 'concurency', and refuses the pod", "proxy.istio.io/config: 'concurency: 2'"),
        ("concurrency: 0, a worker for each core, is one worker here", "proxy.istio.io/config: 'concurrency: 0'"),
        (
            "holdApplicationUntilProxyStarts has no effect with a native sidecar",
            "proxy.istio.io/config: 'holdApplicationUntilProxyStarts: true', sidecar.istio.io/nativeSidecar: 'true'",
        ),
    ],
)
def test_what_is_said_in_vain(expected: str, annotation: str) -> None:
    """A name that nobody reads, or that nothing here can obey, is told once."""
    (found,) = said(annotation)

    assert found.startswith("pod web: ")
    assert expected in found


@pytest.mark.parametrize(
    ("expected", "container", "spec"),
    [
        ("container a runs as user 1337", "{name: a, image: nginx, securityContext: {runAsUser: 1337}}", ""),
        ("container a runs as user 1337", "{name: a, image: nginx}", "securityContext: {runAsUser: 1337}"),
        ("container a runs as group 1337", "{name: a, image: nginx, securityContext: {runAsGroup: 1337}}", ""),
        (
            "container a: port 15001 is the sidecar's (outbound",
            "{name: a, image: nginx, ports: [{containerPort: 15001}]}",
            "",
        ),
    ],
)
def test_what_collides_with_the_sidecar(expected: str, container: str, spec: str) -> None:
    """An application with the proxy's identity bypasses it, and one on the sidecar's ports does not start."""
    (found,) = said("", container, spec=spec)

    assert expected in found


def test_a_containers_own_user_wins_over_the_pods() -> None:
    """Only who really runs as the proxy's user is warned of."""
    assert [] == said(
        "", "{name: a, image: nginx, securityContext: {runAsUser: 1}}", spec="securityContext: {runAsUser: 1337}"
    )


@pytest.mark.parametrize("name", ["istio-proxy", "istio-init"])
def test_a_name_that_is_taken(name: str) -> None:
    """A pod with a container of that name is left as it is, and the warning says why."""
    manifest = Manifest(pods=(pod("", PLAIN, f"{{name: {name}, image: nginx}}"),))

    assert manifest == inject(manifest)
    (found,) = warnings(manifest)
    assert "of its own, so it is not injected" in found


def test_a_warning_is_given_once_for_all_pods() -> None:
    """The first pod is named, and how many more there are."""
    first = pod("sidelab.io/x: z")
    others = (replace(first, metadata=replace(first.metadata, name=name)) for name in ("b", "c"))
    meant = "pod web and 2 more: annotation sidelab.io/x is unknown, and so has no effect"

    assert [meant] == warnings(Manifest(pods=(first, *others)))


def test_what_belongs_into_the_template() -> None:
    """On the Deployment itself annotations and the label reach no pod."""
    made = deployment("proxy.istio.io/config: '{}', example.org/a: b")
    labels = {"app": "shop", "sidecar.istio.io/inject": "true"}
    made = replace(made, metadata=replace(made.metadata, labels=labels))
    found = warnings(Manifest(deployments=(made,)))

    rest = "has no effect on a Deployment: put it into spec.template.metadata"
    assert [
        f"deployment shop: annotation proxy.istio.io/config {rest}",
        f"deployment shop: label sidecar.istio.io/inject {rest}",
    ] == found


def test_nobody_is_warned_who_wants_no_sidecar() -> None:
    """Of a pod without a sidecar nothing is said."""
    found = pod("sidelab.io/x: z")
    plain = replace(found, metadata=replace(found.metadata, labels={}))

    assert [] == warnings(Manifest(pods=(plain,)))
