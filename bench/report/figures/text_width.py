"""The width of a text before it is drawn, so that nothing is cut or overprinted."""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Final

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

POINTS_PER_INCH: Final = 72
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"


@cache
def _letters() -> frozenset[int]:
    """Return the code points that the figures' font has."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


@lru_cache(maxsize=8192)
def width_in(said: str, size: float, *, bold: bool = False) -> float:
    """Return the width of one line of text in inches at `size` points."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=size)
    known = "".join(letter for letter in said if ord(letter) in _letters())
    width, _, _ = text_to_path.get_text_width_height_descent(known, font, ismath=False)
    # The PNG rounds each letter's place to a pixel. A letter that the font lacks takes 1 em in a browser's other font.
    return (1.01 * float(width) + size * (len(said) - len(known))) / POINTS_PER_INCH


def widest_in(texts: Sequence[str], size: float, *, bold: bool = False) -> float:
    """Return the width of the widest of several texts in inches; 0 if there are none."""
    return max((width_in(each, size, bold=bold) for each in texts), default=0.0)


def fitted(said: str, room_in: float, size: float, *, bold: bool = False) -> str:
    """Shorten a text in its middle until it fits: names of one family differ at their ends."""
    if width_in(said, size, bold=bold) <= room_in:
        return said
    for kept in range(len(said) - 1, 1, -1):
        head, tail = said[: kept - kept // 2].rstrip(), said[-(kept // 2) :].lstrip()
        if width_in(f"{head}{_ELLIPSIS}{tail}", size, bold=bold) <= room_in:
            return f"{head}{_ELLIPSIS}{tail}"
    return _ELLIPSIS


def wrapped(said: str, room_in: float, size: float, *, bold: bool = False, most: int | None = None) -> list[str]:
    """Break a text into lines that fit; a word that is too long for a line is broken, and so is what exceeds `most`."""
    lines: list[str] = []
    for word in (part for each in said.split() for part in _pieces(each, room_in, size, bold=bold)):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width_in(longer, size, bold=bold) <= room_in:
            lines[-1] = longer
        else:
            lines.append(word)
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], fitted(" ".join(lines[most - 1 :]), room_in, size, bold=bold)]
    return lines


def _pieces(word: str, room_in: float, size: float, *, bold: bool) -> Iterator[str]:
    while width_in(word, size, bold=bold) > room_in and len(word) > 1:
        kept = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or width_in(word[:n], size, bold=bold) <= room_in)
        yield word[:kept]
        word = word[kept:]
    yield word
