"""YAML text to plain values and back, as strictly as a manifest needs it and as kubectl reads it.

Values are built straight from libyaml's events: a third faster than PyYAML's loader, and nesting, anchors and duplicate
keys are refused where they stand, before anything grows. Plain scalars mean what they mean to kubectl (go-yaml v2, that
is YAML 1.1 without sexagesimal numbers and dates). This file knows nothing of Kubernetes.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import yaml
from yaml._yaml import CParser
from yaml.cyaml import CSafeDumper
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from sidelab.lab.base.text import escapes
from sidelab.lab.errors import InputError

MAX_DEPTH = 64

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
}
_NUMBER_START = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(?:0[bB][01]+|0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[0-7]*|[1-9][0-9]*)")
_OLD_OCTAL = re.compile(r"\A([-+]?)0([0-7])")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 64
_COMMANDING = re.compile(r"(?:^|\s)::|##", re.MULTILINE)  # what a CI system may obey at the beginning of a line


class Document(NamedTuple):
    """One YAML document: its number in the file and its first line, both from 1, and what it says."""

    number: int
    line: int
    value: Any


def read_documents(source: str, text: str) -> Iterator[Document]:
    """Yield the documents of `text` as dict, list, str, int, float, bool or None; empty ones are left out.

    Raises `InputError` naming `source`, document, line and cure: for what is not YAML, for anchors, aliases, tags,
    duplicate keys, keys that are not text, numbers JSON can't carry, and nesting beyond `MAX_DEPTH`.
    """
    try:
        yield from _Reader(source, text).documents()
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax_message(source, text, error)) from None
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", None) or "it can't be read"
        raise InputError(f"{source}: not YAML: {reason}; a manifest is plain UTF-8 text") from None
    except UnicodeEncodeError:
        raise InputError(f"{source}: not YAML: half of a surrogate pair; write plain UTF-8 text") from None


def write_documents(values: Iterable[object]) -> str:
    """Return `values` as YAML documents, each after `---`; `read_documents` gives the same values back."""
    return str(
        yaml.dump_all(
            values,
            Dumper=_Dumper,
            allow_unicode=True,
            default_flow_style=False,
            explicit_start=True,
            sort_keys=False,
            width=1000,
        )
    )


def scalar(text: str) -> str | int | float | bool | None:
    """Return what a plain (unquoted) scalar means; raises `ValueError` for a number that JSON can't carry."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    digits = text.replace("_", "")
    whole = _INTEGER.fullmatch(digits)
    if not (whole or _FLOAT.fullmatch(digits) or _NOT_FINITE.fullmatch(text)):
        return text
    if len(text) <= _MAX_DIGITS:
        if whole:
            return int(_OLD_OCTAL.sub(r"\g<1>0o\2", digits), 0)
        if not _NOT_FINITE.fullmatch(text) and math.isfinite(number := float(digits)):
            return number
    raise ValueError(f"{text:.40} is a number that JSON can't carry; put it in quotes if it is text")


class _Reader:
    """Builds values from the events of one text."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._next: Callable[[], Any] = CParser(text).get_event
        self._number = 0

    def documents(self) -> Iterator[Document]:
        while True:
            event = self._next()
            kind = type(event)
            if kind is StreamEndEvent:
                return
            if kind is DocumentStartEvent:
                self._number += 1
                first = self._next()
                value = self._value(first, 1)
                if value is not None:
                    yield Document(self._number, first.start_mark.line + 1, value)

    def _value(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is AliasEvent:
            self._refuse(event, f"the alias *{event.anchor} is not accepted; write the value out")
        if event.anchor is not None:
            self._refuse(event, f"the anchor &{event.anchor} is not accepted; write the value out where it is used")
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag!r:.80} is not accepted; remove it, and quote what is text")
        if kind is ScalarEvent:
            return self._scalar(event)
        if depth > MAX_DEPTH:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels; a manifest needs about 15")
        return self._mapping(depth) if kind is MappingStartEvent else self._sequence(depth)

    def _scalar(self, event: Any) -> Any:
        text = event.value
        if not event.implicit[0]:
            if "\0" in text:
                self._refuse(event, "text with a NUL character is not accepted; remove the \\0")
            return text
        try:
            return scalar(text)
        except ValueError as error:
            self._refuse(event, str(error))

    def _mapping(self, depth: int) -> dict[str, Any]:
        following, scalar_of, value_of = self._next, self._scalar, self._value
        out: dict[str, Any] = {}
        while type(event := following()) is not MappingEndEvent:
            key = value_of(event, depth + 1)
            if type(key) is not str:
                shown = getattr(event, "value", "that begins here")
                self._refuse(event, f"the key {shown:.40} is not text; put it in quotes")
            if key == "<<" and event.implicit[0]:
                self._refuse(event, "the merge key << is not accepted; write the fields out")
            if key in out:
                self._refuse(event, f"the key {key!r:.80} is there twice; remove one")
            event = following()
            # Most values are untagged scalars: they need no second look.
            if type(event) is ScalarEvent and event.anchor is None and event.tag is None:
                out[key] = scalar_of(event)
            else:
                out[key] = value_of(event, depth + 1)
        return out

    def _sequence(self, depth: int) -> list[Any]:
        out = []
        while type(event := self._next()) is not SequenceEndEvent:
            out.append(self._value(event, depth + 1))
        return out

    def _refuse(self, event: Any, problem: str) -> Any:
        line = event.start_mark.line + 1
        raise InputError(f"{self._source}: document {self._number}, line {line}: {problem}")


def _syntax_message(source: str, text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return f"{source}: not YAML: {error.problem}"
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    indentation = len(line) - len(line.lstrip())
    if "\t" in line[: max(indentation, mark.column + 1)]:
        return f"{source}: line {mark.line + 1}: there is a tab; YAML wants spaces"
    place = f"line {mark.line + 1}, column {mark.column + 1}"
    return f"{source}: {place}: not YAML: {error.problem}; see the lines just before"


class _Dumper(CSafeDumper):
    """PyYAML's safe dumper, without anchors, quoting whatever `scalar` would not read back as text."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  the signature is PyYAML's
        return True

    def text(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=_style(data))


def _style(data: str) -> str | None:
    if (not data.isprintable() and escapes.visible(data) != data) or _COMMANDING.search(data):
        return '"'  # whatever escapes it on its way to a terminal means the same in double quotes
    if "\n" in data and data.isascii() and not data[0].isspace() and data.replace("\n", "").isprintable():
        return "|"
    try:
        return None if isinstance(scalar(data), str) else "'"
    except ValueError:
        return "'"


_Dumper.add_representer(str, _Dumper.text)
