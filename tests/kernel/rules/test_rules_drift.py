import subprocess
from collections.abc import Sequence

import pytest
from netns_helper import in_namespace
from rules_held import EVERYTHING, TOOLS, TUTORIAL, changed, everything_held, flags, iptables, require
from tools import tool

from sidelab.lab.errors import PodError
from sidelab.lab.netlink import local_routes, route
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.apply.tools import Done, run_here
from sidelab.sidecar.interception.apply.ways import Reach
from sidelab.sidecar.interception.options.options import WAYS, Way

FOREIGN = "-p tcp -m tcp --dport 77 -j ACCEPT"

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    require(request.node.callspec.params["way"] if "way" in request.fixturenames else "nft")


@pytest.mark.parametrize("way", WAYS)
def test_drift_is_found_and_put_right(way: Way) -> None:
    """A rule lost and one too many, a route lost: each is reported, and reconciled; counters start again."""

    def damaged() -> None:
        if way == "nft":
            table = "inet istio-proxy-mangle"
            text = f"flush chain {table} istio-divert\nadd rule {table} istio-tproxy counter accept\n"
            subprocess.run([tool("nft"), "-f", "-"], input=text, text=True, check=True)
        else:
            iptables(way, "-t", "mangle", "-F", "ISTIO_DIVERT")
            iptables(way, "-t", "mangle", "-A", "ISTIO_TPROXY", "-j", "ACCEPT")
        with route.open_socket() as link:
            local_routes.remove(link, [local_routes.LocalRoute(4, 133)])

    def work() -> tuple[dict[str, list[str]], str]:
        ways.apply(EVERYTHING, way)
        damaged()
        drift = ways.check(EVERYTHING, way)
        ways.reconcile(EVERYTHING, way)
        found = {
            "missing": [rule for lines in drift.missing.values() for rule in lines],
            "extra": [rule for lines in drift.extra.values() for rule in lines],
            "local": list(drift.missing_local),
        }
        return found, ways.check(EVERYTHING, way).diff

    assert (
        {
            "missing": ["-A ISTIO_DIVERT -j MARK --set-mark 1337", "-A ISTIO_DIVERT -j ACCEPT"],
            "extra": ["-A ISTIO_TPROXY -j ACCEPT"],
            "local": ["ip route add local default dev lo table 133"],
        },
        "",
    ) == in_namespace(work)


@pytest.mark.parametrize("way", TOOLS)
def test_foreign_rules_in_the_same_tables_are_left_alone(way: Way) -> None:
    """Others' rules and chains are no drift, and neither reconciling nor cleaning touches them, counters included."""

    def work() -> tuple[str, bool, str, str]:
        for table in ("nat", "mangle", "filter"):
            iptables(way, "-t", table, "-A", "OUTPUT", *FOREIGN.split(), "-c", "5", "300")
        iptables(way, "-t", "nat", "-N", "MINE")
        before = everything_held()
        ways.apply(TUTORIAL, way)
        iptables(way, "-t", "nat", "-D", "PREROUTING", "1")
        wrong = bool(ways.check(TUTORIAL, way))
        ways.reconcile(TUTORIAL, way)
        after = ways.check(TUTORIAL, way).diff
        ways.clean(TUTORIAL, way)
        kept = iptables(way, "-t", "nat", "-L", "OUTPUT", "-v", "-x").splitlines()[2].split()[:2]
        return after, wrong, changed(before, everything_held()), " ".join(kept)

    assert ("", True, "", "5 300") == in_namespace(work)


