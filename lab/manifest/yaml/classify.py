"""Sorts the fields of one decoded object by the table in `fields`: typed, inert, rejected, unknown.

It walks plain values along the types of the model, before they become values of these types: so the first thing that a
person reads about a misspelt field is its right spelling.
"""

from collections.abc import Callable
from functools import cache
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin

from msgspec.structs import fields as struct_fields

from sidelab.lab.manifest.checks import FieldError, shown
from sidelab.lab.manifest.fields import Inert, Rejected, Rows
from sidelab.lab.manifest.kinds import Part

_EMPTY: tuple[Any, ...] = (None, "", [], {})


class _Child(NamedTuple):
    """A field that holds a part, or a list of them."""

    name: str
    type: type[Part]
    is_list: bool


class _Plan(NamedTuple):
    """What to do with the fields of one type: `honoured` need no look, `typed` have a place in the type."""

    honoured: frozenset[str]
    typed: frozenset[str]
    rows: Rows
    children: tuple[_Child, ...]


def classify(raw: dict[str, Any], kind: type[Part], caveat: Callable[[str, str], None]) -> None:
    """Make `raw` fit `kind`: null fields are dropped, inert ones without a type are moved to "inert".

    `caveat` is called with path and reason for each inert field that says something. Raises `FieldError`, with the
    whole path as its field, for a field that is rejected or unknown. Values of the wrong shape are left for the
    conversion to refuse.
    """
    _classify(raw, kind, "", caveat)


def _classify(raw: dict[str, Any], kind: type[Part], path: str, caveat: Callable[[str, str], None]) -> None:
    plan = _plan(kind)
    if None in raw.values():
        for name in [name for name, value in raw.items() if value is None]:
            _check_known(name, plan, path)
            del raw[name]
    if not raw.keys() <= plan.honoured:
        _sort(raw, plan, path, caveat)
    for name, child, is_list in plan.children:
        value = raw.get(name)
        if is_list and type(value) is list:
            for index, each in enumerate(value):
                if type(each) is dict:
                    _classify(each, child, f"{path}{name}[{index}].", caveat)
        elif not is_list and type(value) is dict:
            _classify(value, child, f"{path}{name}.", caveat)


def _sort(raw: dict[str, Any], plan: _Plan, path: str, caveat: Callable[[str, str], None]) -> None:
    inert = {}
    for name in [name for name in raw if name not in plan.honoured]:
        _check_known(name, plan, path)
        row, value = plan.rows[name], raw[name]
        if value not in row.harmless:
            if isinstance(row, Rejected):
                raise FieldError(path + name, f"{shown(value)} is not accepted here: {row.reason}; {row.cure}")
            if value not in _EMPTY:
                caveat(path + name, row.reason)
        if name not in plan.typed:
            inert[name] = raw.pop(name)
    if inert:
        raw["inert"] = inert


def _check_known(name: str, plan: _Plan, path: str) -> None:
    if name in plan.typed or name in plan.rows:
        return
    # Wanted for this message only, and every start would pay for it.
    from difflib import get_close_matches  # noqa: PLC0415  see the line above

    accepted = sorted(plan.typed | {name for name, row in plan.rows.items() if isinstance(row, Inert)})
    similar = {each.lower(): each for each in (*plan.rows, *plan.typed)}
    near = get_close_matches(name[:80].lower(), similar, n=1)
    hint = f"; did you mean `{similar[near[0]]}`?" if near else ""
    where = path + (name if name.isidentifier() and len(name) < 80 else shown(name))
    raise FieldError(where, f"the field is unknown{hint} (accepted here: {', '.join(accepted)})")


@cache
def _plan(kind: type[Part]) -> _Plan:
    typed = {each.encode_name: each.type for each in struct_fields(kind) if each.name != "inert"}
    children = [child for name, annotation in typed.items() if (child := _child(name, annotation))]
    honoured = frozenset(typed.keys() - kind.rows.keys())
    return _Plan(honoured, frozenset(typed), kind.rows, tuple(children))


def _child(name: str, annotation: Any) -> _Child | None:
    if isinstance(annotation, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    is_list = get_origin(annotation) is tuple
    inner = get_args(annotation)[0] if is_list else annotation
    return _Child(name, inner, is_list) if isinstance(inner, type) and issubclass(inner, Part) else None
