"""Kubernetes manifests: YAML → frozen values that are valid → YAML. Pure, except that `load` reads files.

`text` is YAML, `fields` the table of what each field means here, `model` and `pod` the types, `classify` and `decode`
the way in, `encode` the way out. Nothing here knows of namespaces, processes or sidecars; other packages register kinds
of their own.
"""

from lab.manifest.checks import FieldError
from lab.manifest.decode import MAX_BYTES, Kinds, decode, load
from lab.manifest.encode import encode
from lab.manifest.fields import Inert, Rejected, Rows
from lab.manifest.manifest import Manifest
from lab.manifest.model import Metadata, Namespace, Object, Part, Service, ServicePort, ServiceSpec
from lab.manifest.pod import (
    FIELD_PATHS,
    GRPC,
    Capabilities,
    Container,
    EnvSource,
    EnvVar,
    Exec,
    FieldRef,
    HTTPGet,
    HTTPHeader,
    Pod,
    PodSecurityContext,
    PodSpec,
    Port,
    Probe,
    SecurityContext,
    TCPSocket,
)

__all__ = [
    "FIELD_PATHS",
    "GRPC",
    "MAX_BYTES",
    "Capabilities",
    "Container",
    "EnvSource",
    "EnvVar",
    "Exec",
    "FieldError",
    "FieldRef",
    "HTTPGet",
    "HTTPHeader",
    "Inert",
    "Kinds",
    "Manifest",
    "Metadata",
    "Namespace",
    "Object",
    "Part",
    "Pod",
    "PodSecurityContext",
    "PodSpec",
    "Port",
    "Probe",
    "Rejected",
    "Rows",
    "SecurityContext",
    "Service",
    "ServicePort",
    "ServiceSpec",
    "TCPSocket",
    "decode",
    "encode",
    "load",
]
