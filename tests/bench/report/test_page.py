import base64
import html
import os
import re
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import drawn
import pytest
from tools import missing, path_of

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.report import figures, page
from sidelab.bench.report.figures import Drawn
from sidelab.bench.report.page.html import Markup, element, table

pytestmark = pytest.mark.slow

ARMS = [
    {"name": "tcp", "server": "injected", "proxy": "bundled", "protocol": "tcp"},
    {"name": "http", "server": "injected", "proxy": "bundled", "protocol": "http"},
    {"name": "a-name-as-long-as-names-are-allowed-to-x", "server": "rules-only"},
]
EXTRA_US = {"tcp": 120.0, "http": 60.0, "a-name-as-long-as-names-are-allowed-to-x": 0.0}
BASE_US = {"direct": 60.0, "direct-twin": 61.0, "tcp": 180.0, "http": 140.0}
CAPACITY = {"direct": 60_000, "direct-twin": 60_000, "tcp": 14_000, "http": 20_000}
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>'
CHROMIUM = path_of("chromium") or path_of("chromium-browser") or path_of("google-chrome")


class Content(NamedTuple):
    """What a page is made of."""

    found: Analysis
    figures: list[Drawn]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory):
    """Draw a simulated run that has everything: figures, terms, an open loop, and a caveat that attacks the page."""
    of = drawn.plan(ARMS, terms=[{"name": "TCP", "arm": "tcp"}])
    run = drawn.run(of, EXTRA_US, images={HOSTILE: HOSTILE}, rule_sets={"tcp/nginx": "e9" * 32}).run
    caveats = (*run.caveats, Caveat(HOSTILE, f"read {HOSTILE}"), Caveat("x" * 300, "y" * 300))
    rates = drawn.rates((1000, 10_000), BASE_US, CAPACITY)
    found = drawn.analysed(run._replace(rates=rates), caveats=caveats)
    return Content(found, figures.draw(found, tmp_path_factory.mktemp("figures")))


@pytest.fixture(scope="module")
def rendered(content: Content):
    """Render that run."""
    return page.render(*content)


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text.append(data)


def seen(text: str) -> Seen:
    """Parse a page."""
    parser = Seen()
    parser.feed(text)
    return parser


def test_text_is_escaped_and_markup_is_not():
    """A string becomes text or an attribute's value, whatever it holds; only markup stays markup."""
    made = element("p", "<b>", Markup("<i>x</i>"), title='"&', class_="c", aria_label=None)
    assert '<p title="&quot;&amp;" class="c">&lt;b&gt;<i>x</i></p>' == made


def test_every_table_scrolls_in_a_box_of_its_own():
    """A table stands in a region that the keyboard can scroll, has a caption, and names its rows and columns."""
    tags = seen(table("caption", ["a", "b"], [["1", "2"]])).tags
    assert ("div", {"class": "scroll", "role": "region", "aria-label": "caption", "tabindex": "0"}) == tags[0]
    assert [("th", {"scope": "col"})] * 2 + [("th", {"scope": "row"})] == [tag for tag in tags if tag[0] == "th"]


def test_nothing_in_a_value_becomes_markup(rendered: str):
    """A caveat and a recorded fact that look like HTML arrive as text."""
    found = seen(rendered)
    assert [] == [tag for tag, _ in found.tags if tag == "script"]
    sources = [given.get("src") or given.get("srcset") for tag, given in found.tags if tag in ("img", "source")]
    assert {"data"} == {(source or "").partition(":")[0] for source in sources}
    assert HOSTILE in found.text