@pytest.mark.parametrize("quirks", ["istio", "none"])
def test_what_others_put_into_nftables_tables_stays(quirks: str) -> None:
    """Others' rules and chains in our tables survive reconciling and cleaning, and without quirks applying too."""
    nat, mangle = "inet istio-proxy-nat", "inet istio-proxy-mangle"
    foreign = f"""
        add chain {nat} mine
        add rule {nat} mine tcp dport 7 drop
        insert rule {nat} output tcp dport 1-9 log
        add chain {mangle} input {{ type filter hook input priority 5 ; }}
        insert rule {nat} prerouting udp dport 9 jump mine
    """

    def nft(*words: str, text: str = "") -> str:
        return subprocess.run([tool("nft"), *words], input=text, capture_output=True, text=True, check=True).stdout

    def work() -> tuple[list[str], str, str, str]:
        ways.apply(EVERYTHING)
        nft("-f", "-", text=foreign)
        left = [ways.check(EVERYTHING).diff]
        nft(f"flush chain {nat} istio-output; add rule {nat} output tcp dport 1-9 jump istio-output")
        wrong = ways.check(EVERYTHING).diff
        ways.reconcile(EVERYTHING)
        left.append(ways.check(EVERYTHING).diff)
        options = flags(f"--quirks {quirks}")
        if quirks == "none":
            ways.apply(EVERYTHING, "nft", options)
            left.append(ways.check(EVERYTHING).diff)
            ways.apply(EVERYTHING, "nft", flags("--quirks none --cleanup-only"))
        else:
            ways.clean(EVERYTHING)
        kept = nft("list", "ruleset")
        ways.apply(EVERYTHING)  # as Istio does, which flushes its tables
        return left, wrong, kept, nft("list", "chain", *nat.split(), "output")

    left, wrong, kept, flushed = in_namespace(work)

    assert [""] * len(left) == left
    assert "verdict ISTIO_OUTPUT" in wrong
    lines = [line.strip() for line in kept.splitlines() if line.strip() not in {"", "}"} and "hook" not in line]
    assert [
        "table inet istio-proxy-nat {",
        "chain prerouting {",
        "udp dport 9 jump mine",
        "chain output {",
        "tcp dport 1-9 log",
        "chain mine {",
        "tcp dport 7 drop",
        "table inet istio-proxy-mangle {",
        "chain input {",
    ] == lines
    assert "log" not in flushed


@pytest.mark.parametrize("way", TOOLS)
@pytest.mark.parametrize(
    ("words", "drifted", "problem"),
    [
        ("", False, ""),
        ("", True, "--reconcile"),
        ("--force-apply", False, "--reconcile"),
        ("--reconcile", True, ""),
        ("--quirks none", True, ""),
        ("--quirks none --force-apply", False, ""),
    ],
)
def test_a_second_application_does_what_istio_does(way: Way, words: str, drifted: bool, problem: str) -> None:
    """It does nothing, fails because the chains exist, or reconciles, as state and options say; failing undoes all."""
    options = flags(words)

    def work() -> tuple[str, bool, bool]:
        ways.apply(TUTORIAL, way)
        if drifted:
            iptables(way, "-t", "nat", "-D", "ISTIO_INBOUND", "1")
        before = everything_held()
        said = ""
        try:
            ways.apply(TUTORIAL, way, options)
        except PodError as error:
            said = str(error)
        return said, before == everything_held(), bool(ways.check(TUTORIAL, way))

    said, unchanged, wrong = in_namespace(work)

    assert problem in said
    assert bool(problem) == bool(said)
    assert unchanged == (bool(problem) or not drifted)
    assert wrong == (drifted and bool(problem))


@pytest.mark.parametrize("way", TOOLS)
def test_traffic_is_held_up_while_rules_are_missing(way: Way) -> None:
    """From clean-up to the last rule, reconciling drops TCP and UDP in all hooks of the filter table."""
    guards: list[int] = []

    def watching(argv: Sequence[str], text: str, env: dict[str, str]) -> Done:
        if "-F ISTIO_INBOUND" in text or "-N ISTIO_INBOUND" in text:
            guards.append(sum(iptables(way, "-S", hook).count("-j DROP") for hook in ("INPUT", "FORWARD", "OUTPUT")))
        return run_here(argv, text, env)

    def work() -> tuple[list[int], str]:
        ways.apply(TUTORIAL, way)
        guards.clear()
        ways.reconcile(TUTORIAL, way, Reach(run=watching))
        return guards, iptables(way, "-S")

    held, after = in_namespace(work)

    assert ([6, 6], 0) == (held, after.count("-j DROP"))
