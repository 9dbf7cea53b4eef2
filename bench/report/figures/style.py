"""How all figures look: colours on a light and a dark background, type, and the look of an arm in every figure."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

import matplotlib as mpl

from sidelab.bench.plan.plan import Connection, Plan

Dash = Literal["-", "--", "-.", ":"]

# Okabe and Ito's palette, distinguishable with any colour vision (https://jfly.uni-koeln.de/color/).
BLACK: Final = "#111111"  # every colour is written out, so that each can be replaced on a dark background
WHITE: Final = "#ffffff"
ORANGE: Final = "#e69f00"
SKY: Final = "#56b4e9"
GREEN: Final = "#009e73"
YELLOW: Final = "#f0e442"
BLUE: Final = "#0072b2"
VERMILION: Final = "#d55e00"
PURPLE: Final = "#cc79a7"
GREY: Final = "#5f5f5f"
PALE: Final = "#dddddd"
FLOOR: Final = "#bfe1f6"
ON_LIGHT: Final = "#010101"
"""Text on a fill that is light on either background."""
ON_BLUE: Final = "#fefefe"

_DEEP_ORANGE: Final = "#b87d00"
_DEEP_SKY: Final = "#3898d0"
_DEEP_PURPLE: Final = "#b85c8e"
"""The three palest of that palette, a shade darker: a line on white needs a contrast of 3:1 (WCAG 2, 1.4.11)."""

DARK: Final = {
    BLACK: "#eceef0",
    WHITE: "#15181b",
    GREY: "#a9b0b7",
    PALE: "#3a4046",
    FLOOR: "#234a63",
    BLUE: "#3f8fd9",
    VERMILION: "#ff7f32",
    GREEN: "#20b88c",
    ON_BLUE: "#020202",
    _DEEP_ORANGE: "#dba11c",
    _DEEP_SKY: "#8ed0f7",
    _DEEP_PURPLE: "#d98bb8",
}
"""The replacement of a colour on a dark background, the page's; a colour that is missing here serves on both."""

CONNECTION_TITLE: Final[dict[Connection, str]] = {
    "new": "new connection per request",
    "keep-alive": "kept-alive connection",
}

OVERHEADS: Final = {
    ("new", "connect"): "new connection: connect",
    ("new", "total"): "new connection: total",
    ("keep-alive", "total"): "kept alive: total",
}
"""The overheads that have their own panel, by connection and phase, with their titles."""

ARM_COLOURS: Final = (BLUE, VERMILION, GREEN, _DEEP_PURPLE, _DEEP_ORANGE, _DEEP_SKY)
_ARM_DASHES: Final[tuple[Dash, ...]] = ("-", "--", "-.", ":")
_ARM_MARKERS: Final = ("D", "s", "o", "^", "v", "P", "X")

RC: Final[Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same glyphs everywhere
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": BLACK,
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": BLACK,
    "xtick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.color": GREY,
    "ytick.labelcolor": BLACK,
    "text.hinting": "none",  # text is equally wide in PNG and SVG, as measured beforehand
    "text.parse_math": False,  # a dollar in a caveat is a dollar
    "svg.hashsalt": "sidelab",  # element ids are derived from it; without it they are random
    "svg.fonttype": "path",
    "path.simplify": True,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Use this style during the block, whatever else the process draws."""
    with mpl.rc_context(RC), warnings.catch_warnings():
        # A name may have letters that the font lacks: they are boxes in the files, and letters on the page.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


class Look(NamedTuple):
    """How an arm differs from the others: by colour, and by dash or marker for people who see no colour."""

    colour: str
    dash: Dash
    marker: str


def looks(plan: Plan) -> dict[str, Look]:
    """Return every arm's look in all figures: the reference is black, its twin grey and dashed."""
    fixed = {plan.reference: Look(BLACK, "-", "o"), plan.twin: Look(GREY, "--", "o")}
    others = [arm.name for arm in plan.arms if arm.name not in fixed]
    fixed |= zip(others, in_turn(len(others)), strict=True)
    return {arm.name: fixed[arm.name] for arm in plan.arms}


def in_turn(count: int) -> list[Look]:
    """Return `count` looks; up to 24 differ in colour or dash, and up to 84 if markers count as well."""
    found = []
    for number in range(count):
        # 6 colours and 4 dashes have a common divisor: a shift after 12 arms makes 24 different pairs of them.
        dash = _ARM_DASHES[(number + number // 12) % len(_ARM_DASHES)]
        colour, marker = ARM_COLOURS[number % len(ARM_COLOURS)], _ARM_MARKERS[number % len(_ARM_MARKERS)]
        found.append(Look(colour, dash, marker))
    return found
