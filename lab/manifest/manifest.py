"""The whole of what was given: pods, Services, namespaces and other kinds, with what has no effect here."""

from dataclasses import dataclass, field

from lab.errors import InputError
from lab.manifest.model import Namespace, Object, Service
from lab.manifest.pod import Pod


@dataclass(frozen=True)
class Manifest:
    """Objects by kind, each in the order of the files; `others` are of the kinds that the caller registered.

    `caveats` are sentences about fields without effect; they name their file, and do not count in comparisons.
    Raises `InputError` where two objects of a kind have the same namespace and name.
    """

    pods: tuple[Pod, ...] = ()
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

    @property
    def objects(self) -> tuple[Object, ...]:
        """All objects, in the order in which a cluster wants them: what others refer to first."""
        return (*self.namespaces, *self.others, *self.services, *self.pods)


def title(value: Object) -> str:
    """Return what an object is called in messages, like `Pod default/nginx`."""
    return f"{value.kind} {value.namespace}/{value.name}"
