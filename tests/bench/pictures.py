"""Material for figures: the reference run, every kind of simulated run, and axes and names at their worst."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import drawn
import numpy as np

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.ratios import MET, MISSED, NO_TARGET, OPEN
from sidelab.bench.judge.ratios import RatioRow as Ratio
from sidelab.bench.judge.summary import Summary
from sidelab.bench.record.reader import Run, read_run
from sidelab.bench.report.figures import (
    ecdf,
    history_figure,
    overhead,
    phases,
    rates,
    ratios_figure,
    scaling,
    waterfall,
)
from sidelab.bench.report.figures.sheet import Medium

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
TWO = [{"name": name, "server": "injected", "proxy": "bundled", "protocol": name} for name in ("tcp", "http")]
MANY = [
    {"name": f"name-as-long-as-names-are-allowed-to-x{count:02}", "server": "rules-only", "extra_rules": count}
    for count in range(18)
]
BASE_US = {"direct": 60.0, "direct-twin": 61.0, "tcp": 180.0, "http": 140.0}
CAPACITY = {"direct": 60_000, "direct-twin": 60_000, "tcp": 14_000, "http": 20_000}
ODD = ["nan", "null", "none", "inf", "true"]
STRANGE = (Caveat("$HOME and $x^2$, <b>, 手 and \N{SNOWMAN} " + "x" * 300, "cure"), *[Caveat("a doubt " * 30, "cure")])

Make = Callable[[Medium], Any]


def _known(run: Run, **known: Any) -> Analysis:
    """Analyse a run; its own caveats are the only ones, and `known` values are not computed."""
    return drawn.analysed(run, **{"caveats": run.caveats, **known})


def _all_of(name: str, run: Run, **known: Any) -> dict[str, Make]:
    """Draw the figures that every plan has."""
    found = _known(run, **known)
    return {
        f"{name}: overhead": lambda medium: overhead.figure(found, medium),
        f"{name}: phases": lambda medium: phases.figure(found, medium),
        f"{name}: ecdf": lambda medium: ecdf.figure(found, medium),
    }


def _main_of(name: str, run: Run, **known: Any) -> dict[str, Make]:
    """Draw only the main figure."""
    found = _known(run, **known)
    return {name: lambda medium: overhead.figure(found, medium)}


def with_intervals(summary: Summary, factor: float, shift_us: float = 0.0) -> Summary:
    """Return a summary with overheads moved by `shift_us`, and intervals `factor` times as wide."""
    table = drawn.table(summary)
    half = factor * (table["high_us"] - table["low_us"]) / 2
    table["overhead_us"] += shift_us
    table["low_us"], table["high_us"] = table["overhead_us"] - half, table["overhead_us"] + half
    return drawn.rows(table)


def everything() -> dict[str, Make]:
    """Return all figures of the material, each by its peculiarity."""
    made: dict[str, Make] = {}
    reference = read_run(REFERENCE)
    made |= _all_of("reference run", reference)
    two = drawn.run(drawn.plan(TWO), {"tcp": 120.0, "http": 60.0})
    run, summary = two.run, two.summary
    made |= _all_of("two arms", run, summary=summary)
    made |= _main_of("strange caveats", run._replace(caveats=STRANGE), summary=summary)
    made |= _main_of("interrupted", run._replace(facts={**run.facts, "state": "interrupted"}), summary=summary)
    made |= _main_of("huge intervals", run, summary=with_intervals(summary, 5e4))
    made |= _main_of("tiny intervals", run, summary=with_intervals(summary, 0.0))
    made |= _main_of("savings", run, summary=with_intervals(summary, 1.0, -180.0))
    unsure = {
        key: row._replace(verdict="inconclusive") if row.verdict in ("changed", "equivalent") else row
        for key, row in summary.items()
    }
    made |= _main_of("inconclusive", run, summary=unsure)
    many = drawn.run(drawn.plan(MANY), {arm["name"]: 700.0 * k for k, arm in enumerate(MANY)})
    made |= _all_of("20 arms", many.run)
    made |= _main_of("no arm but the twins", drawn.run(drawn.plan([]), {}).run)
    once = run.samples[run.samples["rebuild"] == 1]
    made |= _main_of("one build", run._replace(samples=once))
    odd = drawn.run(drawn.plan([{"name": name, "server": "rules-only"} for name in ODD]), dict.fromkeys(ODD, 5.0))
    made |= _main_of("odd names", odd.run)
    missing = run.samples[run.samples["arm"] != "tcp"]
    made |= _all_of("an arm without requests", run._replace(samples=missing))
    return made | _terms() | _rules() | _open_loop(run) | _ratios(run) | _history(two)


def _terms() -> dict[str, Make]:
    ladder = drawn.ladder()
    terms = ladder.terms
    wild = [term._replace(low_us=-1e4 * abs(term.mean_us), high_us=1e5) for term in terms]
    unknown = [term._replace(low_us=np.nan, high_us=np.nan) for term in terms]
    foreign = [term._replace(term=f"手 <b>$x$ \N{SNOWMAN} {term.term} " + "w" * 20) for term in terms]
    whole = {"terms": terms, "wild terms": wild, "terms of one build": unknown, "foreign terms": foreign}
    known = {
        name: _known(ladder.run, summary=ladder.summary, terms=each)
        for name, each in {**whole, "three terms less": terms[3:]}.items()
    }
    return {name: lambda medium, found=found: waterfall.figure(found, medium) for name, found in known.items()}


def _rules() -> dict[str, Make]:
    rules = drawn.scaling()
    found = _known(rules.run)
    wild = _known(rules.run, summary=with_intervals(rules.summary, 1e4))
    return {
        "rules": lambda medium: scaling.figure(found, medium),
        "rules, huge intervals": lambda medium: scaling.figure(wild, medium),
    }


def _open_loop(run: Run) -> dict[str, Make]:
    tables = {
        "rates": drawn.rates((1000, 2000, 16_000), BASE_US, CAPACITY),
        "many rates": drawn.rates(tuple(range(1000, 20_000, 500)), BASE_US, CAPACITY),
        "Istio's rate": drawn.rates((1000,), BASE_US, CAPACITY),
        "one rate": drawn.rates((40_000,), BASE_US, CAPACITY),
        "one slow rate": drawn.rates((7,), {name: 1e5 * us for name, us in BASE_US.items()}, CAPACITY),
    }
    tables["no arm finished"] = tables["one rate"].assign(
        **dict.fromkeys(("p50_us", "p90_us", "p99_us", "p999_us"), np.nan)
    )
    tables["no arm finished any rate"] = tables["rates"].assign(p50_us=np.nan, p99_us=np.nan, cpu_s_per_1000=-1.0)
    tables["without the reference"] = tables["one rate"][tables["one rate"]["arm"] != "direct"]
    tables["one build of rates"] = tables["rates"][tables["rates"]["rebuild"] == 1]
    known = {name: _known(run._replace(rates=table)) for name, table in tables.items()}
    return {name: lambda medium, found=found: rates.figure(found, medium) for name, found in known.items()}


def _ratios(run: Run) -> dict[str, Make]:
    rows = [
        Ratio("new connection: added p50", "tcp", "http", "µs", 128.0, 173.6, 0.74, 0.06, 9.0, 6, "≤ 1", OPEN),
        Ratio("32 connections: added p99", "tcp", "http", "µs", 5278.0, 24099.0, 0.22, 3.7e-7, 1.3e5, 6, "≤ 0.7", OPEN),
        Ratio("1,000 idle connections: memory", "tcp", "http", "MiB", 6.3, 37.1, 0.17, 0.16, 0.18, 6, "≤ 0.5", MET),
        Ratio("throughput", "tcp", "http", "requests/s", 4e6, 1727.0, 2400.0, 2000.0, 2800.0, 6, "≥ 1.5", MISSED),
        Ratio("one build", "tcp", "http", "µs", 1.0, 1.0, 1.0, np.nan, np.nan, 6, "", NO_TARGET),
        Ratio("never measured", "tcp", "http", "µs", np.nan, np.nan, np.nan, np.nan, np.nan, 6, "≥ 1 and ≤ 2", OPEN),
    ]
    tables = {"ratios": rows, "one ratio": rows[:1], "no ratio measured": rows[-1:]}
    known = {name: _known(run, ratios=table) for name, table in tables.items()}
    return {name: lambda medium, found=found: ratios_figure.figure(found, medium) for name, found in known.items()}


def _history(found: Analysis) -> dict[str, Make]:
    def past(count: int) -> list[history_figure.Past]:
        return [history_figure.Past(found, "kernel 6.1 → 6.2" if number % 7 == 2 else "") for number in range(count)]

    of = {count: past(count) for count in (1, 4, 200)}
    wide = drawn.analysed(found.run, summary=with_intervals(found.summary, 1e4))
    wild = [history_figure.Past(wide, "")] * 3
    return {
        f"history of {count}": lambda medium, runs=runs: history_figure.figure(
            runs, ["Left out: 1 not complete."], medium
        )
        for count, runs in of.items()
    } | {"history, huge intervals": lambda medium: history_figure.figure(wild, [], medium)}
