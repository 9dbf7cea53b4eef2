import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import drawn
import matplotlib as mpl
import numpy as np
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.transforms import Bbox

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge import decomposition
from sidelab.bench.plan import plan as plans
from sidelab.bench.report import figures
from sidelab.bench.report.figures import (
    history_figure,
    openloop_estimates,
    overhead,
    rates,
    ratios_figure,
    scales,
    scaling,
    style,
    waterfall,
)
from sidelab.bench.report.figures.figure_files import adaptive, save
from sidelab.bench.report.figures.sheet import FILE, NARROW, WIDE
from sidelab.bench.report.figures.text_width import fitted, width_in, wrapped

pytestmark = pytest.mark.slow

FOOT = ("µs", "n = ", "AMD EPYC", "Caveats: simulated")
COLOUR = re.compile("#[0-9a-f]{6}")
MEDIA = {"file": FILE, "phone": NARROW}


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    """Draw as the program does."""
    with style.drawing():
        yield


def texts(figure: object) -> list[str]:
    """Return every text of a figure: titles, labels, feet, legends."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def boxes(figure: object) -> list[tuple[str, Bbox]]:
    """Lay a figure out, and return every text that it shows with its place."""
    figure.draw_without_rendering()
    unseen = set()  # matplotlib keeps a label beyond each end of an axis, and does not draw it
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        room = 1e-9 * (high - low)
        unseen |= {tick.label1 for tick in axis.get_major_ticks() if not low - room <= tick.get_loc() <= high + room}
    shown = [text for text in figure.findobj(mpl.text.Text) if text.get_text().strip() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in shown if text not in unseen]


def faults(figure: object) -> list[str]:
    """Return the texts that a figure cuts off at its edges, and the pairs that it prints over each other."""
    found = boxes(figure)
    width, height = figure.bbox.size
    cut = [
        f"cut: {said}" for said, box in found if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    corners = np.array([box.extents for _, box in found])
    # A line of text has a point of air above and below it.
    across = np.minimum.outer(corners[:, 2], corners[:, 2]) - np.maximum.outer(corners[:, 0], corners[:, 0])
    down = np.minimum.outer(corners[:, 3], corners[:, 3]) - np.maximum.outer(corners[:, 1], corners[:, 1])
    pairs = np.argwhere(np.triu((across > 1) & (down > 2.5), 1))
    return cut + [f"over: {found[one][0]} / {found[other][0]}" for one, other in pairs]


@pytest.fixture(scope="module")
def everything() -> dict[str, pictures.Make]:
    """Find runs for each kind of figure, as they are and at their worst."""
    return pictures.everything()


@pytest.fixture(scope="module", params=MEDIA)
def made(request: pytest.FixtureRequest, everything: dict[str, pictures.Make]) -> dict[str, object]:
    """Draw all of them, for a file or for a phone."""
    with style.drawing():
        return {name: make(MEDIA[request.param]) for name, make in everything.items()}


def test_no_figure_cuts_a_word_off_or_prints_over_another(made: dict[str, object]):
    """With few arms and many, intervals of any size, unknown values and strange names, every text can be read."""
    assert {} == {name: found for name, figure in made.items() if (found := faults(figure))}


def test_what_is_not_known_is_no_number(made: dict[str, object]):
    """No figure shows what Python calls an unknown value, unless somebody named an arm so."""
    unknown = re.compile(r"\b(nan|inf|None)\b")
    found = {name: [said for said in texts(figure) if unknown.search(said)] for name, figure in made.items()}
    assert {"odd names"} == {name for name, said in found.items() if said}


def test_a_checker_that_finds_faults():
    """A text beyond the edge and two at one place are found."""
    figure = mpl.figure.Figure(figsize=(2, 1))
    for place, said in (((0.9, 0.5), "beyond the edge"), ((0.1, 0.2), "one"), ((0.1, 0.2), "other")):
        figure.text(*place, said)
    assert ["cut: beyond the edge", "over: one / other"] == faults(figure)


def test_every_file_says_where_it_comes_from(everything: dict[str, pictures.Make]):
    """Units, n, machine and caveats, or for a history the plan and what is left out, stand under each figure."""
    wanted = dict.fromkeys(("two arms: overhead", "terms", "rules", "rates", "Istio's rate", "ratios"), FOOT)
    for name, each in (wanted | {"history of 4": ("µs", "runs of plan", "Left out")}).items():
        said = " ".join(texts(everything[name](FILE)))
        assert [] == [part for part in each if part not in said], name


def test_the_page_says_once_what_all_figures_have_in_common(everything: dict[str, pictures.Make]):
    """On the page a figure has its own notes, and neither machine nor caveats."""
    said = " ".join(texts(everything["reference run: overhead"](WIDE)))
    assert "the client's connect is the handshake with its own proxy" in said
    assert [] == [each for each in ("Machine:", "Caveats:", "n = ") if each in said]


def test_same_bytes_from_same_data(tmp_path: Path, everything: dict[str, pictures.Make]):
    """A figure is the same byte for byte when it is drawn again, in its files and on the page."""

    def drawn_once() -> list[bytes]:
        kept = [path.read_bytes() for path in save(everything["rates"](FILE), tmp_path / "rates")]
        return [*kept, adaptive(everything["rates"](NARROW)).encode()]

    assert drawn_once() == drawn_once()


def test_the_figures_are_those_that_the_run_has_data_for(tmp_path: Path):
    """A plan that scales its rules gets that figure after the main one; one without terms has no waterfall."""
    found = figures.draw(drawn.scaling(), tmp_path)
    assert ["overhead", "scaling", "phases", "ecdf"] == [each.name for each in found]


def test_a_dark_ground_has_colours_of_its_own(tmp_path: Path, everything: dict[str, pictures.Make]):
    """Beside each SVG stands one for a dark ground: the same picture without the colours that would not be seen."""
    path, _ = save(everything["two arms: overhead"](FILE), tmp_path / "overhead")
    light, dark = path.read_text(), (tmp_path / "overhead-dark.svg").read_text()
    assert len(light) == len(dark)
    assert set(COLOUR.findall(light)) & set(style.DARK)
    assert not set(COLOUR.findall(dark)) & set(style.DARK)


def test_on_the_page_colours_follow_the_reader(everything: dict[str, pictures.Make]):
    """The page's SVGs name no colour that has a dark counterpart: a rule chooses, and paper is light."""
    drawn_svg = adaptive(everything["two arms: overhead"](NARROW))
    rules, _, rest = drawn_svg.partition("</style>")
    assert "@media screen and (prefers-color-scheme:dark)" in rules
    assert set() == set(COLOUR.findall(rest)) & set(style.DARK)


