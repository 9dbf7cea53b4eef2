"""What injection adds to a pod's metadata: its identity in the mesh, where its metrics are, and its injection status.

Pure. Sources: istio/istio's injection template; pkg/kube/inject/inject.go for the status and the metrics.
"""

import json
from collections.abc import Mapping
from typing import TypeVar

from msgspec import structs

from sidelab.lab.manifest import Metadata, PodSpec, TemplateMetadata
from sidelab.sidecar.config import injected_names
from sidelab.sidecar.config.annotations import REVISION, STATUS
from sidelab.sidecar.config.choices import Choices
from sidelab.sidecar.config.proxy_annotations import CONCURRENCY, MODE, PROMETHEUS
from sidelab.sidecar.inject.containers import OwnerReference

PROMETHEUS_VARIABLE = "ISTIO_PROMETHEUS_ANNOTATIONS"
_LABEL_LENGTH = 63

Marked = TypeVar("Marked", Metadata, TemplateMetadata)


def marked(metadata: Marked, owner: OwnerReference, choices: Choices, app: PodSpec, added: PodSpec) -> Marked:
    """Return the metadata of a pod whose `app` became `added`; only the author's location of metrics is replaced."""
    annotations = dict(metadata.annotations)
    if choices.config.mode:
        annotations.setdefault(MODE.name, choices.mode)
    if choices.config.concurrency:
        annotations.setdefault(CONCURRENCY.name, str(choices.config.concurrency))
    annotations.setdefault(REVISION.name, REVISION.default)
    for name in injected_names.DEFAULT_CONTAINERS:
        annotations.setdefault(name, app.containers[0].name)
    if _merges(annotations, choices):
        at = (("path", "/stats/prometheus"), ("port", str(choices.agent_port)), ("scrape", "true"))
        annotations |= {PROMETHEUS[what]: value for what, value in at}
    annotations[STATUS.name] = _status(app, added)
    return structs.replace(metadata, labels=_labels(metadata.labels, owner), annotations=annotations)


def scraped(annotations: Mapping[str, str], choices: Choices) -> dict[str, str]:
    """Return the variable that tells the agent where the application's metrics are, to be merged with the proxy's."""
    said = {what: annotations.get(name, "") for what, name in PROMETHEUS.items()}
    if not any(said.values()) or not _merges(annotations, choices):
        return {}
    return {PROMETHEUS_VARIABLE: json.dumps(said, separators=(",", ":"))}


def _merges(annotations: Mapping[str, str], choices: Choices) -> bool:
    wanted = choices.merge_metrics and annotations.get(PROMETHEUS["scrape"], "true") == "true"
    return wanted and choices.proxied and choices.agent_port != 0


def _labels(labels: Mapping[str, str], owner: OwnerReference) -> dict[str, str]:
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or owner.name
    revision = labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"
    ours = {
        injected_names.TLS_MODE: "istio",
        injected_names.CANONICAL_NAME: name[:_LABEL_LENGTH].rstrip("-_."),
        injected_names.CANONICAL_REVISION: revision,
    }
    return {**labels, **{each: labels.get(each) or value for each, value in ours.items()}}


def _status(app: PodSpec, added: PodSpec) -> str:
    """Return the status of what was added, in Istio's form; it also prevents a second injection."""
    before = {each.name for each in (*app.init_containers, *app.containers)}
    init = [each.name for each in added.init_containers if each.name not in before]
    containers = [each.name for each in added.containers if each.name not in before]
    status = {"initContainers": init, "containers": containers, "volumes": [], "imagePullSecrets": []}
    said = {what: found or None for what, found in status.items()}
    return json.dumps({**said, "revision": REVISION.default}, separators=(",", ":"))
