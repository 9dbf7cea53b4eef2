"""What every object of a manifest is made of, and the kinds that are only data here: Namespace and Service.

Types mirror the Kubernetes API (core/v1), in snake_case. A value that exists is valid: constructors raise `FieldError`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import field

from sidelab.lab.keys import ObjectIdentity, ObjectKey
from sidelab.lab.manifest import checks, fields
from sidelab.lab.manifest.checks import FieldError

PROTOCOLS = ("TCP", "UDP", "SCTP")
_TRANSLATED = ("TCP", "UDP")
FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("SingleStack", "PreferDualStack", "RequireDualStack")


class Part(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, repr_omit_defaults=True
):
    """A part of an object; `rows` classifies fields as in `lab.manifest.fields`.

    `inert` holds the fields that have no effect here, as plain values under their names in the file. Neither it nor any
    other mapping in a part may be changed.
    """

    rows: ClassVar[fields.Rows] = {}
    inert: Mapping[str, Any] = {}


class Metadata(Part, frozen=True):
    """Name, namespace, labels and annotations."""

    rows: ClassVar[fields.Rows] = fields.METADATA
    name: str
    namespace: str = "default"
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        checks.subdomain("name", self.name)
        if self.namespace != "default":
            checks.label("namespace", self.namespace)
        checks.labels("labels", self.labels)
        checks.annotations("annotations", self.annotations)


class Object(Part, frozen=True, kw_only=True):
    """Anything with apiVersion, kind and metadata: the base of kinds, of those that other packages register too.

    A kind is a subclass with `api_version` and `kind` of its own, and `rows` that begin with `fields.OBJECT`.
    """

    rows: ClassVar[fields.Rows] = fields.OBJECT
    api_version: str
    kind: str
    metadata: Metadata

    @property
    def name(self) -> str:
        """The object's name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace that the object is in."""
        return self.metadata.namespace

    @property
    def key(self) -> ObjectKey:
        """Namespace and name: unique among objects of one kind."""
        return self.metadata.namespace, self.metadata.name

    @property
    def identity(self) -> ObjectIdentity:
        """Kind, namespace and name: unique in a manifest."""
        return self.kind, self.metadata.namespace, self.metadata.name


class Namespace(Object, frozen=True, kw_only=True):
    """A Kubernetes namespace: a name with labels."""

    rows: ClassVar[fields.Rows] = fields.NAMESPACE
    api_version: str = "v1"
    kind: str = "Namespace"

    def __post_init__(self) -> None:
        checks.label("metadata.name", self.name)
        if self.namespace != "default":
            raise FieldError("metadata.namespace", "a Namespace is in no namespace; remove it")


class ServicePort(Part, frozen=True, kw_only=True):
    """A port of a Service; `target_port` None is the same as `port`."""

    rows: ClassVar[fields.Rows] = fields.SERVICE_PORT
    name: str = ""
    port: int
    target_port: int | str | None = None
    protocol: str = "TCP"
    app_protocol: str = ""

    def __post_init__(self) -> None:
        if self.name:
            checks.label("name", self.name)
        checks.port_number("port", self.port)
        if self.target_port is not None:
            checks.port("targetPort", self.target_port)
        checks.choice("protocol", self.protocol, _TRANSLATED, "; a lab's node translates no other")


class ServiceSpec(Part, frozen=True, kw_only=True):
    """What a Service selects and offers; `cluster_ip` is "None" (headless) or "" (one is chosen).

    `ip_families` are in the order of preference. Without a selector it has no endpoints. Pods that are not ready count
    as ready where `publish_not_ready_addresses`.
    """

    rows: ClassVar[fields.Rows] = fields.SERVICE_SPEC
    type: str = "ClusterIP"
    cluster_ip: str = field(name="clusterIP", default="")
    selector: Mapping[str, str] = {}
    ports: tuple[ServicePort, ...] = ()
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = "SingleStack"

    def __post_init__(self) -> None:
        for index, family in enumerate(self.ip_families):
            checks.choice(f"ipFamilies[{index}]", family, FAMILIES)
        checks.unique("ipFamilies", self.ip_families, "family")
        checks.choice("ipFamilyPolicy", self.ip_family_policy, _FAMILY_POLICIES)
        if self.ip_family_policy == "SingleStack" and len(self.ip_families) > 1:
            raise FieldError("ipFamilyPolicy", "with two families it must be PreferDualStack or RequireDualStack")
        checks.choice("type", self.type, ("ClusterIP",), "; a lab is reached from inside only")
        checks.choice("clusterIP", self.cluster_ip, ("None", ""), "; leave it out, and the lab chooses an address")
        checks.labels("selector", self.selector)
        if not self.ports and self.cluster_ip != "None":
            raise FieldError("ports", "a Service needs at least one; write `ports: [{port: 80}]`")
        if len(self.ports) > 1:
            for index, port in enumerate(self.ports):
                if not port.name:
                    raise FieldError(f"ports[{index}].name", "where there are several ports, each needs a name")
        checks.unique("ports", (port.name for port in self.ports), "name")
        checks.unique("ports", (f"{port.port}/{port.protocol}" for port in self.ports), "port")

    @property
    def headless(self) -> bool:
        """Whether it has no address of its own, but a name for its pods'."""
        return self.cluster_ip == "None"

    @property
    def families(self) -> tuple[str, ...]:
        """Which of `FAMILIES` it has: as on a cluster whose first is IPv4, only that one unless it asks for more."""
        if self.ip_family_policy == "SingleStack":
            return self.ip_families or FAMILIES[:1]
        return tuple(dict.fromkeys((*self.ip_families, *FAMILIES)))


class Service(Object, frozen=True, kw_only=True):
    """A Service of type ClusterIP."""

    rows: ClassVar[fields.Rows] = fields.SERVICE
    api_version: str = "v1"
    kind: str = "Service"
    spec: ServiceSpec

    def __post_init__(self) -> None:
        checks.service_name("metadata.name", self.name)
