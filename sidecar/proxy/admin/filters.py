r"""Filters of the admin pages: the subset of regular expressions that takes linear time without a library. Pure.

Plain characters, `.`, `.*`, `.+`, classes such as `[a-z]` and `\d`, alternatives in groups, `?`, and the anchors `^`
and `$`: what people use to search for counters. Envoy uses RE2. With Python's `re` one request could block the proxy,
and RE2 would cost every proxy 3 MB and 20 ms.
"""

from collections.abc import Iterable
from typing import Final

LONGEST = 256
_MOST_ALTERNATIVES = 64

_ANY: Final = None
_GAP: Final = ""
Token = str | frozenset[str] | None
"""A character, a set to choose one from, any one character (`_ANY`), or any number of characters (`_GAP`)."""

Tokens = tuple[Token, ...]

_DIGITS = frozenset("0123456789")
_WORD = frozenset("_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": frozenset(" \t\n\r\f")}
_QUANTIFIERS = "*+?{"


class BadFilterError(ValueError):
    """The expression is wrong, or uses something not supported here; `str()` says what."""


class Filter:
    """An expression that a name must match somewhere."""

    def __init__(self, text: str) -> None:
        """Read `text`; raises `BadFilterError`."""
        if len(text) > LONGEST:
            raise BadFilterError(f"it is longer than {LONGEST} characters")
        self._alternatives = [_Alternative(tokens) for tokens in _Reader(text).read()]

    def matches(self, name: str) -> bool:
        """Return whether `name` matches; the time is proportional to its length."""
        return any(each.matches(name) for each in self._alternatives)


class _Alternative:
    """Pieces of fixed length with gaps between them, each searched for after the previous one."""

    def __init__(self, tokens: Tokens) -> None:
        self._from_start = tokens[:1] == ("^",) and isinstance(tokens[0], _Anchor)
        self._to_end = tokens[-1:] == ("$",) and isinstance(tokens[-1], _Anchor)
        inner = tokens[self._from_start : len(tokens) - self._to_end]
        if any(isinstance(each, _Anchor) for each in inner):
            raise BadFilterError("^ and $ are understood at the ends only")
        pieces: list[list[Token]] = [[]]
        for token in inner:
            if token == _GAP:
                pieces.append([])
            else:
                pieces[-1].append(token)
        self._first, *rest = [tuple(each) for each in pieces]
        self._rest = [each for each in rest if each]
        self._open_end = bool(rest) and not rest[-1]

    def matches(self, name: str) -> bool:
        to_end = self._to_end and not self._open_end
        at = 0 if self._from_start else _found(self._first, name, 0)
        if at is None or not _fits(self._first, name, at):
            return False
        if to_end and not self._rest:
            last = len(name) - len(self._first)
            return last == at if self._from_start else last >= at and _fits(self._first, name, last)
        at += len(self._first)
        for piece in self._rest[: len(self._rest) - to_end]:
            found = _found(piece, name, at)
            if found is None:
                return False
            at = found + len(piece)
        if not to_end:
            return True
        last = len(name) - len(self._rest[-1])
        return last >= at and _fits(self._rest[-1], name, last)


def _fits(piece: Tokens, name: str, at: int) -> bool:
    return at + len(piece) <= len(name) and all(
        token is _ANY or name[at + place] in token for place, token in enumerate(piece)
    )


def _found(piece: Tokens, name: str, at: int) -> int | None:
    return next((each for each in range(at, len(name) - len(piece) + 1) if _fits(piece, name, each)), None)


class _Anchor(str):
    """`^` or `$` that is not escaped."""

    __slots__ = ()


class _Reader:
    """Reads an expression into all of its alternatives, as sequences of tokens."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self) -> list[Tokens]:
        found = self._choices()
        if self._at < len(self._text):
            raise BadFilterError("a ) has no (")
        return found

    def _choices(self) -> list[Tokens]:
        found: list[Tokens] = []
        while True:
            found += self._sequence()
            if not self._take("|"):
                return _bounded(found)

    def _sequence(self) -> list[Tokens]:
        found: list[Tokens] = [()]
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            atoms = self._quantified(self._atom())
            found = _bounded(before + after for before in found for after in atoms)
        return found

    def _atom(self) -> list[Tokens]:
        character = self._next()
        match character:
            case "(":
                self._at += 2 * self._text.startswith("?:", self._at)
                found = self._choices()
                if not self._take(")"):
                    raise BadFilterError("a ( has no )")
                return found
            case "[":
                return [(self._one_of(),)]
            case "\\":
                return [(self._escaped(),)]
            case ".":
                return [(_ANY,)]
            case "^" | "$":
                return [(_Anchor(character),)]
            case _ if character in _QUANTIFIERS:
                raise BadFilterError(f"nothing stands before {character}")
            case _:
                return [(character,)]

    def _quantified(self, atoms: list[Tokens]) -> list[Tokens]:
        if self._take("?"):
            return [*atoms, ()]
        for quantifier, repeated in (("*", (_GAP,)), ("+", (_ANY, _GAP))):
            if self._take(quantifier):
                if atoms != [(_ANY,)]:
                    raise BadFilterError(f"{quantifier} is understood behind a dot only")
                self._take("?")
                return [repeated]
        if self._text[self._at : self._at + 1] == "{":
            raise BadFilterError("{} is not understood")
        return atoms

    def _one_of(self) -> frozenset[str]:
        characters: set[str] = set()
        if self._take("^"):
            raise BadFilterError("[^…] is not understood")
        while not self._take("]"):
            first = self._next()
            begin = self._escaped() if first == "\\" else first
            ahead = self._text[self._at : self._at + 2]
            if isinstance(begin, str) and ahead[:1] == "-" and ahead != "-]":
                self._at += 1
                end = self._next()
                if not begin <= end <= "~":
                    raise BadFilterError(f"{begin}-{end} is not a range of ASCII")
                characters.update(map(chr, range(ord(begin), ord(end) + 1)))
            else:
                characters.update(begin)
        return frozenset(characters)

    def _escaped(self) -> str | frozenset[str]:
        character = self._next()
        if character in _CLASSES:
            return _CLASSES[character]
        if character.isalnum():
            raise BadFilterError(f"\\{character} is not understood")
        return character

    def _next(self) -> str:
        if self._at >= len(self._text):
            raise BadFilterError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, character: str) -> bool:
        found = self._text.startswith(character, self._at)
        self._at += found
        return found


def _bounded(found: Iterable[Tokens]) -> list[Tokens]:
    kept: list[Tokens] = []
    for each in found:
        kept.append(each)
        if len(kept) > _MOST_ALTERNATIVES:
            raise BadFilterError(f"it has more than {_MOST_ALTERNATIVES} alternatives")
    return kept
