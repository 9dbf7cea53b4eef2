"""Adds a sidecar to one pod or a Deployment's template: the order of added containers and the pod's own. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from msgspec import structs

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Container, Deployment, FieldError, Metadata, Pod, PodSpec, TemplateMetadata
from sidelab.sidecar.config.choices import Choices, read
from sidelab.sidecar.inject import containers, metadata, rewrite_probes
from sidelab.sidecar.inject.containers import OwnerReference

Meta = TypeVar("Meta", Metadata, TemplateMetadata)


def inject_pod(pod: Pod) -> Pod:
    """Return `pod` with istio-init and, unless its proxy is `none`, istio-proxy.

    Raises `InputError` naming the annotation that is wrong.
    """
    owner = OwnerReference(pod.api_version, pod.kind, pod.namespace, pod.name)
    meta, spec = _injected(f"pod {pod.name}", owner, pod.metadata, pod.spec)
    return structs.replace(pod, metadata=meta, spec=spec)


def inject_deployment(deployment: Deployment) -> Deployment:
    """Return `deployment` with a sidecar in its template; raises `InputError` like `inject_pod`."""
    owner = OwnerReference(deployment.api_version, deployment.kind, deployment.namespace, deployment.name)
    template = deployment.spec.template
    meta, spec = _injected(f"deployment {deployment.name}", owner, template.metadata, template.spec)
    template = structs.replace(template, metadata=meta, spec=spec)
    return structs.replace(deployment, spec=structs.replace(deployment.spec, template=template))


def _injected(where: str, owner: OwnerReference, meta: Meta, app: PodSpec) -> tuple[Meta, PodSpec]:
    choices = read(where, meta.annotations)
    try:
        spec = _spec(owner, meta, app, choices)
        return metadata.marked(meta, owner, choices, app, spec), spec
    except FieldError as error:
        raise InputError(f"{where}: with a sidecar it would not be valid: {error}") from None


def _spec(owner: OwnerReference, meta: Metadata | TemplateMetadata, app: PodSpec, choices: Choices) -> PodSpec:
    """Return the pod with the added containers in Istio's order.

    The pod's own init containers run before the rules, which would lead them to a proxy that is not running yet; a
    native sidecar is running by then, so they run after both. The proxy comes last, so that tools that pick the first
    container pick the application's, unless the application has to wait for the proxy.
    """
    said = meta.annotations
    init = (containers.istio_init(said, choices),) if choices.mode != "NONE" else ()
    if not choices.proxied:
        return structs.replace(app, init_containers=(*app.init_containers, *init))
    first, main, variables = _rewritten(app, said, choices)
    proxy = containers.istio_proxy(owner, said, choices, app, variables)
    if choices.native:
        return structs.replace(app, init_containers=(*init, proxy, *first), containers=main)
    together = (proxy, *main) if choices.hold else (*main, proxy)
    return structs.replace(app, init_containers=(*first, *init), containers=together)


def _rewritten(
    app: PodSpec, said: Mapping[str, str], choices: Choices
) -> tuple[tuple[Container, ...], tuple[Container, ...], dict[str, str]]:
    """Return init containers and containers with their probes redirected to the agent, and the agent's variables."""
    variables = metadata.scraped(said, choices)
    if not choices.rewrite or not choices.agent_port:
        return app.init_containers, app.containers, variables
    captured = rewrite_probes.captured_by(said)
    probers: dict[str, rewrite_probes.Prober] = {}

    def rewrite(container: Container) -> Container:
        changed, found = rewrite_probes.rewrite(container, choices.agent_port, captured)
        probers.update(found)
        return changed

    first, main = tuple(map(rewrite, app.init_containers)), tuple(map(rewrite, app.containers))
    return first, main, {**variables, rewrite_probes.VARIABLE: rewrite_probes.encode(probers)} if probers else variables
