"""`report.html`: one page that says it all, verdicts first; it needs no network, no script and no font.

Equal content gives equal bytes. The page forbids itself everything but its own style and its own pictures, by a
Content-Security-Policy, so that no value in it can make a browser ask anybody for anything.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pandas as pd

from bench.answer import Answer
from bench.caveats import Caveat
from bench.decomposition import Term
from bench.page import about, answer, tables
from bench.page.html import Markup, element, join, section
from bench.page.pictures import pictures
from bench.ratios import Row as Ratio
from bench.reader import Run

_STYLE: Final = Path(__file__).with_name("style.css")
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Content(NamedTuple):
    """What a page is made of; `figures` are paths of which the SVGs are embedded."""

    run: Run
    summary: pd.DataFrame
    answer: Answer
    caveats: Sequence[Caveat]
    figures: Sequence[Path]
    ratios: Sequence[Ratio] = ()
    terms: Sequence[Term] = ()


def render(content: Content) -> str:
    """Return the whole page."""
    title = f"sidelab: {content.run.plan.name}, {content.run.name}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name_="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(_STYLE.read_text(encoding="utf-8"))),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', *_body(content)), lang='en')}\n"


def _body(content: Content) -> Iterator[Markup]:
    run, summary = content.run, content.summary
    yield element("header", *_header(content))
    sections = [
        section("verdicts", "Verdicts", answer.cards(summary, run.plan)),
        section("figures", "Figures", pictures(content.figures, content.answer.headline)),
        section("numbers", "Numbers", *_numbers(content)),
        section("caveats", "Caveats", about.caveats(content.caveats)),
        section("method", "How it was measured", *about.method(run, summary)),
        section("environment", "Environment", about.environment(run.facts)),
        section("repeat", "How to repeat it", *about.repeat(run)),
    ]
    yield element("main", Markup("\n"), *(join((each, Markup("\n"))) for each in sections))
    yield element("footer", element("p", f"Made by sidelab from the files of {run.name} alone."))


def _header(content: Content) -> Iterator[Markup]:
    run = content.run
    yield element("p", f"sidelab · plan {run.plan.name}", class_="kicker")
    title, _, more = (run.plan.description or "What interception costs").partition(": ")
    yield element("h1", title.removesuffix("."))
    if more:
        yield element("p", f"{more[0].upper()}{more[1:]}", class_="what")
    for warning in content.answer.warnings:
        yield element("p", warning, class_="alert", role="alert")
    yield element("p", content.answer.headline, class_="answer")
    yield element("ul", *(element("li", each) for each in content.answer.bullets), class_="answer-more")
    machine = (run.facts.get("environment") or {}).get("cpu_model", "machine not recorded")
    started = str(run.facts.get("started", ""))[:16].replace("T", " ")
    builds = run.samples["rebuild"].nunique()
    count = f"{len(content.caveats)} caveat{'s' if len(content.caveats) != 1 else ''}"
    facts = f"{started} UTC · {machine} · {builds} lab builds · {len(run.samples):,} requests · "
    yield element("p", facts, element("a", count, href="#caveats"), class_="facts")


def _numbers(content: Content) -> Iterator[Markup]:
    yield from tables.totals(content.summary, content.run.plan)
    if content.terms:
        yield tables.terms(content.terms)
    if content.ratios:
        yield tables.ratios(content.ratios)
    if len(content.run.rates):
        yield tables.rates(content.run.rates, content.run.plan)
    yield tables.every_row(content.summary, content.run.plan)
