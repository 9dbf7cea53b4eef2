import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_rules_random import OPTIONS

from sidelab.sidecar.interception import Backend, Options, build
from sidelab.sidecar.interception.drift import differences, repair
from sidelab.sidecar.interception.drift.differences import Drift, DriftPlace, Lines, Step
from sidelab.sidecar.interception.model.counted import from_ruleset
from sidelab.sidecar.interception.text import iptables, saved

TUTORIAL = build(Options.from_args("-m REDIRECT -i * -b * -d 15090,15021,15020".split()))
WANTED = differences.expected(TUTORIAL, Backend.IPTABLES)
INBOUND = DriftPlace(4, "nat", "ISTIO_INBOUND")
OUTPUT = DriftPlace(4, "nat", "OUTPUT")
TEXT = iptables.render(TUTORIAL, 4)


def held(text: str) -> Lines:
    """Return what of a save is Istio's."""
    return differences.found(saved.read(text, 4), 4, WANTED)


def drift_of(text: str) -> Drift:
    """Return how a save differs from the tutorial's rules."""
    return differences.drift(WANTED, held(text))


@given(OPTIONS)
@settings(deadline=None, max_examples=60)
def test_what_was_applied_has_not_drifted(options: Options) -> None:
    """Read back as they were fed, the rules of any options are those that are expected, by either backend."""
    ruleset = build(options)
    wanted = differences.expected(ruleset, Backend.IPTABLES)
    found = {
        place: lines
        for family in (4, 6)
        for place, lines in differences.found(
            saved.read(iptables.render(ruleset, family), family), family, wanted
        ).items()
    }

    assert (wanted, "") == (found, differences.drift(wanted, found).diff)
    native = differences.expected(ruleset, Backend.NFT)
    assert not differences.drift(native, {**native, **differences.found(from_ruleset(ruleset), None, native)})


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_every_lost_rule_is_missed_and_every_other_one_is_extra(data: st.DataObject) -> None:
    """Of rules that are taken out and repeated, exactly those are reported, and nothing counts as reordered."""
    lines = {place: list(lines) for place, lines in WANTED.items()}
    place = data.draw(st.sampled_from(sorted(lines, key=str)))
    at = data.draw(st.integers(0, len(lines[place]) - 1))
    lost = lines[place].pop(at)
    other = data.draw(st.sampled_from(sorted(lines, key=str)))
    lines[other].append("-A ISTIO_INBOUND -j ACCEPT")

    drift = differences.drift(WANTED, {each: tuple(now) for each, now in lines.items()})

    assert ({place: (lost,)}, {other: ("-A ISTIO_INBOUND -j ACCEPT",)}, ()) == (
        drift.missing,
        drift.extra,
        drift.reordered,
    )
    assert f"-{lost}" in drift.diff.splitlines()
    assert "+-A ISTIO_INBOUND -j ACCEPT" in drift.diff.splitlines()


def test_rules_in_another_order_are_reported_as_such() -> None:
    """Two rules that changed places are neither missing nor extra; the diff shows which one moved."""
    lines = TEXT.splitlines()
    moved = [line for line in lines if "15090" in line]
    others = [line for line in lines if "15090" not in line]
    others.insert(next(i for i, line in enumerate(others) if "15020" in line) + 1, moved[0])

    drift = drift_of("".join(f"{line}\n" for line in others))

    assert (drift.missing, drift.extra, drift.reordered) == ({}, {}, (INBOUND,))
    assert (
        "--- iptables -t nat ISTIO_INBOUND (should be)\n"
        "+++ iptables -t nat ISTIO_INBOUND (is)\n"
        "@@ -2,5 +2,5 @@\n"
        " -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n"
        "--A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN\n"
        " -A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN\n"
        " -A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN\n"
        "+-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN\n"
        " -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n"
    ) == drift.diff


