"""Kubernetes manifests: YAML → frozen values that are valid → YAML. Pure, except that `load` reads files.

`fields` is the table of what each field means here; `kinds`, `pod`, `probe` and `workload` are the types; in `yaml` are
the way in (`classify`, `decode`) and the way out (`encode`). Nothing here knows of network namespaces, processes or
sidecars; other packages register kinds of their own, as `registered` describes them and `own_kinds` does it.
"""

from sidelab.lab.manifest.checks import FieldError
from sidelab.lab.manifest.fields import Inert, Rejected, Rows
from sidelab.lab.manifest.kinds import Metadata, Namespace, Object, Part, Service, ServicePort, ServiceSpec
from sidelab.lab.manifest.manifest import MAX_PODS, Manifest, title
from sidelab.lab.manifest.pod import (
    FIELD_PATHS,
    Capabilities,
    Container,
    EnvSource,
    EnvVar,
    FieldRef,
    Pod,
    PodSecurityContext,
    PodSpec,
    Port,
    SecurityContext,
)
from sidelab.lab.manifest.pod_dns import DNSConfig, DNSOption, HostAlias
from sidelab.lab.manifest.probe import GRPC, Exec, Handler, HTTPGet, HTTPHeader, Lifecycle, Probe, Sleep, TCPSocket
from sidelab.lab.manifest.workload import (
    Deployment,
    DeploymentSpec,
    LabelSelector,
    PodTemplate,
    ServiceAccount,
    TemplateMetadata,
)
from sidelab.lab.manifest.yaml.decode import MAX_BYTES, Kinds, decode, load
from sidelab.lab.manifest.yaml.encode import encode, plain

__all__ = [
    "FIELD_PATHS",
    "GRPC",
    "MAX_BYTES",
    "MAX_PODS",
    "Capabilities",
    "Container",
    "DNSConfig",
    "DNSOption",
    "Deployment",
    "DeploymentSpec",
    "EnvSource",
    "EnvVar",
    "Exec",
    "FieldError",
    "FieldRef",
    "HTTPGet",
    "HTTPHeader",
    "Handler",
    "HostAlias",
    "Inert",
    "Kinds",
    "LabelSelector",
    "Lifecycle",
    "Manifest",
    "Metadata",
    "Namespace",
    "Object",
    "Part",
    "Pod",
    "PodSecurityContext",
    "PodSpec",
    "PodTemplate",
    "Port",
    "Probe",
    "Rejected",
    "Rows",
    "SecurityContext",
    "Service",
    "ServiceAccount",
    "ServicePort",
    "ServiceSpec",
    "Sleep",
    "TCPSocket",
    "TemplateMetadata",
    "decode",
    "encode",
    "load",
    "plain",
    "title",
]
