"""Injection: a pod becomes a pod with istio-init and istio-proxy in it. Pure: Manifest → Manifest.

An injected pod is just a pod; nothing that runs it knows of sidecars. `whole_manifest` decides who gets one
and `inject_pod` puts it together, out of `containers`, `rewrite_probes` and `metadata`; what people can say about it is
in `sidecar.config`, and `advice` warns of what has no effect. docs/injection.md shows it all.
"""

from sidelab.sidecar.config.annotations import Choices
from sidelab.sidecar.config.annotations import read as choices
from sidelab.sidecar.config.injected_names import (
    IMAGE,
    INIT_NAME,
    INJECT,
    LIVE,
    NAMESPACE_LABEL,
    PROFILE,
    PROTOCOL,
    PROXY,
    PROXY_NAME,
    PROXY_UID,
    QUIRKS,
    RULES,
    STATUS,
)
from sidelab.sidecar.inject.advice import warnings
from sidelab.sidecar.inject.inject_pod import inject_deployment, inject_pod
from sidelab.sidecar.inject.whole_manifest import inject

__all__ = [
    "IMAGE",
    "INIT_NAME",
    "INJECT",
    "LIVE",
    "NAMESPACE_LABEL",
    "PROFILE",
    "PROTOCOL",
    "PROXY",
    "PROXY_NAME",
    "PROXY_UID",
    "QUIRKS",
    "RULES",
    "STATUS",
    "Choices",
    "choices",
    "inject",
    "inject_deployment",
    "inject_pod",
    "warnings",
]
