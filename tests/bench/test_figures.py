from collections.abc import Iterator
from pathlib import Path

import drawn
import matplotlib as mpl
import pytest

from bench import decomposition, figures
from bench import plan as plans
from bench.caveats import Caveat
from bench.figures import ecdf, history, overhead, rates, ratios, scaling, style, waterfall

TWO = [{"name": name, "server": "injected", "proxy": "bundled", "protocol": name} for name in ("tcp", "http")]
MANY = [
    {"name": f"rather-long-name-of-an-arm-{count}", "server": "rules-only", "extra_rules": count} for count in range(12)
]
BASE_US = {"direct": 60.0, "direct-twin": 61.0, "tcp": 180.0, "http": 140.0}
CAPACITY = {"direct": 60_000, "direct-twin": 60_000, "tcp": 14_000, "http": 20_000}


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    """Draw as the program does."""
    with mpl.rc_context(style.RC):
        yield


def texts(figure: object) -> list[str]:
    """Return every text of a figure: titles, labels, feet, legends."""
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def outside(figure: object) -> list[str]:
    """Return the texts that a figure cuts off at its edges."""
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    unseen = set()  # matplotlib keeps a label beyond each end of an axis, and does not draw it
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        unseen |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    cut = []
    for text in figure.findobj(mpl.text.Text):
        if text.get_text().strip() and text.get_visible() and text not in unseen:
            box = text.get_window_extent()
            if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
                cut.append(text.get_text())
    return cut


@pytest.fixture(scope="module")
def everything() -> dict[str, object]:
    """Draw each kind of figure from simulated data."""
    with mpl.rc_context(style.RC):
        return _everything()


def _everything() -> dict[str, object]:
    run, summary = drawn.run(drawn.plan(TWO), {"tcp": 120.0, "http": 60.0})
    many, of_many = drawn.run(drawn.plan(MANY), {arm["name"]: 30.0 * k for k, arm in enumerate(MANY)})
    ladder, terms, of_ladder = drawn.ladder()
    scaled, of_scaled = drawn.scaling()
    runs = [history.Past(run, summary, "kernel 6.1 → 6.2" if number == 2 else "") for number in range(4)]
    return {
        "overhead": overhead.figure(run, summary, run.caveats),
        "overhead of many": overhead.figure(many, of_many, many.caveats),
        "ecdf": ecdf.figure(run, run.caveats),
        "ecdf of many": ecdf.figure(many, many.caveats),
        "waterfall": waterfall.figure(ladder, terms, of_ladder, ladder.caveats),
        "scaling": scaling.figure(scaled, of_scaled, scaled.caveats),
        "rates": rates.figure(run, drawn.rates((1000, 2000, 16_000), BASE_US, CAPACITY), run.caveats),
        "one rate": rates.figure(run, drawn.rates((1000,), BASE_US, CAPACITY), run.caveats),
        "history": history.figure(runs, ["Left out: 1 not complete."]),
    }


def test_no_figure_cuts_a_word_off(everything: dict[str, object]):
    """With few arms and with many, with short names and with long ones, every text is inside its figure."""
    assert {} == {name: cut for name, figure in everything.items() if (cut := outside(figure))}


def test_every_figure_says_where_it_comes_from(everything: dict[str, object]):
    """Units, n, machine and caveats, or for a history the plan and what is left out, stand under each figure."""
    for name, figure in everything.items():
        said = " ".join(texts(figure))
        wanted = ("runs of plan", "Left out") if name == "history" else ("n = ", "AMD EPYC", "Caveats: simulated")
        assert [] == [each for each in (*wanted, "µs") if each not in said], name


def test_same_bytes_from_same_data(tmp_path: Path):
    """A figure is the same byte for byte when it is drawn again."""
    run, _ = drawn.run(drawn.plan(TWO), {"tcp": 120.0, "http": 60.0})
    table = drawn.rates((1000, 2000), BASE_US, CAPACITY)

    def drawn_once() -> list[bytes]:
        return [path.read_bytes() for path in style.save(rates.figure(run, table, run.caveats), tmp_path / "rates")]

    assert drawn_once() == drawn_once()


def test_the_figures_are_those_that_the_run_has_data_for(tmp_path: Path):
    """A plan that scales its rules gets that figure after the main one; one without terms has no waterfall."""
    run, summary = drawn.scaling()
    paths = figures.draw(run, summary, (), (), run.caveats, tmp_path)
    assert ["overhead", "scaling", "phases", "ecdf"] == [path.stem for path in paths if path.suffix == ".svg"]


def test_a_ladder_ends_at_the_arm_that_it_adds_up_to():
    """Steps from the reference to an arm, an interaction among them, have that arm's own overhead as their last bar."""
    assert "both" == decomposition.adds_up_to(plans.load("ladder"))
    run, terms, summary = drawn.ladder()
    assert "both, by itself" in texts(waterfall.figure(run, terms, summary, ()))


