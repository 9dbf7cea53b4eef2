"""Make HTML from values, escaped on the way: text stays text, whatever an arm or a caveat is called."""

import html
from collections.abc import Iterable, Mapping

_VOID = ("img", "meta", "source")


class Markup(str):
    """Text that is HTML already; every other string is escaped when it enters an element."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | None) -> Markup:
    """Make an element. In attribute names `_` stands for `-`, a trailing one is dropped; None omits the attribute."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Markup:
    """Put children in a row, escaping those that are not markup."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def section(name: str, title: str, *children: str) -> Markup:
    """Make a section that is named by its heading, and that links can reach."""
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, *children, id=name, aria_labelledby=f"{name}-title")


def definitions(facts: Mapping[str, str]) -> Markup:
    """Make a list of names and their values."""
    pairs = [element("div", element("dt", name), element("dd", said)) for name, said in facts.items()]
    return element("dl", *pairs)


def scrolling(label: str, *children: str, kind: str = "scroll") -> Markup:
    """Make a box that scrolls on its own if it is too narrow, with the keyboard as well."""
    return element("div", *children, class_=kind, role="region", aria_label=label, tabindex="0")


def table(caption: str, headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Markup:
    """Make a table whose first column names its rows, in its own scrolling box."""
    head = element("tr", *(element("th", heading, scope="col") for heading in headings))
    lines = []
    for first, *others in rows:
        cells = (element("td", cell) for cell in others)
        lines.append(element("tr", element("th", first, scope="row"), *cells))
    whole = element(
        "table", element("caption", caption), element("thead", head), Markup("\n"), element("tbody", *lines)
    )
    return scrolling(caption, whole)
