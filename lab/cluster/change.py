"""What a manifest would change in a running lab: only objects that come and go, labels, live annotations. Pure.

As in kubectl, an object that is not mentioned stays as it is, unless pruning is requested.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from sidelab.lab.errors import InputError
from sidelab.lab.keys import ObjectIdentity
from sidelab.lab.manifest import Manifest, Object, Pod, Service, plain, title
from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.manifest.registered import KnownKinds, doubts, not_found, problems, reference

Outcome = Literal["created", "configured", "unchanged", "pruned", "deleted"]


class Change(NamedTuple):
    """What to do: objects to `put` are new or different, those in `removed` go, `pods` have other metadata.

    `outcomes` has each object that was mentioned or removed, as `service/nginx`, in the manifest's order; `doubts` are
    warnings about what is put.
    """

    put: tuple[Object, ...]
    removed: tuple[ObjectIdentity, ...]
    pods: tuple[Pod, ...]
    outcomes: tuple[tuple[str, Outcome], ...]
    doubts: tuple[str, ...] = ()


def compare(
    running: Manifest,
    wanted: Manifest,
    live: Collection[str],
    lab: str,
    *,
    kinds: KnownKinds = OWN,
    prune: bool = False,
) -> Change:
    """Return how to get from `running` to `wanted`; `live` are the annotations that may change in a running pod.

    With `prune` objects of stored `kinds` that `wanted` does not mention are removed. Raises `InputError` for all that
    needs a new lab, and for what is wrong with objects beside each other; `lab` is its name, for the cure.
    """
    cure = f"`sidelab down {lab}`, then `sidelab up` again"
    before = {each.identity: each for each in running.objects}
    put: list[Object] = []
    touched: list[Pod] = []
    outcomes: list[tuple[str, Outcome]] = []
    wrong: list[str] = []
    for each in wanted.objects:
        outcome = _outcome(before.get(each.identity), each)
        wrong += _refusals(before.get(each.identity), each, live, kinds, cure)
        if isinstance(each, Pod):
            touched += [each] if outcome != "unchanged" else []
        elif each.kind in kinds.stored:
            put += [each] if outcome != "unchanged" else []
        else:
            outcome = "unchanged"
        outcomes.append((reference(each), outcome))
    gone = _not_mentioned(running, wanted, kinds) if prune else ()
    outcomes += [(reference(each), "pruned") for each in gone]
    if prune:
        kept = {pod.key for pod in wanted.pods}
        wrong += (
            f"{title(each)} is not in the manifest, and a running lab loses no pods: {cure}"
            for each in running.pods
            if each.key not in kept
        )
    change = Change(tuple(put), tuple(each.identity for each in gone), tuple(touched), tuple(outcomes))
    after = changed(running, change)
    refuse(wrong or problems(put, after, kinds))
    return change._replace(doubts=tuple(doubts(put, after, kinds)))


def without(
    running: Manifest,
    named: Sequence[tuple[str, str, str]],
    lab: str,
    *,
    kinds: KnownKinds = OWN,
    ignore_not_found: bool = False,
) -> Change:
    """Return how `running` loses objects: each of `named` has a word for its kind, a namespace and a name.

    Raises `InputError` for objects that can't be removed, and for missing ones unless they are ignored.
    """
    there = {each.identity: each for each in running.objects}
    gone: dict[ObjectIdentity, Object] = {}
    wrong: list[str] = []
    for word, namespace, name in named:
        kind = kinds.named(word)
        found = there.get((kind.kind, namespace if kind.namespaced else "default", name))
        if found is None:
            wrong += [] if ignore_not_found else [not_found(kind, name)]
        elif kind.kind in kinds.stored:
            gone[found.identity] = found
        else:
            wrong.append(f"{title(found)}: a running lab loses no {kind.plural}: `sidelab down {lab}` ends all of it")
    refuse(wrong)
    return Change((), tuple(gone), (), tuple((reference(each), "deleted") for each in gone.values()))


def changed(running: Manifest, change: Change) -> Manifest:
    """Return the manifest of what runs after a change."""
    objects = {each.identity: each for each in (*running.services, *running.others)}
    objects |= {each.identity: each for each in change.put}
    left = [each for identity, each in objects.items() if identity not in change.removed]
    pods = {each.key: each for each in (*running.pods, *change.pods)}
    return replace(
        running,
        pods=tuple(pods.values()),
        services=tuple(each for each in left if isinstance(each, Service)),
        others=tuple(each for each in left if not isinstance(each, Service)),
    )


def refuse(wrong: Sequence[str]) -> None:
    """Raise `InputError` with all that is `wrong`, if anything is."""
    if wrong:
        raise InputError("\n".join(wrong))


def _outcome(before: Object | None, after: Object) -> Outcome:
    if before is None:
        return "created"
    return "unchanged" if before == after or plain(before) == plain(after) else "configured"


def _refusals(
    before: Object | None, after: Object, live: Collection[str], kinds: KnownKinds, cure: str
) -> Iterator[str]:
    """Yield why a running lab can't take `after`; a Namespace or ServiceAccount that it has not met is only a name."""
    if isinstance(after, Pod):
        if before is None:
            yield f"{title(after)} is not in the lab, and a running lab gets no new pods: {cure}"
        elif path := _fixed_path(before, after, live):
            yield f"{title(after)}: {path}: a running pod can't be changed there: {cure}"
    elif before is None:
        return
    elif after.kind in kinds.stored:
        yield from (f"{title(after)}: {problem}" for problem in kinds.stored[after.kind].fixed(before, after))
    elif _outcome(before, after) != "unchanged":
        yield f"{title(after)}: a running lab takes no other {after.kind}: {cure}"


def _not_mentioned(running: Manifest, wanted: Manifest, kinds: KnownKinds) -> tuple[Object, ...]:
    mentioned = {each.identity for each in wanted.objects}
    return tuple(each for each in kinds.stored_in(running) if each.identity not in mentioned)


def _fixed_path(before: Object, after: Object, live: Collection[str]) -> str | None:
    """Return the path of the first field that differs and may not."""
    if before == after:
        return None
    was, will = plain(before), plain(after)
    for annotations in (was, will):
        metadata = annotations["metadata"] = {**annotations["metadata"]}
        metadata.pop("labels", None)
        kept = {name: value for name, value in metadata.pop("annotations", {}).items() if name not in live}
        if kept:
            metadata["annotations"] = kept
    return next(_differences(was, will, ""), None)


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
