"""Expressions become attributes and attributes become expressions, both by the table in `forms`. Pure.

Source: Linux' nf_tables.h (enum nft_list_attributes, enum nft_expr_attributes).
"""

from functools import lru_cache

from sidelab.lab.netlink.attributes import LIST_ELEMENT, NESTED, TEXT, attribute, contents, pack, read
from sidelab.lab.netlink.nftables.forms import FORMS, Form
from sidelab.lab.netlink.nftables.objects import Choice, Expression, Lookup, Unknown

NAME, DATA = 1, 2  # NFTA_EXPR_*

_BY_TYPE: dict[type, list[Form]] = {}
_BY_NAME: dict[str, list[Form]] = {}
for _form in FORMS:
    _BY_TYPE.setdefault(_form.type, []).append(_form)
    _BY_NAME.setdefault(_form.type._field_defaults["name"], []).append(_form)
_NAMES = {name: attribute(NAME, TEXT.pack(name)) for name in _BY_NAME}


@lru_cache(maxsize=4096)
def encode(expression: Expression) -> bytes:
    """Return one element of a rule's list of expressions.

    Raises `ValueError` for what a rule can't say: unknown expressions, and what has a set or map of its own, but for
    references to that.
    """
    if isinstance(expression, Unknown | Lookup | Choice):
        raise ValueError(f"the expression {expression.name!r} can only be read")  # noqa: TRY004 - its type is fine
    data = pack(_form_of(expression).attributes, expression)
    return attribute(LIST_ELEMENT | NESTED, _NAMES[expression.name] + attribute(DATA | NESTED, data))


def decode(element: bytes) -> Expression:
    """Return the expression in an element of a rule's list; `Unknown` if it does more or else than ours can say."""
    found = contents(element)
    name, data = TEXT.read(found[NAME]), found.get(DATA, b"")
    for form in _BY_NAME.get(name, ()):
        try:
            return _read(form, data)
        except ValueError:
            continue
    return Unknown(name, data)


def _form_of(expression: Expression) -> Form:
    first, *others = _BY_TYPE[type(expression)]
    if not others:
        return first
    return next(
        f for f in (first, *others) if all(getattr(expression, field) == value for field, value in f.so.items())
    )


def _read(form: Form, data: bytes) -> Expression:
    found = read(form.attributes, data, strict=True)
    fields = {field: value for field, value in found.items() if field in form.type._fields}
    made: Expression = form.type(**fields, **form.so)
    # What is no field follows from the fields: here it must be what they say.
    if any(getattr(made, field) != value for field, value in found.items()):
        raise ValueError(f"{made} is not all that {found} says")
    return made
