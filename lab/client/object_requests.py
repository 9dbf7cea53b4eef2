"""Objects of a running lab from outside: ask its supervisor to change, remove and show them."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sidelab.lab.client.lab import Lab

if TYPE_CHECKING:
    from sidelab.lab.manifest import Manifest


class Applied(NamedTuple):
    """Each object, as `service/nginx`, with its outcome, and warnings about those that are new or changed."""

    outcomes: list[tuple[str, str]]
    warnings: list[str]


def apply(lab: Lab, manifest: "Manifest", live: Collection[str], *, prune: bool = False) -> Applied:
    """Bring the running objects that `manifest`, already injected, mentions into the state that it describes.

    `live` are the annotations that may change in a running pod; with `prune`, objects that come and go, such as
    Services, are removed if `manifest` does not mention them. An object's outcome is "created", "configured",
    "unchanged" or "pruned". Raises `InputError` for a change that needs a new lab; then nothing has changed.
    """
    import msgspec  # noqa: PLC0415  # not needed for looking only, and slow to import

    objects = msgspec.to_builtins(manifest.expanded().objects)
    answer = lab.ask("apply", objects=objects, live=sorted(live), prune=prune)[0]
    return Applied(_outcomes(answer), list(answer["warnings"]))


def delete(
    lab: Lab, objects: Sequence[tuple[str, str, str]], *, ignore_not_found: bool = False
) -> list[tuple[str, str]]:
    """Remove objects, each given by a word for its kind, its namespace and its name; return their outcomes: "deleted".

    Raises `InputError` for an object that does not exist or that a running lab keeps; then nothing has changed.
    """
    return _outcomes(lab.ask("delete", objects=list(objects), ignore_not_found=ignore_not_found)[0])


def get(
    lab: Lab,
    wanted: Sequence[tuple[str, str | None]] = (),
    namespace: str | None = None,
    *,
    wide: bool = False,
    values: bool = False,
) -> list[dict[str, Any]]:
    """Return tables of objects; `AskedObjects` and `tables` of `lab.manifest.object_table` describe request and answer.

    Raises `InputError` for words and names that are unknown in the lab.
    """
    answer = lab.ask("get", wanted=list(wanted), namespace=namespace, wide=wide, values=values)[0]
    return list(answer["tables"])


def _outcomes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, outcome) for name, outcome in answer["outcomes"]]