def test_terms_that_are_no_steps_stand_side_by_side():
    """Terms that do not add up to an arm are drawn from 0 each, and no sum is claimed."""
    terms = [{"name": "TCP", "arm": "tcp"}, {"name": "HTTP", "arm": "http"}]
    of = drawn.plan(TWO, terms=terms)
    assert "" == decomposition.adds_up_to(of)
    run, summary = drawn.run(of, {"tcp": 120.0, "http": 60.0})
    said = texts(waterfall.figure(run, drawn.decompose(of, run.samples), summary, ()))
    assert "What each part costs" in said
    assert "everything together" not in said


def test_a_term_that_a_panel_lacks_is_not_applicable():
    """A term without a value in a panel that others have one in says n/a, and the next starts where it stood."""
    run, terms, summary = drawn.ladder()
    less = [term for term in terms if (term.term, term.connection) != ("HTTP", "keep-alive")]
    assert 1 == texts(waterfall.figure(run, less, summary, ())).count("n/a")


def test_arms_are_one_line_when_only_their_number_of_rules_differs():
    """Arms are grouped by what they are made of, fewest rules first; a plan without such arms has no groups."""
    groups = scaling.series(drawn.scaling()[0].plan)
    assert ["nft", "iptables"] == list(groups)
    assert [0, 10, 100, 1000, 10_000] == [arm.extra_rules for arm in groups["nft"]]
    assert {} == scaling.series(drawn.plan(TWO))


@pytest.mark.parametrize(
    ("high", "expected"),
    [(900.0, ["10", "20", "50", "100", "200", "500"]), (20_000.0, ["10", "100", "1,000", "10,000"])],
)
def test_a_long_logarithmic_axis_has_few_numbers(high: float, expected: list[str]):
    """Ticks stand at 1, 2 and 5 of each power of ten, or at the powers alone where the others would overlap."""
    axes = mpl.figure.Figure().subplots()
    axes.set_xlim(9.0, high)
    style.logarithmic(axes, "x", most=6)
    assert expected == [label.get_text() for label in axes.get_xticklabels()]


def test_an_arm_looks_the_same_in_every_figure():
    """The reference is black, its twin grey and dashed, and no two other arms look alike, even if there are many."""
    looks = style.looks(drawn.plan(MANY))
    assert (style.BLACK, style.GREY) == (looks["direct"].colour, looks["direct-twin"].colour)
    assert len(looks) == len(set(looks.values()))


def test_a_history_shows_every_point():
    """All panels of a history have one axis of overheads, which holds the largest of them, whichever panel it is in."""
    run, summary = drawn.run(drawn.plan(TWO), {"tcp": 120.0, "http": 60.0})
    most = summary["connection"] == "new"
    summary.loc[most, ["overhead_us", "low_us", "high_us"]] *= 5
    figure = history.figure([history.Past(run, summary, "")] * 2, ())
    totals = summary[(summary["phase"] == "total") & ~summary["arm"].isin(["direct", "direct-twin"])]
    low, high = figure.axes[0].get_ylim()
    assert low < totals["low_us"].min() < totals["high_us"].max() < high


def test_published_figures_stand_beside_their_own_rate_only():
    """At the rate that Istio publishes for, its figures are rows of their own, labelled as another machine's."""
    run, _ = drawn.run(drawn.plan(TWO), {"tcp": 120.0, "http": 60.0})
    said = texts(rates.figure(run, drawn.rates((1000,), BASE_US, CAPACITY), ()))
    assert 2 == said.count("published, other machine")
    assert "published, other machine" not in texts(rates.figure(run, drawn.rates((500,), BASE_US, CAPACITY), ()))


def test_unknown_values_of_the_open_loop_are_left_out():
    """A negative CPU time or memory is unknown: neither averaged nor drawn."""
    table = drawn.rates((1000,), BASE_US, CAPACITY)
    assert all(each != each for each in rates.spread(table, "direct", 1000, "memory_kib"))  # noqa: PLR0124 - NaN
    assert 7000.0 == rates.spread(table, "tcp", 1000, "memory_kib")[0]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.8136, "0.81"), (1.0, "1.00"), (0.0218, "0.022"), (float("nan"), "?")]
)
def test_a_small_ratio_keeps_its_digits(value: float, expected: str):
    """Two decimals, two significant digits for a small one, and a question mark for the unknown."""
    assert expected == ratios.quotient(value)


def test_caveats_are_under_the_figure_whole():
    """A long caveat is wrapped, not cut."""
    run, summary = drawn.run(drawn.plan(TWO), {"tcp": 120.0, "http": 60.0})
    said = " ".join(texts(overhead.figure(run, summary, (Caveat(" ".join(["doubt"] * 90), "cure"),))))
    assert 90 == said.count("doubt")
