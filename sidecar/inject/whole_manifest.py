"""Adds sidecars to a whole manifest: to each pod that wants one. Pure: Manifest → Manifest."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from msgspec import structs

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Deployment, Manifest, Metadata, Pod, PodSpec, TemplateMetadata
from sidelab.sidecar.config import injected_names
from sidelab.sidecar.config.annotations import INJECT, RULES, STATUS
from sidelab.sidecar.config.choices import read
from sidelab.sidecar.inject.containers import is_istio_init
from sidelab.sidecar.inject.inject_pod import inject_deployment, inject_pod
from sidelab.sidecar.interception.options.options import WAYS

Meta = TypeVar("Meta", Metadata, TemplateMetadata)


@dataclass(frozen=True)
class Candidate:
    """A pod, or a Deployment's template, that may want a sidecar; `title` names it in messages."""

    title: str
    namespace: str
    metadata: Metadata | TemplateMetadata
    spec: PodSpec

    @property
    def injected(self) -> bool:
        """Whether it is already injected."""
        return STATUS.name in self.metadata.annotations

    @property
    def occupied(self) -> bool:
        """Whether a container of its own has a name that injection needs."""
        ours = (injected_names.PROXY_NAME, injected_names.INIT_NAME)
        return any(each.name in ours for each in (*self.spec.containers, *self.spec.init_containers))


def candidates(manifest: Manifest) -> Iterator[Candidate]:
    """Yield all pods and templates that may want a sidecar."""
    for pod in manifest.pods:
        yield _of_pod(pod)
    for deployment in manifest.deployments:
        yield _of_deployment(deployment)


def _of_pod(pod: Pod) -> Candidate:
    return Candidate(f"pod {pod.name}", pod.namespace, pod.metadata, pod.spec)


def _of_deployment(deployment: Deployment) -> Candidate:
    template = deployment.spec.template
    return Candidate(f"deployment {deployment.name}", deployment.namespace, template.metadata, template.spec)


class Selection:
    """Which pods of a manifest want a sidecar."""

    def __init__(self, manifest: Manifest) -> None:
        """Read the labels of the manifest's namespaces."""
        self._said = {
            each.name: each.metadata.labels.get(injected_names.NAMESPACE_LABEL) for each in manifest.namespaces
        }

    def asks(self, candidate: Candidate) -> bool:
        """Return whether a pod asks for a sidecar, by its label, its (deprecated) annotation, or its namespace.

        `disabled` on a namespace overrides everything, as on a cluster. Raises `InputError` for an unknown value.
        """
        metadata = candidate.metadata
        word = metadata.labels.get(INJECT.name, metadata.annotations.get(INJECT.name))
        if word not in (None, "true", "false"):
            raise InputError(
                f"{candidate.title}: {INJECT.name}: {word!r} is neither 'true' nor 'false' (quote it in YAML)"
            )
        namespace = self._said.get(candidate.namespace)
        return namespace != "disabled" and (namespace == "enabled" if word is None else word == "true")

    def wants(self, candidate: Candidate) -> bool:
        """Return whether to inject a pod: it asks for it, is not injected yet, and has no container with our names."""
        return self.asks(candidate) and not candidate.injected and not candidate.occupied


def inject(manifest: Manifest, rules: str | None = None) -> Manifest:
    """Return `manifest` with a sidecar in every pod and template that asks for one; a second run changes nothing.

    `rules` is the way into the kernel for pods whose annotation does not choose one. Raises `InputError` for an
    annotation or a way with an invalid value, even if the pod is already injected.
    """
    if rules is not None and rules not in WAYS:
        raise InputError(f"--rules: {rules!r} is no way into the kernel: give one of {', '.join(WAYS)}")
    for each in candidates(manifest):
        if each.injected:
            read(each.title, each.metadata.annotations)
    wants = Selection(manifest).wants
    pods = tuple(inject_pod(each) if wants(_of_pod(each)) else each for each in manifest.pods)
    deployments = tuple(
        inject_deployment(each) if wants(_of_deployment(each)) else each for each in manifest.deployments
    )
    if rules is not None:
        pods = tuple(_pod_told(each, rules) for each in pods)
        deployments = tuple(_deployment_told(each, rules) for each in deployments)
    return replace(manifest, pods=pods, deployments=deployments)


def _pod_told(pod: Pod, rules: str) -> Pod:
    return structs.replace(pod, metadata=_told(pod.metadata, pod.spec, rules))


def _deployment_told(deployment: Deployment, rules: str) -> Deployment:
    template = deployment.spec.template
    template = structs.replace(template, metadata=_told(template.metadata, template.spec, rules))
    return structs.replace(deployment, spec=structs.replace(deployment.spec, template=template))


def _told(metadata: Meta, spec: PodSpec, rules: str) -> Meta:
    """Return the metadata with the annotation that chooses the way, if it has rules and no such annotation."""
    if RULES.name in metadata.annotations or not any(map(is_istio_init, spec.init_containers)):
        return metadata
    return structs.replace(metadata, annotations={**metadata.annotations, RULES.name: rules})