@pytest.mark.parametrize(
    ("foreign", "drifts"),
    [
        ("-A OUTPUT -p tcp --dport 9 -j ACCEPT", False),
        ("-A OUTPUT -p icmp -j LOG --log-prefix ISTIO", False),
        ("-A MINE -j ACCEPT", False),
        ("-A ISTIO_OUTPUT -p icmp -j LOG", True),
        ("-A OUTPUT -j ISTIO_OUTPUT", True),
        ("-A OUTPUT -m mac --mac-source 0:0:0:0:0:1 -j ISTIO_OUTPUT", True),
        ("-A MINE -g ISTIO_OUTPUT", True),
        ("-N ISTIO_OTHER", True),
    ],
)
def test_only_what_is_istios_counts(foreign: str, drifts: bool) -> None:
    """Others' rules in built-in chains and chains of their own are no drift; in or into Istio's chains they are."""
    assert drifts == bool(drift_of(TEXT.replace("COMMIT", f"{foreign}\nCOMMIT")))


def test_drift_is_data() -> None:
    """As JSON a drift names table, chain, family and rule of each difference."""
    drift = differences.drift(WANTED, {**WANTED, OUTPUT: ()}, ["ip rule a"], ["ip rule a", "ip rule a"])

    assert {
        "missing": [{"table": "nat", "chain": "OUTPUT", "family": 4, "rule": "-A OUTPUT -j ISTIO_OUTPUT"}],
        "extra": [],
        "reordered": [],
        "missing_local": [],
        "extra_local": ["ip rule a"],
    } == drift.data


NOTHING = Drift({}, {}, ())
MISSING = Drift(WANTED, {}, ())
DRIFTED = Drift({INBOUND: ("-A ISTIO_INBOUND -j ACCEPT",)}, {}, ())
REORDERED = Drift({}, {}, (INBOUND,))
STATES = {
    "clean": (False, MISSING),
    "matches": (True, NOTHING),
    "drifted": (True, DRIFTED),
    "reordered": (True, REORDERED),
}


@pytest.mark.parametrize(
    ("found", "flags", "expected"),
    [
        ("clean", "", Step.APPLY),
        ("clean", "--reconcile", Step.APPLY),
        ("clean", "--force-apply", Step.APPLY),
        ("clean", "--cleanup-only", Step.NOTHING),
        ("matches", "", Step.NOTHING),
        ("matches", "--reconcile", Step.NOTHING),
        ("matches", "--force-apply", Step.APPLY),
        ("matches", "--cleanup-only", Step.CLEAN),
        ("drifted", "", Step.APPLY),
        ("drifted", "--reconcile", Step.RECONCILE),
        ("drifted", "--force-apply", Step.APPLY),
        ("drifted", "--cleanup-only", Step.CLEAN),
        ("reordered", "", Step.NOTHING),
        ("reordered", "--reconcile", Step.NOTHING),
        ("clean", "--quirks none", Step.APPLY),
        ("matches", "--quirks none", Step.NOTHING),
        ("matches", "--quirks none --force-apply", Step.RECONCILE),
        ("drifted", "--quirks none", Step.RECONCILE),
        ("reordered", "--quirks none", Step.RECONCILE),
        ("drifted", "--quirks none --cleanup-only", Step.CLEAN),
    ],
)
def test_istio_does_what_the_state_asks_for(found: str, flags: str, expected: Step) -> None:
    """State and options decide as in istio-iptables; without its quirks drift in any form is put right."""
    residue, drift = STATES[found]

    assert expected == differences.step(residue, drift, Options.from_args(flags.split()))


@given(OPTIONS)
@settings(deadline=None, max_examples=40)
def test_cleaning_names_all_that_was_applied(options: Options) -> None:
    """Every rule in a built-in chain is deleted, every chain flushed and then deleted; of nothing it makes nothing."""
    ruleset = build(options)
    wanted = differences.expected(ruleset, Backend.IPTABLES)
    lines = repair.cleaning(saved.read(iptables.render(ruleset, 4), 4), 4, wanted).splitlines()
    counts = {letter: sum(line.startswith(f"-{letter} ") for line in lines) for letter in "DFX"}
    chains = [line for place, lines in wanted.items() if place.family == 4 for line in lines if line.startswith("-N ")]
    built_in = [
        line for place, lines in wanted.items() if place[::2] in {(4, "OUTPUT"), (4, "PREROUTING")} for line in lines
    ]

    assert {"D": len(built_in), "F": len(chains), "X": len(chains)} == counts
    assert "" == repair.cleaning(saved.read("*nat\n-A OUTPUT -j ACCEPT\nCOMMIT\n", 4), 4, wanted)