def luminance(colour: str) -> float:
    """Compute WCAG 2's relative luminance."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    """Compute WCAG 2's contrast of two colours."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [style.WHITE, style.DARK[style.WHITE]])
def test_colours_are_seen_on_their_ground(ground: str):
    """Text has the contrast of WCAG's level AA, 4.5, and an arm's line 3, on light and on dark ground."""
    shown = style.DARK if ground != style.WHITE else {}
    found = {each: contrast(shown.get(each, each), ground) for each in (*style.ARM_COLOURS, style.BLACK, style.GREY)}
    least = dict.fromkeys(style.ARM_COLOURS, 3.0) | {style.BLACK: 4.5, style.GREY: 4.5}
    assert {} == {each: ratio for each, ratio in found.items() if ratio < least[each]}


def test_a_ladder_ends_at_the_arm_that_it_adds_up_to():
    """Steps from the reference to an arm, an interaction among them, have that arm's own overhead as their last bar."""
    assert "both" == decomposition.adds_up_to(plans.load("ladder"))
    assert "both, by itself" in texts(waterfall.figure(drawn.ladder(), FILE))


def test_terms_that_are_no_steps_stand_side_by_side():
    """Terms that do not add up to an arm are drawn from 0 each, and no sum is claimed."""
    terms = [{"name": "TCP", "arm": "tcp"}, {"name": "HTTP", "arm": "http"}]
    of = drawn.plan(pictures.TWO, terms=terms)
    assert "" == decomposition.adds_up_to(of)
    said = texts(waterfall.figure(drawn.run(of, {"tcp": 120.0, "http": 60.0}), FILE))
    assert "What each part costs" in said
    assert "everything together" not in said


def test_a_term_that_a_panel_lacks_is_not_applicable():
    """A term without a value in a panel that others have one in says n/a, and the next starts where it stood."""
    found = drawn.ladder()
    less = [term for term in found.terms if (term.term, term.connection) != ("HTTP", "keep-alive")]
    assert 1 == texts(waterfall.figure(drawn.analysed(found.run, terms=less), FILE)).count("n/a")


def test_arms_are_one_line_when_only_their_number_of_rules_differs():
    """Arms are grouped by what they are made of, fewest rules first; a plan without such arms has no groups."""
    groups = scaling.series(drawn.scaling().run.plan)
    assert ["nft", "iptables"] == list(groups)
    assert [0, 10, 100, 1000, 10_000] == [arm.extra_rules for arm in groups["nft"]]
    assert {} == scaling.series(drawn.plan(pictures.TWO))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((9.0, 900.0), ["10", "20", "50", "100", "200", "500"]),
        ((9.0, 20_000.0), ["10", "100", "1,000", "10,000"]),
        ((3.0, 7.0), ["3", "3.5", "4", "4.5", "5", "5.5", "6", "6.5", "7"]),
        ((21.0, 24.0), ["21", "21.5", "22", "22.5", "23", "23.5", "24"]),
        ((1e-3, 1e9), ["1", "1,000", "1,000,000"]),
    ],
)
def test_a_logarithmic_axis_has_as_many_numbers_as_there_is_room_for(limits: tuple[float, float], expected: list[str]):
    """Ticks stand at 1, 2 and 5 of each power of ten, or at fewer of them, and at round numbers within one power."""
    axes = mpl.figure.Figure().subplots()
    scales.logarithmic(axes, "x", limits, 3.2)
    assert expected == [label.get_text() for label in axes.get_xticklabels()]


