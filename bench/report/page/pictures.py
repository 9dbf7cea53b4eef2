"""The figures inside the page: each SVG as a data URI, with a text alternative and a note on how to read it."""

import base64
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from sidelab.bench.report.figures import Drawn
from sidelab.bench.report.page.html import Markup, element, join


class Words(NamedTuple):
    """The words for a figure: what it shows (for readers who cannot see it) and how to read it."""

    shows: str
    reading: str


_WORDS: Final = {
    "overhead": Words(
        "Overhead of each arm over the reference, with intervals, every lab build and the noise band",
        "The main figure: what each arm adds. A bar is the 95 % interval, a pale dot one lab build, the band the "
        "difference between two identical arms. The axis is linear; what is small is drawn again close to 0.",
    ),
    "waterfall": Words(
        "Waterfall of what each part of interception adds, from none to all",
        "What each part adds, with its interval. Parts that make up a whole hang from each other, from top to bottom.",
    ),
    "scaling": Words(
        "Overhead against the number of extra rules in the pod, a line per kind of arm",
        "A level line means that more rules cost nothing; only new connections walk them.",
    ),
    "phases": Words(
        "Median time of a request by curl's phases, a stacked bar per arm",
        "Where the time goes, in curl's words. Rules cost in connect, a proxy before the first byte.",
    ),
    "ecdf": Words(
        "Share of requests that took at most so long, a line per arm, from the fastest to the slowest",
        "Every request, tail included: the further right a line runs, the slower that share of requests.",
    ),
    "ratios": Words(
        "One arm's cost as a multiple of another's, with intervals and targets",
        "Left of 1 the first arm costs less. A flag is the target, and points to the side where it is met.",
    ),
    "rates": Words(
        "Latency percentiles of each arm at a fixed rate of requests, with CPU and memory of the proxies",
        "Open loop: latency counts from the intended start, so waiting in a queue is part of it.",
    ),
}
_VIEW_BOX: Final = re.compile(r'viewBox="0 0 ([\d.]+) ([\d.]+)"')
_NARROW: Final = "screen and (max-width: 52rem)"
"""Below this width the panels of a figure are below each other; paper is wide enough for the wide figure."""


def pictures(drawn: Sequence[Drawn], answer: str) -> Markup:
    """Embed each figure, for wide and for narrow screens; `answer` is the main figure's message in words."""
    return join([_picture(each, answer) for each in drawn])


def _picture(drawn: Drawn, answer: str) -> Markup:
    shows, reading = _WORDS[drawn.name]
    alt = f"{shows}. {answer}" if drawn.name == "overhead" else f"{shows}. The tables below have its numbers."
    narrow, wide = (_size(svg) for svg in (drawn.narrow, drawn.wide))
    source = element("source", media=_NARROW, srcset=_data(drawn.narrow), **narrow)
    image = element("img", src=_data(drawn.wide), alt=alt, **wide)
    caption = element("figcaption", reading)
    return element("figure", element("picture", source, image), caption, id=f"figure-{drawn.name}")


def _size(svg: str) -> dict[str, str]:
    """Return a picture's size, so that the page reserves its place before it is decoded."""
    box = _VIEW_BOX.search(svg[:2000])
    return (
        dict(zip(("width", "height"), (str(round(float(each))) for each in box.groups()), strict=True)) if box else {}
    )


def _data(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode('ascii')}"
