"""What a manifest would change in a running lab: Services, labels, live annotations; all else is refused. Pure.

kubectl's meaning: an object that is not mentioned stays as it is, unless pruning is asked for.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from sidelab.lab.errors import InputError
from sidelab.lab.keys import ServiceKey
from sidelab.lab.manifest import Manifest, Object, Pod, Service, plain, title

Outcome = Literal["created", "configured", "unchanged", "pruned"]


class Change(NamedTuple):
    """What to do: `services` are new or different, `removed` are keys of Services, `pods` have other metadata.

    `outcomes` has each object that was mentioned or removed, as `service/nginx`, in the manifest's order.
    """

    services: tuple[Service, ...]
    removed: tuple[ServiceKey, ...]
    pods: tuple[Pod, ...]
    outcomes: tuple[tuple[str, Outcome], ...]


def compare(running: Manifest, wanted: Manifest, live: Collection[str], lab: str, *, prune: bool = False) -> Change:
    """Return how `running` becomes `wanted`; `live` are the annotations that a running pod may get changed.

    With `prune` Services that `wanted` does not mention are removed. Raises `InputError` for the first change that
    needs a new lab; `lab` is its name, for the cure.
    """
    cure = f"`sidelab down {lab}`, then `sidelab up` again"
    services = {each.key: each for each in running.services}
    pods = {each.key: each for each in running.pods}
    others = {each.identity: each for each in running.objects}
    changed: list[Service] = []
    touched: list[Pod] = []
    outcomes: list[tuple[str, Outcome]] = []
    for each in wanted.objects:
        match each:
            case Service():
                outcome = _outcome(services.get(each.key), each)
                _check_service(services.get(each.key), each, lab)
                if outcome != "unchanged":
                    changed.append(each)
            case Pod():
                if each.key not in pods:
                    raise InputError(f"{title(each)} is not in the lab, and a running lab gets no new pods: {cure}")
                _check_pod(pods[each.key], each, live, cure)
                outcome = _outcome(pods[each.key], each)
                if outcome != "unchanged":
                    touched.append(each)
            case _:
                outcome = _outcome(others.get(each.identity, each), each)
                if outcome != "unchanged":
                    raise InputError(f"{title(each)}: a running lab takes no other {each.kind}: {cure}")
        outcomes.append((_short(each), outcome))
    removed = tuple(key for key in services if prune and key not in {each.key for each in wanted.services})
    outcomes += [(_short(services[key]), "pruned") for key in removed]
    if prune:
        missing = next((each for each in running.pods if each.key not in {pod.key for pod in wanted.pods}), None)
        if missing is not None:
            raise InputError(f"{title(missing)} is not in the manifest, and a running lab loses no pods: {cure}")
    return Change(tuple(changed), removed, tuple(touched), tuple(outcomes))


def _outcome(before: Object | None, after: Object) -> Outcome:
    if before is None:
        return "created"
    return "unchanged" if plain(before) == plain(after) else "configured"


def _check_service(before: Service | None, after: Service, lab: str) -> None:
    if before is not None and before.spec.headless != after.spec.headless:
        raise InputError(
            f"{title(after)}: spec.clusterIP: it can't be changed: leave the Service out of a "
            f"`sidelab apply --prune --lab {lab}` first, or give it another name"
        )


def _check_pod(before: Pod, after: Pod, live: Collection[str], cure: str) -> None:
    was, will = plain(before), plain(after)
    for annotations in (was, will):
        metadata = annotations["metadata"] = {**annotations["metadata"]}
        metadata.pop("labels", None)
        kept = {name: value for name, value in metadata.pop("annotations", {}).items() if name not in live}
        if kept:
            metadata["annotations"] = kept
    path = next(_differences(was, will, ""), None)
    if path is not None:
        raise InputError(f"{title(after)}: {path}: a running pod can't be changed there: {cure}")


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield the paths of the fields that differ, the topmost that one of both lacks."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            step = f"{path}.{name}" if name.isidentifier() else f"{path}[{name}]"
            yield from _differences(before.get(name), after.get(name), step.removeprefix("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif before != after:
        yield path


def _short(value: Object) -> str:
    return f"{value.kind.lower()}/{value.name}"
