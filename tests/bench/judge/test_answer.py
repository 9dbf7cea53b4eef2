# ruff: noqa: E501 - a sentence breaks where its words do
"""The answer of each shipped plan, from canned tables: what a person reads first has to be right to the word."""

from collections.abc import Mapping, Sequence

import drawn
import pytest

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.answer import RunAnswer, answer
from sidelab.bench.judge.decomposition import TermEstimate
from sidelab.bench.judge.ratios import RatioRow as Ratio
from sidelab.bench.judge.summary import SummaryRow
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan

NAN = float("nan")
NONE = (NAN, NAN, NAN)


def summary(plan: Plan, overheads: Mapping[str, Sequence[float]], verdicts: Mapping[str, str] | None = None):
    """Make a summary in which `direct` takes 90 and 40 µs, and each arm so much more, give or take 1 µs."""
    found = []
    for arm in plan.arms:
        for connection, base_us in zip(plan.connections, (90.0, 40.0), strict=False):
            more = overheads.get(arm.name, (0.0, 0.0))[0 if connection == "new" else 1]
            usual = "reference" if arm.name == plan.reference else "changed" if more else "equivalent"
            verdict = (verdicts or {}).get(arm.name, usual)
            bounds = NONE if usual == "reference" else (more, more - 1, more + 1)
            for phase in PHASES:
                counted = 2000 if phase == "total" else 0
                figures = (counted, base_us + more, NAN, NAN, 20, *bounds, 0.5, 1.25, 2.0, 2.0)
                found.append(SummaryRow(arm.name, connection, phase, *figures, phase == "total", verdict))
    return {row[:3]: row for row in found}


def terms(plan: Plan, values: Mapping[str, Sequence[float]]):
    """Make the terms of a plan with those means for a new and a kept-alive connection, give or take 1 µs."""
    return [
        TermEstimate(name, connection, "total", us, us - 1, us + 1, 20)
        for name, both in values.items()
        for connection, us in zip(plan.connections, both, strict=True)
    ]


def said(name: str, overheads: Mapping[str, Sequence[float]], values: Mapping[str, Sequence[float]]) -> RunAnswer:
    """Answer a shipped plan."""
    plan = plans.load(name)
    return answer(plan, summary(plan, overheads), terms=terms(plan, values))


OVERHEADS = {"rules-only": (3.8, 0.0), "tcp": (105.0, 27.0), "http": (50.0, 31.0), "both": (83.0, 64.0)}
NOISE = (
    "Noise: two identical arms differ by 1.2 µs on a new connection and 1.2 µs on a kept-alive connection; 20 builds of "
    "the lab, 24,000 requests. An overhead is the median difference of requests made at about the same moment, not the "
    "difference of the medians shown."
)


@pytest.mark.parametrize("name", ["overhead", "smoke"])
def test_what_interception_adds(name: str):
    """The headline is about the first sidecar, with percent and both medians; each connection and the noise follow."""
    found = said(name, OVERHEADS, {})
    assert (
        RunAnswer(
            "A request on a new connection takes 105 µs (117 %) longer through a TCP sidecar at the server: 195 instead of "
            "90 µs.",
            (
                (
                    "On a new connection (90 µs in direct: no rules, no proxy) – rules-only (rules loaded, no redirect): +3.8 µs "
                    "(4 %); http (HTTP sidecar at the server): +50 µs (56 %); both (HTTP sidecar at both ends): +83 µs (92 %)."
                ),
                (
                    "On a kept-alive connection (40 µs in direct) – rules-only: no difference that matters; tcp: +27 µs (68 %); "
                    "http: +31 µs (78 %); both: +64 µs (160 %)."
                ),
                NOISE,
            ),
        )
        == found
    )


def test_what_it_is_made_of():
    """`ladder` is answered by its parts, and by which of them is the largest."""
    steps = {
        "conntrack": (1.1, 0.5),
        "redirect": (4.9, 0.2),
        "extra hop": (92.0, 60.0),
        "redirect × hop": (6.0, 2.0),
        "HTTP": (-54.0, -20.0),
        "second sidecar": (31.0, 22.0),
    }
    found = said("ladder", {"both": (81.0, 64.0)}, steps)
    assert (
        "A request on a new connection takes 81 µs (90 %) longer through an HTTP sidecar at both ends: 171 instead of "
        "90 µs; the parts: conntrack +1.1, redirect +4.9, extra hop +92, redirect × hop +6.0, HTTP −54, second "
        "sidecar +31 µs."
    ) == found.headline
    assert (
        "On a new connection the largest part is extra hop: +92 µs (102 %); too small for this run to tell: conntrack."
    ) == found.bullets[1]


