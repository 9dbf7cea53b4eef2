"""`report.html`: everything on one page, verdicts first; it needs no network, no script and no font.

Equal content gives equal bytes. The page's Content-Security-Policy forbids everything but its own style and pictures,
so that no value in it can make a browser send a request.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.record.reader import Run
from sidelab.bench.report.figures import Drawn
from sidelab.bench.report.figures.foot import closed_loop, identity
from sidelab.bench.report.page import about, page_tables, verdict_cards
from sidelab.bench.report.page.html import Markup, element, join, section
from sidelab.bench.report.page.pictures import pictures

_STYLE: Final = Path(__file__).with_name("style.css")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SECTIONS: Final = {
    "verdicts": "Verdicts",
    "figures": "Figures",
    "numbers": "Numbers",
    "caveats": "Caveats",
    "method": "How it was measured",
    "environment": "Environment",
    "repeat": "How to repeat it",
}
_CAVEATS_LINK: Final = element("a", "Caveats", href="#caveats")


def render(found: Analysis, figures: Sequence[Drawn]) -> str:
    """Return the whole page; `figures` are embedded, the main one first."""
    title = f"sidelab: {found.run.plan.name}, {found.run.name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name_="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *_body(found, figures)), lang='en')}\n"


def _body(found: Analysis, figures: Sequence[Drawn]) -> Iterator[Markup]:
    run = found.run
    yield element("header", *_header(found))
    yield _contents(figures)
    sections = [
        _section("verdicts", verdict_cards.cards(found.summary, run.plan)),
        _section("figures", pictures(figures, found.answer.headline), _under_figures(run)),
        _section("numbers", *_numbers(found)),
        _section("caveats", about.caveats(found.caveats)),
        _section("method", *about.method(found)),
        _section("environment", about.environment(run.facts)),
        _section("repeat", *about.repeat(run)),
    ]
    yield element("main", Markup("\n"), *(join((each, Markup("\n"))) for each in sections))
    yield element("footer", element("p", f"Made by sidelab from the files of {run.name} alone."))


def _header(found: Analysis) -> Iterator[Markup]:
    run = found.run
    yield element("p", f"sidelab · plan {run.plan.name}", class_="kicker")
    title, _, more = (run.plan.description or "What interception costs").partition(": ")
    yield element("h1", title.removesuffix("."))
    if more:
        yield element("p", f"{more[0].upper()}{more[1:]}", class_="what")
    for warning in found.answer.warnings:
        yield element("p", warning, class_="alert", role="alert")
    yield element("p", found.answer.headline, class_="answer")
    yield element("ul", *(element("li", each) for each in found.answer.bullets), class_="answer-more")
    machine = (run.facts.get("environment") or {}).get("cpu_model", "machine not recorded")
    started = str(run.facts.get("started", ""))[:16].replace("T", " ")
    builds = run.samples["rebuild"].nunique()
    count = f"{len(found.caveats)} caveat{'s' if len(found.caveats) != 1 else ''}"
    facts = f"{started} UTC · {machine} · {builds} lab builds · {len(run.samples):,} requests · "
    yield element("p", facts, element("a", count, href="#caveats"), class_="facts")


def _section(name: str, *children: str) -> Markup:
    return section(name, _SECTIONS[name], *children)


def _contents(figures: Sequence[Drawn]) -> Markup:
    """List the sections, and within them the figures."""
    items = []
    for name, title in _SECTIONS.items():
        parts = [element("a", title, href=f"#{name}")]
        if name == "figures":
            links = [element("a", each.name, href=f"#figure-{each.name}") for each in figures]
            parts.append(element("span", " (", join(_between(links, ", ")), ")", class_="what"))
        items.append(element("li", *parts))
    return element("nav", element("ul", *items), aria_label="Contents")


def _between(parts: Sequence[Markup], comma: str) -> Iterator[str]:
    for number, part in enumerate(parts):
        yield comma if number else ""
        yield part


def _under_figures(run: Run) -> Markup:
    """Return the text that each figure's file has at its foot, once for all."""
    return element("p", f"Of all figures: {closed_loop(run)} {identity(run)} ", _CAVEATS_LINK, class_="what under")


def _numbers(found: Analysis) -> Iterator[Markup]:
    yield from page_tables.totals(found.summary, found.run.plan)
    if found.terms:
        yield page_tables.terms(found.terms)
    if found.ratios:
        yield page_tables.ratios(found.ratios)
    if len(found.run.rates):
        yield page_tables.rates(found.run.rates, found.run.plan)
    yield page_tables.every_row(found.summary, found.run.plan)
