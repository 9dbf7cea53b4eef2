"""Injection: a pod becomes a pod with istio-init and istio-proxy in it. Pure: Manifest → Manifest.

An injected pod is just a pod; nothing that runs it knows about sidecars. `whole_manifest` decides which pods get one,
and `inject_pod` puts it together from `containers`, `rewrite_probes` and `metadata`; the annotations that configure it
are in `sidecar.config`, and `advice` warns about those without effect. docs/injection.md shows it all.
"""

from sidelab.sidecar.config.annotations import LIVE
from sidelab.sidecar.config.choices import Choices
from sidelab.sidecar.config.choices import read as choices
from sidelab.sidecar.config.injected_names import (
    IMAGE,
    NAMESPACE_LABEL,
    PROXY_NAME,
    PROXY_UID,
)
from sidelab.sidecar.inject.advice import warnings
from sidelab.sidecar.inject.containers import is_istio_init
from sidelab.sidecar.inject.inject_pod import inject_deployment, inject_pod
from sidelab.sidecar.inject.whole_manifest import inject

__all__ = [
    "IMAGE",
    "LIVE",
    "NAMESPACE_LABEL",
    "PROXY_NAME",
    "PROXY_UID",
    "Choices",
    "choices",
    "inject",
    "inject_deployment",
    "inject_pod",
    "is_istio_init",
    "warnings",
]
