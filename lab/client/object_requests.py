"""The objects of a running lab from outside: its supervisor is asked to change, to remove and to show them."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sidelab.lab.client.lab import Lab

if TYPE_CHECKING:
    from sidelab.lab.manifest import Manifest


class Applied(NamedTuple):
    """Each object, as `service/nginx`, with what became of it, and warnings about those that are new or changed."""

    outcomes: list[tuple[str, str]]
    warnings: list[str]


def apply(lab: Lab, manifest: "Manifest", live: Collection[str], *, prune: bool = False) -> Applied:
    """Change what runs to what `manifest`, already injected, says of the objects that it mentions.

    `live` are the annotations that may change in a running pod; with `prune`, objects that come and go, such as
    Services, are removed where `manifest` does not mention them. What becomes of an object is "created", "configured",
    "unchanged" or "pruned". Raises `InputError`, and then nothing has changed, for all that needs a new lab.
    """
    import msgspec  # noqa: PLC0415  # who only looks would wait for it

    objects = msgspec.to_builtins(manifest.expanded().objects)
    answer = lab.ask("apply", objects=objects, live=sorted(live), prune=prune)[0]
    return Applied(_outcomes(answer), list(answer["warnings"]))


def delete(
    lab: Lab, objects: Sequence[tuple[str, str, str]], *, ignore_not_found: bool = False
) -> list[tuple[str, str]]:
    """Remove objects, each given by a word for its kind, its namespace and its name; return their outcomes: "deleted".

    Raises `InputError`, and then nothing has changed, for all that is not there and all that a running lab keeps.
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
    """Return tables of objects: what is asked and answered is `lab.manifest.object_table`'s `Asked` and `tables`.

    Raises `InputError` for words and names that mean nothing in the lab.
    """
    answer = lab.ask("get", wanted=list(wanted), namespace=namespace, wide=wide, values=values)[0]
    return list(answer["tables"])


def _outcomes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, outcome) for name, outcome in answer["outcomes"]]
