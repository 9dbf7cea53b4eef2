"""All given objects by kind, with the fields that have no effect here, and the pods that Deployments stand for."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sidelab.lab.errors import InputError
from sidelab.lab.manifest.kinds import Namespace, Object, Service
from sidelab.lab.manifest.pod import Pod
from sidelab.lab.manifest.workload import Deployment

MAX_PODS = 65_000  # what a lab's network has room for; more would only take memory before they are refused


@dataclass(frozen=True)
class Manifest:
    """Objects by kind, each in the order of the files; `others` are ServiceAccounts and what the caller registered.

    `caveats` are sentences about fields without effect; they name their file, and do not count in comparisons.
    Raises `InputError` where two objects of a kind have the same namespace and name.
    """

    pods: tuple[Pod, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    services: tuple[Service, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    others: tuple[Object, ...] = ()
    caveats: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        seen = set()
        for each in self.objects:
            if each.identity in seen:
                raise InputError(f"{title(each)} is there twice: change the name or the namespace of one")
            seen.add(each.identity)

    @staticmethod
    def of(objects: Iterable[Object], caveats: tuple[str, ...] = ()) -> "Manifest":
        """Return the manifest of `objects`, whose order stays within a kind."""
        found = tuple(objects)
        return Manifest(
            pods=tuple(each for each in found if isinstance(each, Pod)),
            deployments=tuple(each for each in found if isinstance(each, Deployment)),
            services=tuple(each for each in found if isinstance(each, Service)),
            namespaces=tuple(each for each in found if isinstance(each, Namespace)),
            others=tuple(each for each in found if not isinstance(each, (Pod, Deployment, Service, Namespace))),
            caveats=caveats,
        )

    @property
    def objects(self) -> tuple[Object, ...]:
        """All objects, in the order in which a cluster wants them: what others refer to first."""
        return (*self.namespaces, *self.others, *self.services, *self.deployments, *self.pods)

    def expanded(self) -> "Manifest":
        """Return the manifest with the pods of its Deployments after its own, and no Deployments.

        Raises `InputError` for a pod that is called like one of a Deployment's, and for more than 65 000.
        """
        if not self.deployments:
            return self
        taken = {each.key for each in self.pods}
        if (count := len(taken) + sum(each.spec.replicas for each in self.deployments)) > MAX_PODS:
            raise InputError(f"the manifest asks for {count} pods; a lab has room for {MAX_PODS}: lower `replicas`")
        pods = tuple(pod for each in self.deployments for pod in each.pods())
        for pod in pods:
            if pod.key in taken:
                raise InputError(f"{title(pod)} is there, and a Deployment makes one of that name: change one")
            taken.add(pod.key)
        return replace(self, pods=(*self.pods, *pods), deployments=())


def title(value: Object) -> str:
    """Return an object's name in messages, like `Pod default/nginx`."""
    return f"{value.kind} {value.namespace}/{value.name}"
