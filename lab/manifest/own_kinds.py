"""The kinds that every lab has, as `registered` describes kinds: Services, which come and go, and some to look at."""

from collections.abc import Iterable, Mapping
from typing import Any

from sidelab.lab.manifest.kinds import Namespace, Service
from sidelab.lab.manifest.pod import Pod
from sidelab.lab.manifest.registered import KindColumn, KnownKinds, RegisteredKind
from sidelab.lab.manifest.workload import ServiceAccount

_NONE = "<none>"  # as kubectl shows what is empty


def _said(name: str) -> Any:
    return lambda _value, live: live.get(name) or _NONE


def _ports(service: Service, _live: Mapping[str, str]) -> str:
    return ",".join(f"{port.port}/{port.protocol}" for port in service.spec.ports) or _NONE


def _selector(service: Service, _live: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in service.spec.selector.items()) or _NONE


def _service_fixed(before: Service, after: Service) -> Iterable[str]:
    """Refuse what would change whether it has addresses: on a cluster, too, clusterIP is immutable."""
    if before.spec.headless != after.spec.headless:
        yield (
            f"spec.clusterIP: it can't be changed: `sidelab delete service {after.name} -n {after.namespace}` first, "
            "or give the new one another name"
        )


SERVICE = RegisteredKind(
    kind="Service",
    versions=("v1",),
    object_type=Service,
    plural="services",
    short=("svc",),
    fixed=_service_fixed,
    concerns=None,  # pods read what becomes of Services: lab.cluster.state
    acts="sidelab.lab.cluster.services:Services",
    columns=(
        KindColumn("TYPE", lambda service, _: service.spec.type),
        KindColumn("CLUSTER-IP", lambda service, live: service.spec.cluster_ip or live.get("ipv4") or _NONE),
        KindColumn("EXTERNAL-IP", lambda _service, _live: _NONE),
        KindColumn("PORT(S)", _ports),
        KindColumn("CLUSTER-IPV6", _said("ipv6"), wide=True),
        KindColumn("READY", _said("ready"), wide=True),
        KindColumn("SELECTOR", _selector, wide=True),
    ),
)

POD = RegisteredKind(
    kind="Pod",
    versions=("v1",),
    object_type=Pod,
    plural="pods",
    short=("po",),
    columns=(
        KindColumn("READY", _said("ready")),
        KindColumn("STATUS", _said("phase")),
        KindColumn("RESTARTS", _said("restarts")),
        KindColumn("IP", _said("ipv4"), wide=True),
        KindColumn("IPV6", _said("ipv6"), wide=True),
    ),
)

NAMESPACE = RegisteredKind(
    kind="Namespace",
    versions=("v1",),
    object_type=Namespace,
    plural="namespaces",
    short=("ns",),
    namespaced=False,
    columns=(KindColumn("STATUS", lambda _namespace, _live: "Active"),),
)

SERVICE_ACCOUNT = RegisteredKind(
    kind="ServiceAccount",
    versions=("v1",),
    object_type=ServiceAccount,
    plural="serviceaccounts",
    short=("sa",),
)

OWN = KnownKinds((SERVICE,), (POD, NAMESPACE, SERVICE_ACCOUNT))
"""What a lab knows without its caller; `OWN.plus(…)` is what it knows with it."""