@settings(deadline=None, max_examples=40)
@given(st.floats(-1e7, 1e7), st.floats(1e-3, 1e7), st.floats(0.8, 11), st.booleans())
def test_numbers_of_an_axis_never_touch(low: float, span: float, length_in: float, sign: bool):
    """Whatever the ends of a linear axis, it has a number or more, and each has room beside the next."""
    axes = mpl.figure.Figure().subplots()
    scales.linear(axes, "x", (low, low + span), length_in, sign=sign)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    places = [length_in * (tick - low) / span for tick in axes.get_xticks()]
    halves = [width_in(label, scales.TICK_SIZE) / 2 for label in labels]
    ends = [(place - half, place + half) for place, half in zip(places, halves, strict=True)]
    assert [] == [pair for pair in pairwise(ends) if pair[0][1] >= pair[1][0]]


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60), st.floats(0.3, 5))
def test_a_shortened_text_fits(said: str, room_in: float):
    """A text is shortened in its middle until it fits, and a wrapped one has no line that does not."""
    assert width_in(fitted(said, room_in, 9), 9) <= room_in
    assert [] == [line for line in wrapped(said, room_in, 9) if width_in(line, 9) > room_in]


def test_an_arm_looks_the_same_in_every_figure():
    """The reference is black, its twin grey and dashed, and no two other arms look alike, even if there are many."""
    looks = style.looks(drawn.plan(pictures.MANY))
    assert (style.BLACK, style.GREY) == (looks["direct"].colour, looks["direct-twin"].colour)
    assert len(looks) == len(set(looks.values()))


def test_a_history_shows_every_point():
    """All panels of a history have one axis of overheads, which holds the largest of them, whichever panel it is in."""
    found = drawn.run(drawn.plan(pictures.TWO), {"tcp": 120.0, "http": 60.0})
    summary = drawn.table(found.summary)
    most = summary["connection"] == "new"
    summary.loc[most, ["overhead_us", "low_us", "high_us"]] *= 5
    past = history_figure.Past(drawn.analysed(found.run, summary=drawn.rows(summary)), "")
    figure = history_figure.figure([past] * 2, (), FILE)
    totals = summary[(summary["phase"] == "total") & ~summary["arm"].isin(["direct", "direct-twin"])]
    low, high = figure.axes[0].get_ylim()
    assert low < totals["low_us"].min() < totals["high_us"].max() < high


def test_published_figures_stand_beside_their_own_rate_only():
    """At the rate that Istio publishes for, its figures are rows of their own, labelled as another machine's."""
    run = drawn.run(drawn.plan(pictures.TWO), {"tcp": 120.0, "http": 60.0}).run
    at = {rate: run._replace(rates=drawn.rates((rate,), pictures.BASE_US, pictures.CAPACITY)) for rate in (500, 1000)}
    said = {rate: texts(rates.figure(drawn.analysed(each), FILE)) for rate, each in at.items()}
    assert 2 == said[1000].count("published, other machine")
    assert "published, other machine" not in said[500]


def test_unknown_values_of_the_open_loop_are_left_out():
    """A negative CPU time or memory is unknown: neither averaged nor drawn."""
    table = drawn.rates((1000,), pictures.BASE_US, pictures.CAPACITY)
    assert all(each != each for each in openloop_estimates.spread(table, "direct", 1000, "memory_kib"))  # noqa: PLR0124 - NaN
    assert 7000.0 == openloop_estimates.spread(table, "tcp", 1000, "memory_kib")[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.8136, "0.81"),
        (1.0, "1.00"),
        (0.0218, "0.022"),
        (float("nan"), "?"),
        (130.6, "131"),
        (1e5, ">1000"),
        (4e-7, "<0.001"),
    ],
)
def test_a_small_ratio_keeps_its_digits(value: float, expected: str):
    """Two decimals, two significant digits for a small one, and a question mark for the unknown."""
    assert expected == ratios_figure.quotient(value)


def test_caveats_are_under_the_figure_whole():
    """A long caveat is wrapped, not cut."""
    run = drawn.run(drawn.plan(pictures.TWO), {"tcp": 120.0, "http": 60.0}).run
    found = drawn.analysed(run, caveats=(Caveat(" ".join(["doubt"] * 90), "cure"),))
    said = " ".join(texts(overhead.figure(found, FILE)))
    assert 90 == said.count("doubt")
