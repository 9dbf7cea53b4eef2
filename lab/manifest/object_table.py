"""What `get` shows: the objects that are meant, as rows of their kind's table or as in a manifest. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from sidelab.lab.errors import InputError
from sidelab.lab.manifest.kinds import Object
from sidelab.lab.manifest.registered import KnownKinds, RegisteredKind, not_found, reference
from sidelab.lab.manifest.yaml.encode import plain

MAX_BYTES = 8_000_000
"""Of all objects that are shown as in a manifest; a message of the control socket has room for twice as much."""

_MOST_NAMES = 10_000


class AskedObjects(msgspec.Struct, frozen=True, kw_only=True):
    """Which objects: words for kinds, each with an object's name or None for all; no word means all kinds.

    `namespace` None means all of them. With `values` the answer has objects as in a manifest, else cells, of `wide`
    columns, too.
    """

    wanted: Annotated[tuple[tuple[str, str | None], ...], msgspec.Meta(max_length=_MOST_NAMES)] = ()
    namespace: str | None = None
    wide: bool = False
    values: bool = False


def tables(
    asked: AskedObjects, kinds: KnownKinds, objects: Sequence[Object], live: Callable[[Object], Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Return a table, as plain values, for each kind that is wanted and has objects.

    `live` says what columns show beside what an object says itself. Raises `InputError` for all words and names that
    are unknown here, and for more than fits into one answer.
    """
    out, wrong = [], []
    for kind, names in _chosen(asked, kinds).items():
        found = [each for each in objects if each.kind == kind and _is_in(asked.namespace, each, kinds)]
        there = {each.name for each in found}
        entry = kinds.of(kind)
        wrong += [not_found(entry, name) for name in names if name is not None and name not in there]
        rows = [each for each in found if None in names or each.name in names]
        if rows:
            out.append(_table(asked, entry, rows, live))
    if wrong:
        raise InputError("\n".join(wrong))
    if sum(len(msgspec.json.encode(row.get("value"))) for table in out for row in table["rows"]) > MAX_BYTES:
        raise InputError(f"that is more than {MAX_BYTES // 1_000_000} MB: ask for one KIND, or for some by their NAME")
    return out


def _chosen(asked: AskedObjects, kinds: KnownKinds) -> dict[str, dict[str | None, None]]:
    """Return names by kind, in the order of first mention; raises `InputError` for all words that are no kind."""
    chosen: dict[str, dict[str | None, None]] = {} if asked.wanted else {each.kind: {None: None} for each in kinds}
    wrong = []
    for word, name in asked.wanted:
        try:
            chosen.setdefault(kinds.named(word).kind, {})[name] = None
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        raise InputError("\n".join(dict.fromkeys(wrong)))
    return chosen


def _is_in(namespace: str | None, value: Object, kinds: KnownKinds) -> bool:
    return namespace in (None, value.namespace) or not kinds.of(value.kind).namespaced


def _table(
    asked: AskedObjects, kind: RegisteredKind, objects: Sequence[Object], live: Callable[[Object], Mapping[str, str]]
) -> dict[str, Any]:
    columns = [each for each in kind.columns if asked.wide or not each.wide]

    def rows() -> Iterator[dict[str, Any]]:
        for each in objects:
            names = {"namespace": each.namespace, "name": each.name, "reference": reference(each)}
            if asked.values:
                yield {**names, "value": plain(each)}
            else:
                said = live(each)
                yield {**names, "cells": [column.text(each, said) for column in columns]}

    return {
        "plural": kind.plural,
        "namespaced": kind.namespaced,
        "headings": [each.heading for each in columns],
        "rows": list(rows()),
    }
