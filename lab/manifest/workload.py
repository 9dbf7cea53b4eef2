"""Deployments: pods by number and template; and ServiceAccounts, which are names here.

Types mirror the Kubernetes API (apps/v1, core/v1), in snake_case.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from sidelab.lab.manifest import checks, fields
from sidelab.lab.manifest.checks import FieldError
from sidelab.lab.manifest.kinds import Metadata, Object, Part
from sidelab.lab.manifest.pod import Pod, PodSpec


class TemplateMetadata(Part, frozen=True, kw_only=True):
    """Labels and annotations of the pods to be; `name` and `namespace` are accepted and, as on a cluster, not used."""

    rows: ClassVar[fields.Rows] = fields.TEMPLATE_METADATA
    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        checks.labels("labels", self.labels)
        checks.annotations("annotations", self.annotations)


class PodTemplate(Part, frozen=True, kw_only=True):
    """What pods are made from."""

    metadata: TemplateMetadata = TemplateMetadata()
    spec: PodSpec

    def __post_init__(self) -> None:
        if self.spec.restart_policy != "Always":
            raise FieldError("spec.restartPolicy", "a Deployment restarts its pods; remove it, or write a Pod")


class LabelSelector(Part, frozen=True, kw_only=True):
    """Labels that a pod must have, with these values."""

    rows: ClassVar[fields.Rows] = fields.LABEL_SELECTOR
    match_labels: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        checks.labels("matchLabels", self.match_labels)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether `labels` has all of them."""
        return self.match_labels.items() <= labels.items()


class DeploymentSpec(Part, frozen=True, kw_only=True):
    """How many pods, which are its own, and what they are made from."""

    rows: ClassVar[fields.Rows] = fields.DEPLOYMENT_SPEC
    replicas: int = 1
    selector: LabelSelector
    template: PodTemplate

    def __post_init__(self) -> None:
        checks.at_least("replicas", self.replicas, 0)
        if not self.selector.match_labels:
            raise FieldError("selector.matchLabels", "it is empty; write labels that the template has too")
        for key, value in self.selector.match_labels.items():
            if self.template.metadata.labels.get(key) != value:
                problem = f"the selector wants {key}: {value}; write the same into both"
                raise FieldError("template.metadata.labels", problem)


class Deployment(Object, frozen=True, kw_only=True):
    """A number of pods that differ in nothing but their names."""

    rows: ClassVar[fields.Rows] = fields.DEPLOYMENT
    api_version: str = "apps/v1"
    kind: str = "Deployment"
    spec: DeploymentSpec

    def __post_init__(self) -> None:
        try:
            checks.subdomain("metadata.name", f"{self.name}-{self.spec.replicas}")
        except FieldError:
            problem = f"{checks.shown(self.name)} is too long for the names of its pods; shorten it"
            raise FieldError("metadata.name", problem) from None

    def pods(self) -> Iterator[Pod]:
        """Yield its pods: `NAME-1` to `NAME-N`, with the template's labels and annotations, in its namespace."""
        template = self.spec.template
        for number in range(1, self.spec.replicas + 1):
            metadata = Metadata(
                name=f"{self.name}-{number}",
                namespace=self.namespace,
                labels=template.metadata.labels,
                annotations=template.metadata.annotations,
            )
            yield Pod(metadata=metadata, spec=template.spec)


class ServiceAccount(Object, frozen=True, kw_only=True):
    """The identity of pods towards others: a name, which their `serviceAccountName` refers to."""

    rows: ClassVar[fields.Rows] = fields.SERVICE_ACCOUNT
    api_version: str = "v1"
    kind: str = "ServiceAccount"