@pytest.mark.parametrize(
    ("name", "overheads", "values", "headline", "bullet"),
    [
        (
            "rules-scaling",
            {"rules-0": (4.0, 1.0), "rules-10000": (66.0, 1.0)},
            {"10 rules": (0.1, 0.0), "100 rules": (0.5, 0.0), "1,000 rules": (6.0, 0.0), "10,000 rules": (62.0, 0.0)},
            "A request on a new connection takes 62 µs (66 %) longer in rules-10000 than in rules-0: 156 instead of 94 µs.",
            (
                "On a new connection – 10 rules: no difference that matters; 100 rules: no difference that matters; "
                "1,000 rules: +6.0 µs (6 %); 10,000 rules: +62 µs (66 %)."
            ),
        ),
        (
            "ways",
            {"nft": (105.0, 27.0), "tproxy": (105.0, 27.0)},
            dict.fromkeys(
                ("iptables, not nft", "legacy, not nft", "TPROXY, not REDIRECT", "the same with HTTP"), (0.2, 0.1)
            ),
            "None of the 4 pairs that were compared differs in a request on a new connection by what matters.",
            (
                "On a new connection – iptables, not nft: no difference that matters; legacy, not nft: no difference that "
                "matters; TPROXY, not REDIRECT: no difference that matters; the same with HTTP: no difference that matters."
            ),
        ),
        (
            "payload",
            {"direct-1m": (800.0, 700.0), "tcp-1m": (1500.0, 1400.0)},
            {"TCP sidecar, 1KB": (105.0, 27.0), "TCP sidecar, 1MB": (700.0, 700.0)},
            "A request on a new connection takes 700 µs (79 %) longer in tcp-1m than in direct-1m: 1,590 instead of 890 µs.",
            (
                "On a new connection – TCP sidecar, 1KB: +105 µs (117 %); HTTP sidecar, 1KB: not measured; TCP sidecar, 64KB: "
                "not measured; HTTP sidecar, 64KB: not measured; TCP sidecar, 1MB: +700 µs (79 %); HTTP sidecar, 1MB: not "
                "measured."
            ),
        ),
        (
            "compare",
            {"base": (50.0, 31.0), "head": (58.0, 39.0)},
            {"head, not base": (8.0, 8.0)},
            "A request on a new connection takes 8.0 µs (6 %) longer in head than in base: 148 instead of 140 µs.",
            (
                "On a new connection (90 µs in direct: no rules, no proxy) – base (HTTP sidecar at the server): +50 µs "
                "(56 %); head (HTTP sidecar at the server): +58 µs (64 %)."
            ),
        ),
    ],
)
def test_pairs_are_compared(
    name: str,
    overheads: Mapping[str, Sequence[float]],
    values: Mapping[str, Sequence[float]],
    headline: str,
    bullet: str,
):
    """A plan of pairs is answered by the pair that differs most, or by none; the bullet has all of them."""
    found = said(name, overheads, values)
    assert (headline, bullet) == (found.headline, found.bullets[0])


def compared(plan: Plan, factors: Sequence[float]):
    """Make a plan's ratios: the other's cost is 50, the interval a tenth to either side."""
    kinds = {
        "added-p50": "added p50",
        "added-p99": "added p99",
        "requests-per-s": "throughput",
        "idle-memory": "memory",
    }
    units = {"added-p50": "µs", "added-p99": "µs", "requests-per-s": "requests/s", "idle-memory": "MiB"}
    for each, factor in zip(plan.ratios, factors, strict=True):
        where = f"{each.connections} connections" if each.connections else each.connection
        bounds = (factor, 0.9 * factor, 1.1 * factor)
        names = (f"{where}: {kinds[each.of]}", each.arm, each.against)
        verdict = "missed" if factor > 1.2 and each.at_most else "met"
        yield Ratio(*names, units[each.of], 50 * factor, 50.0, *bounds, 12, "", verdict)


