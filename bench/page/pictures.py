"""The figures inside the page: each SVG as a data URI, with words for whoever cannot see it and on how to read it."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.page.html import Markup, element, join, scrolling


class Words(NamedTuple):
    """What is said of a figure: what it shows (to whoever cannot see it) and how to read it."""

    shows: str
    reading: str


_WORDS: Final = {
    "overhead": Words(
        "Overhead of each arm over the reference, with intervals, every lab build and the noise band",
        "The main figure: what each arm adds. A bar is the 95 % interval, a pale dot one lab build, the band the "
        "difference between two identical arms. The axis is linear up to 5 \N{MICRO SIGN}s and logarithmic beyond.",
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


def pictures(paths: Sequence[Path], answer: str) -> Markup:
    """Embed each SVG among `paths`; `answer` is what the main figure says, in words."""
    return join([_picture(path, answer) for path in paths if path.suffix == ".svg"])


def _picture(path: Path, answer: str) -> Markup:
    drawn = path.read_bytes()
    shows, reading = _WORDS[path.stem]
    box = _VIEW_BOX.search(drawn[:2000].decode("utf-8", errors="replace"))
    width, height = (str(round(float(each))) for each in box.groups()) if box else (None, None)
    alt = f"{shows}. {answer}" if path.stem == "overhead" else f"{shows}. The tables below have its numbers."
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawn).decode('ascii')}"
    image = element("img", src=source, alt=alt, width=width, height=height)
    caption = element("figcaption", reading)
    return element("figure", scrolling(shows, image, kind="picture"), caption, id=f"figure-{path.stem}")
