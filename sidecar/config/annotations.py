"""Every annotation that concerns a sidecar: its name, its reader, and its default. Pure.

The names are only here and, for those that agents read, in `sidecar.config.proxy_annotations`; `TABLE` has all. The
defaults are those of Istio's charts. Source: istio.io/latest/docs/reference/config/annotations.
"""

from collections.abc import Mapping
from typing import Any

from sidelab.sidecar import istio_ports
from sidelab.sidecar.config import proxy_annotations, proxyconfig
from sidelab.sidecar.config.annotation_readers import Annotation, any_text, matching, number, one_of
from sidelab.sidecar.config.injected_names import IMAGE
from sidelab.sidecar.interception.options import options, values

_ISTIO, _STATUS, _READINESS = "sidecar.istio.io/", "status.sidecar.istio.io/", "readiness.status.sidecar.istio.io/"
_TRAFFIC, _CONFIG, _OURS = "traffic.sidecar.istio.io/", "proxy.istio.io/", "sidelab.io/"

PREFIXES = (_ISTIO, _TRAFFIC, _STATUS, _READINESS, _OURS)
"""The prefixes of the names: an annotation with one of them that is not in the table has no effect."""

PREFIXES_OF_PODS = (*PREFIXES, _CONFIG)
"""The prefixes of names that have an effect on pods, but none on the pods' Deployment."""

_quantity = matching(r"\d+(?:\.\d*)?(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?|\.\d+", "a quantity such as 100m or 128Mi")
_level = matching(r"[-\w:,.]+", "log levels, such as warning or misc:error")
_seconds = number(0, 2**31 - 1, "seconds")


def _port_or_none(name: str, text: str) -> int:
    return values.number(name, text.strip(), 0, 65535, "a port, or 0 for none")


INJECT = Annotation(f"{_ISTIO}inject", one_of("true", "false"), "false")
"""Whether a pod wants a sidecar; deprecated in favour of the label of this name."""

STATUS = Annotation(f"{_ISTIO}status", any_text, "")
"""Written by injection: what it has added."""

REVISION = Annotation("istio.io/rev", any_text, "default")
"""Written by injection, and not read here."""

REWRITE = Annotation(f"{_ISTIO}rewriteAppHTTPProbers", values.boolean, "true")
NATIVE = Annotation(f"{_ISTIO}nativeSidecar", values.boolean, "false")
PROXY_IMAGE = Annotation(f"{_ISTIO}proxyImage", matching(r"[-\w./:@]+", "an image name"), IMAGE)
PROXY_CPU = Annotation(f"{_ISTIO}proxyCPU", _quantity, "100m")
PROXY_MEMORY = Annotation(f"{_ISTIO}proxyMemory", _quantity, "128Mi")
PROXY_CPU_LIMIT = Annotation(f"{_ISTIO}proxyCPULimit", _quantity, "2000m")
PROXY_MEMORY_LIMIT = Annotation(f"{_ISTIO}proxyMemoryLimit", _quantity, "1024Mi")
LOG_LEVEL = Annotation(f"{_ISTIO}logLevel", _level, "warning")
COMPONENT_LOG_LEVEL = Annotation(f"{_ISTIO}componentLogLevel", _level, "misc:error")
AGENT_LOG_LEVEL = Annotation(f"{_ISTIO}agentLogLevel", _level, "default:info")
STATUS_PORT = Annotation(f"{_STATUS}port", _port_or_none, str(istio_ports.AGENT))
READINESS_DELAY = Annotation(f"{_READINESS}initialDelaySeconds", _seconds, "0")
READINESS_PERIOD = Annotation(f"{_READINESS}periodSeconds", number(1, 2**31 - 1, "seconds"), "15")
READINESS_FAILURES = Annotation(f"{_READINESS}failureThreshold", number(1, 2**31 - 1), "4")
CONFIG = Annotation(f"{_CONFIG}config", proxyconfig.read, "")
MERGE_METRICS = Annotation("prometheus.istio.io/merge-metrics", values.boolean, "true")

# Checked like in Istio's injector (pkg/kube/inject/validate.go): no item is empty, blanks may surround ports.
INCLUDE_INBOUND_PORTS = Annotation(f"{_TRAFFIC}includeInboundPorts", values.all_or_complete(values.port), "*")
EXCLUDE_INBOUND_PORTS = Annotation(f"{_TRAFFIC}excludeInboundPorts", values.complete(values.port), "")
INCLUDE_RANGES = Annotation(f"{_TRAFFIC}includeOutboundIPRanges", values.all_or_complete(values.cidr), "*")
EXCLUDE_RANGES = Annotation(f"{_TRAFFIC}excludeOutboundIPRanges", values.complete(values.cidr), "")
INCLUDE_OUTBOUND_PORTS = Annotation(f"{_TRAFFIC}includeOutboundPorts", values.complete(values.port), "")
EXCLUDE_OUTBOUND_PORTS = Annotation(f"{_TRAFFIC}excludeOutboundPorts", values.complete(values.port), "")
EXCLUDE_INTERFACES = Annotation(f"{_TRAFFIC}excludeInterfaces", values.many(values.interface), "")
VIRTUAL_INTERFACES = Annotation(f"{_TRAFFIC}kubevirtInterfaces", values.many(values.interface), "")

PROFILE = Annotation(f"{_OURS}profile", one_of(*options.PROFILES), options.PROFILES[0])
RULES = Annotation(f"{_OURS}rules", one_of(*options.WAYS), options.WAYS[0])
"""The way into the kernel."""

QUIRKS = Annotation(f"{_OURS}quirks", one_of(*options.QUIRKS), options.QUIRKS[0])
"""Whether the rules keep the surprising behaviour of Istio's."""

TABLE: Mapping[str, Annotation[Any]] = {
    each.name: each for each in (*vars(proxy_annotations).values(), *vars().values()) if isinstance(each, Annotation)
}
"""All annotations, by name."""

LIVE = frozenset(name for name, each in TABLE.items() if each.live)
"""The names of those whose changes a running pod follows."""

WITHOUT_EFFECT = frozenset(
    f"{_ISTIO}{name}"
    for name in (
        *("agentLogLevel", "bootstrapOverride", "capNetBindService", "componentLogLevel", "logLevel"),
        *("controlPlaneAuthPolicy", "discoveryAddress", "enableCoreDump", "extraStatTags", "proxyImageType"),
        *("statsCompression", "statsHistogramBuckets", "statsInclusionPrefixes", "statsInclusionRegexps"),
        *("statsInclusionSuffixes", "userVolume", "userVolumeMount"),
    )
)
"""Istio's annotations that have no effect here."""