@pytest.mark.parametrize(
    ("kept", "headline"),
    [
        (
            (0.6, 0.5),
            (
                "The bundled proxy is faster than Envoy on a kept-alive connection: tcp adds 30, envoy-tcp 50 µs (40 % "
                "less); http adds 25, envoy-http 50 µs (50 % less)."
            ),
        ),
        (
            (2.0, 1.5),
            (
                "The bundled proxy is slower than Envoy on a kept-alive connection: tcp adds 100, envoy-tcp 50 µs (100 % "
                "more); http adds 75, envoy-http 50 µs (50 % more)."
            ),
        ),
        (
            (1.0, 1.0),
            (
                "Whether the bundled proxy is faster than Envoy on a kept-alive connection, this run can't tell: tcp adds "
                "50, envoy-tcp 50 µs (too close for this run to tell); http adds 50, envoy-http 50 µs (too close for this "
                "run to tell)."
            ),
        ),
    ],
)
def test_who_is_faster(kept: tuple[float, float], headline: str):
    """`proxies` is answered by who is faster and by how much, then by new connections, load and memory."""
    plan = plans.load("proxies")
    rows = list(compared(plan, (*kept, 2.0, 0.5, 0.6, 0.5, 1.5, 0.4)))
    found = answer(plan, summary(plan, {}), ratios=rows)
    assert headline == found.headline
    assert found.bullets[0].startswith("On a new connection, time added to a request: tcp adds 30, envoy-tcp 50 µs")
    assert "throughput: http 100, envoy-http 50 requests/s (100 % more)" in found.bullets[1]
    assert "the plan's target is missed by" in found.bullets[1]
    assert 3 == len(found.bullets)


def test_a_fixed_rate_is_a_bullet():
    """`istio` has its parts, and what its arms add at 1000 requests per second."""
    plan = plans.load("istio")
    base_us = {"direct": 60.0, "direct-twin": 61.0, "client": 140.0, "server": 150.0, "both": 220.0}
    rates = drawn.rates((1000,), base_us, dict.fromkeys(base_us, 50_000))
    steps = {
        "a sidecar at the client": (41.0, 40.0),
        "a sidecar at the server": (51.0, 49.0),
        "client × server": (4.0, 5.0),
    }
    found = answer(plan, summary(plan, {"both": (96.0, 94.0)}), terms=terms(plan, steps), rates=rates)
    assert (
        "the parts: a sidecar at the client +41, a sidecar at the server +51, client × server +4.0 µs."
        in found.headline
    )
    assert found.bullets[1].startswith("At 1,000 requests per second, counted from when each was due: client adds ")
    assert 3 == len(found.bullets)


@pytest.mark.parametrize(
    ("verdict", "overhead", "headline"),
    [
        ("changed", -9.0, "takes 9.0 µs (10 %) less through a TCP sidecar at the server: 81 instead of 90 µs."),
        (
            "equivalent",
            0.5,
            (
                "takes as long through a TCP sidecar at the server as without: any difference is below the 2.0 µs that nobody "
                "need care about."
            ),
        ),
        ("inconclusive", 1.5, "a TCP sidecar at the server: +1.5 µs [0.5, 2.5], and 2.0 µs would have shown."),
        ("not applicable", 1.0, "A request on a new connection through a TCP sidecar at the server was not measured."),
    ],
)
def test_doubt_and_gain_have_words_of_their_own(verdict: str, overhead: float, headline: str):
    """A request may take less, as long, or a time that this run can't tell."""
    plan = plans.load("smoke")
    found = answer(plan, summary(plan, {"tcp": (overhead, overhead)}, {"tcp": verdict}))
    assert found.headline.endswith(headline)


def test_medians_that_say_something_else_are_explained():
    """Where the difference of both medians is visibly not the overhead, the headline says why."""
    plan = plans.load("smoke")
    table = summary(plan, {"tcp": (105.0, 27.0)})
    table["tcp", "new", "total"] = table["tcp", "new", "total"]._replace(p50_us=230.0)
    assert answer(plan, table).headline.endswith(
        ": 230 instead of 90 µs (the medians; the 105 µs compare requests made at about the same moment)."
    )


def test_twins_that_differ_are_a_warning():
    """What forbids to trust a run is not among the bullets but before the answer."""
    plan = plans.load("smoke")
    found = answer(plan, summary(plan, OVERHEADS, {plan.twin: "changed"}))
    assert found.warnings[0].startswith("Do not trust these numbers: two identical arms differ by 1.2 µs on a new")


def test_a_plan_of_twins_alone_has_nothing_to_say():
    """Without a third arm there is nothing to compare."""
    plan = drawn.plan([])
    said_of_none = "There is nothing to compare: the plan has no arm but direct and its twin."
    assert said_of_none == answer(plan, summary(plan, {})).headline
