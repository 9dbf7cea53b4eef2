"""The annotation with YAML that changes Istio's ProxyConfig for one pod. Pure.

Source: istio.io/docs/reference/config/istio.mesh.v1alpha1 (ProxyConfig). A field with the wrong type is an error, as in
Istio's injector; one that has no effect here, or that Istio does not have, is a warning.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import EnvVar, FieldError
from sidelab.lab.manifest.yaml.yaml_text import read_documents
from sidelab.sidecar.config.proxy_annotations import MODE
from sidelab.sidecar.interception.options import values

HOLD, _METADATA, _CONCURRENCY = "holdApplicationUntilProxyStarts", "proxyMetadata", "concurrency"
_MODE, _STATUS_PORT = "interceptionMode", "statusPort"
_DRAIN, _TERMINATION_DRAIN = "drainDuration", "terminationDrainDuration"
HONOURED = (HOLD, _METADATA, _CONCURRENCY, _MODE, _STATUS_PORT, _TERMINATION_DRAIN)
_WITHOUT_EFFECT = frozenset(
    (
        *("binaryPath", "caCertificatesPem", "configPath", "controlPlaneAuthPolicy", "customConfigFile"),
        *("discoveryAddress", _DRAIN, "envoyAccessLogService", "envoyMetricsService", "extraStatTags"),
        *("fileFlushInterval", "fileFlushMinSizeKb", "gatewayTopology", "image", "meshId", "parentShutdownDuration"),
        *("privateKeyProvider", "proxyAdminPort", "proxyBootstrapTemplatePath", "proxyHeaders", "proxyStatsMatcher"),
        *("readinessProbe", "runtimeValues", "serviceCluster", "statNameLength", "statsCompression"),
        *("statsdUdpAddress", "tracing", "tracingServiceName", "zipkinAddress"),
    )
)


@dataclass(frozen=True)
class ProxyConfig:
    """The values of a pod's annotation; `raw` is all of it, with the names of the YAML.

    `mode` "", `concurrency` 0 and `status_port` None mean that it is not given. `drain_s` is how long a proxy that is
    asked to end lets its connections finish.
    """

    raw: Mapping[str, Any] = field(default_factory=dict)
    hold: bool = False
    metadata: tuple[EnvVar, ...] = ()
    concurrency: int = 0
    mode: str = ""
    status_port: int | None = None
    drain_s: float = 5.0

    @property
    def json(self) -> str:
        """The text of the variable PROXY_CONFIG."""
        return json.dumps(self.raw, separators=(",", ":"), ensure_ascii=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each field that changes nothing here."""
        found = [
            f"{name} has no effect here"
            if name in _WITHOUT_EFFECT
            else f"Istio has no field {name!r}, and refuses the pod: remove it"
            for name in self.raw
            if name not in HONOURED
        ]
        if self.raw.get(_CONCURRENCY) == 0:
            found.append(f"{_CONCURRENCY}: 0, a worker for each core, is one worker here")
        return tuple(found)


@lru_cache(maxsize=64)
def read(name: str, text: str) -> ProxyConfig:
    """Return the values in the annotation's text. Raises `InputError` with `name` and the field that is wrong."""
    documents = [each.value for each in read_documents(name, text)]
    raw = documents[0] if documents else {}
    if len(documents) > 1 or not isinstance(raw, dict):
        raise InputError(f"{name}: it must be fields of ProxyConfig in YAML: write `concurrency: 2`, for example")
    try:
        return _checked(raw)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _checked(raw: Mapping[str, Any]) -> ProxyConfig:
    mode = raw.get(_MODE, "")
    if mode not in ("", "REDIRECT", "TPROXY"):
        raise _wrong(_MODE, mode, f"REDIRECT or TPROXY (the annotation {MODE.name} alone can say NONE)")
    return ProxyConfig(
        raw=raw,
        hold=_truth(raw, HOLD),
        metadata=_metadata(raw.get(_METADATA, {})),
        concurrency=_number(raw, _CONCURRENCY, 1024) or 0,
        mode=mode,
        status_port=_number(raw, _STATUS_PORT, 65535),
        drain_s=_duration_s(raw, _TERMINATION_DRAIN, ProxyConfig.drain_s),
    )


def _wrong(name: str, value: object, wanted: str) -> InputError:
    return InputError(f"{name}: {value!r} is not accepted: write {wanted}")


def _truth(raw: Mapping[str, Any], name: str) -> bool:
    value = raw.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, value, "true or false, without quotes")
    return value


def _number(raw: Mapping[str, Any], name: str, most: int) -> int | None:
    value = raw.get(name)
    if name in raw and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most):
        raise _wrong(name, value, f"a number from 0 to {most}, without quotes")
    return value


def _duration_s(raw: Mapping[str, Any], name: str, default_s: float) -> float:
    if name not in raw:
        return default_s
    value = raw[name]
    if not isinstance(value, str):
        raise _wrong(name, value, "a duration such as 5s")
    return values.duration_s(name, value)


def _metadata(value: object) -> tuple[EnvVar, ...]:
    """Return proxyMetadata as variables, in the order in which Istio's template writes them."""
    if not isinstance(value, dict):
        raise _wrong(_METADATA, value, 'variables as `NAME: "value"` lines, indented')
    found = []
    for name in sorted(value):
        if not isinstance(value[name], str):
            raise _wrong(f"{_METADATA}.{name}", value[name], f'text, in quotes: "{str(value[name]).lower()}"')
        try:
            found.append(EnvVar(name=name, value=value[name]))
        except FieldError as error:
            raise InputError(f"{_METADATA}: {error.problem}") from None
    return tuple(found)
