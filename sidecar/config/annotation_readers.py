"""The type of annotations, and readers for the simple ones. Pure.

The agent, which is in every meshed pod, imports it: so it depends neither on manifests nor on rules.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidelab.lab.errors import InputError

Word = TypeVar("Word", bound=str)
Value = TypeVar("Value")
Reader = Callable[[str, str], Value]
"""Called with the annotation's name for messages, and its text; raises `InputError` for a text that is wrong."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DAY_S = 86400


@dataclass(frozen=True)
class Annotation(Generic[Value]):
    """An annotation: its name, its reader, and the text that applies if a pod does not have it.

    `live` is true if a running pod follows its changes.
    """

    name: str
    reader: Reader[Value]
    default: str
    live: bool = False

    def text(self, annotations: Mapping[str, str]) -> str:
        """Return its text in a pod's annotations, or the default text."""
        return annotations.get(self.name, self.default)

    def read(self, annotations: Mapping[str, str]) -> Value:
        """Return its value. Raises `InputError` naming the annotation."""
        return self.reader(f"annotation {self.name}", self.text(annotations))

    def given(self, annotations: Mapping[str, str]) -> Value | None:
        """Return its value, None if the pod does not have it. Raises what `read` raises."""
        return self.read(annotations) if self.name in annotations else None


def refuse(name: str, text: str, accepted: str) -> InputError:
    """Return the error for an annotation whose text is not what is `accepted`."""
    return InputError(f"{name}: {text!r} is not accepted here: give {accepted}")


def any_text(name: str, text: str) -> str:
    """Return `text`: any text is valid."""
    del name
    return text


def one_of(*words: Word) -> Reader[Word]:
    """Return a reader of one of `words`; messages leave out an empty one."""

    def read(name: str, text: str) -> Word:
        for word in words:
            if word == text:
                return word
        raise refuse(name, text, f"one of {', '.join(filter(None, words))}")

    return read


def matching(pattern: str, accepted: str) -> Reader[str]:
    """Return a reader of text that matches `pattern` as a whole (ASCII); messages describe it as `accepted`."""
    compiled = re.compile(pattern, re.ASCII)

    def read(name: str, text: str) -> str:
        if not compiled.fullmatch(text):
            raise refuse(name, text, accepted)
        return text

    return read


def number(low: int, high: int, what: str = "a number") -> Reader[int]:
    """Return a reader of a decimal number between `low` and `high`."""

    def read(name: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
            raise refuse(name, text, f"{what}, {low} to {high}")
        return int(text)

    return read


def duration_s(name: str, text: str) -> float:
    """Return a duration like `100ms`, `5s` or `1m`, greater than 0 and below a day, in seconds."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < _DAY_S:
        raise refuse(name, text, "a duration greater than 0, like 100ms or 5s")
    return seconds