def test_the_page_is_alone(rendered: str):
    """Whatever the page refers to is inside it: no link leads out, and its policy forbids every request."""
    found = seen(rendered)
    outward = [
        (tag, key, value)
        for tag, given in found.tags
        for key, value in given.items()
        if key in ("src", "href", "srcset", "action", "data") and not (value or "").startswith(("data:image/svg", "#"))
    ]
    assert [] == outward
    assert not re.search(r"@import|url\(", rendered)
    policies = [given["content"] for _, given in found.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"] == policies


def test_every_figure_is_shown_with_words(content: Content, rendered: str):
    """Each figure is embedded for wide and narrow screens, with a text in its place and one on how to read it."""
    found = seen(rendered)
    images = [given for tag, given in found.tags if tag == "img"]
    assert len(content.figures) == len(images) == len([tag for tag, _ in found.tags if tag == "source"])
    assert all(len(given["alt"] or "") > 40 for given in images)
    assert len(images) == len([tag for tag, _ in found.tags if tag == "figcaption"])


def test_every_link_leads_somewhere(content: Content, rendered: str):
    """The table of contents names every section and figure, and what a link names exists, once."""
    tags = seen(rendered).tags
    names = [given["id"] for _, given in tags if "id" in given]
    links = [(given["href"] or "").removeprefix("#") for tag, given in tags if tag == "a"]
    assert [] == [link for link in links if names.count(link) != 1]
    sections = re.findall(r'<section id="(\w+)"', rendered)
    assert set() == {*sections, *(f"figure-{each.name}" for each in content.figures)} - set(links)


def test_headings_are_in_order(rendered: str):
    """There is one first heading, and none skips a level."""
    levels = [int(tag[1]) for tag, _ in seen(rendered).tags if re.fullmatch("h[1-6]", tag)]
    assert 1 == levels.count(1)
    assert [] == [pair for pair in pairwise(levels) if pair[1] > pair[0] + 1]


def test_what_all_figures_have_in_common_is_said_once(rendered: str):
    """The machine and how the load was made stand under the figures, not in each of them."""
    inside = [base64.b64decode(each).decode() for each in re.findall("base64,([A-Za-z0-9+/=]+)", rendered)]
    assert [] == [each[:80] for each in inside if "AMD EPYC" in each or "Closed loop" in each]
    assert 1 == rendered.count("Of all figures: Closed loop")


def test_bars_have_a_scale(rendered: str):
    """Below each bar stand the numbers of its scale, 0 among them, and all bars have the same."""
    bars = re.findall(r'<svg class="bar', rendered)
    axes = re.findall(r'<p class="axis" aria-hidden="true">(.*?)</p>', rendered)
    assert len(bars) == len(axes) > 0
    assert 1 == len(set(axes))
    assert ">0</span>" in axes[0]


def test_the_answer_stands_before_everything_else(content: Content, rendered: str):
    """Headline and bullets come first, then the verdicts, then figures, numbers, caveats and the rest."""
    order = re.findall(r'<section id="(\w+)"', rendered)
    assert ["verdicts", "figures", "numbers", "caveats", "method", "environment", "repeat"] == order
    said = [content.found.answer.headline, *content.found.answer.bullets]
    places = [rendered.index(html.escape(each)) for each in said]
    assert sorted(places) == places
    assert max(places) < rendered.index("<section")


def test_a_verdict_is_a_word_a_colour_and_a_shape(rendered: str):
    """Every verdict is written out beside its shape: nobody needs to see the colour."""
    chips = re.findall(r'<span class="chip ([a-z-]+)"><svg .*?>(<.*?)</svg>([a-z ]+)</span>', rendered)
    assert {"changed", "reference"} <= {look for look, _, _ in chips}
    assert all(look == word.replace(" ", "-") for look, _, word in chips)
    assert len({look for look, _, _ in chips}) == len({shape for _, shape, _ in chips})


def test_every_caveat_has_its_cure(content: Content, rendered: str):
    """Each doubt is listed with the step that removes it."""
    text = seen(rendered).text
    assert [caveat.what for caveat in content.found.caveats if caveat.what in text] == [
        c.what for c in content.found.caveats
    ]
    assert all(f"Cure: {caveat.cure}" in text for caveat in content.found.caveats)


def test_a_warning_stands_above_the_answer(content: Content):
    """What forbids to trust a run is read before the answer."""
    answer = content.found.answer._replace(warnings=("It was interrupted.",))
    text = page.render(drawn.analysed(content.found.run, answer=answer), content.figures)
    assert text.index("It was interrupted.") < text.index('class="answer"')


def test_bare_facts_are_enough(content: Content):
    """A run that recorded neither machine nor seed has a page that says so."""
    run = content.found.run._replace(facts={"state": "complete"}, rates=content.found.run.rates[:0])
    assert "not known" in page.render(drawn.analysed(run, caveats=(), terms=()), content.figures)


def test_equal_content_gives_equal_bytes(content: Content, rendered: str):
    """Rendered twice, the page is the same."""
    assert rendered == page.render(*content)


@pytest.mark.skipif(CHROMIUM is None, reason=missing("chromium"))
@pytest.mark.parametrize("width_px", [360, 390, 760, 1200])
def test_a_browser_shows_it_whole(rendered: str, tmp_path: Path, width_px: int):
    """In Chromium the page is not wider than a phone, all figures load, and nothing is asked for or complained about.

    A frame as wide as the phone stands in for it (a window cannot be so narrow), and a script in a copy of the page
    tells what came out of it.
    """
    script = (
        "<script>onload = () => parent.postMessage([document.documentElement.scrollWidth <= innerWidth, innerWidth, "
        "[...document.images].every(each => each.naturalWidth > 0), "
        "performance.getEntriesByType('resource').filter(each => !each.name.startsWith('data:')).length], '*')</script>"
    )
    policy, own = map(html.escape, ("default-src 'none';", "script-src 'unsafe-inline';"))
    allowed = rendered.replace(policy, f"{policy} {own}", 1)
    (tmp_path / "page.html").write_text(allowed.replace("</body>", f"{script}</body>"))
    frame = f'<iframe src="page.html" style="border: 0; width: {width_px}px; height: 900px"></iframe>'
    outer = "<!DOCTYPE html><script>onmessage = event => { document.title = event.data.join(' ') }</script>"
    (tmp_path / "outer.html").write_text(f"{outer}{frame}")
    flags = "--headless --disable-gpu --virtual-time-budget=10000 --window-size=1400,1000 --enable-logging=stderr --v=0"
    ran = subprocess.run(
        [
            str(CHROMIUM),
            *flags.split(),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={tmp_path}/profile",
            "--dump-dom",
            (tmp_path / "outer.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert [f"true {width_px} true 0"] == re.findall("<title>(.*)</title>", ran.stdout)
    assert [] == [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
