import socket
import subprocess

import pytest
from netns_helper import add_pod_link, in_namespace
from rules_held import EVERYTHING, TOOLS, TUTORIAL, changed, everything_held, flags, iptables, require
from test_rules_kernel import POD, SETS, ruleset_of
from tools import tool

from sidelab.lab.errors import InputError, MachineError
from sidelab.lab.netlink import local_routes, route
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.options.options import WAYS, Way
from sidelab.sidecar.interception.text.listing import listing

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    require(request.node.callspec.params["way"] if "way" in request.fixturenames else "nft")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("args", "env"), SETS[::3] + SETS[-4:])
def test_by_every_way_the_kernel_holds_what_is_expected(args: list[str], env: dict[str, str], way: Way) -> None:
    """Read back by the way they came, rules, routes and addresses are those that were asked for; then all can go."""
    ruleset = ruleset_of(args, env)

    def work() -> tuple[str, bool, str]:
        before = everything_held()
        ways.apply(ruleset, way)
        drift = ways.check(ruleset, way)
        once = everything_held()
        ways.apply(ruleset, way)
        twice = once == everything_held()
        ways.clean(ruleset, way)
        ways.clean(ruleset, way)
        return drift.diff, twice, changed(before, everything_held())

    assert ("", True, "") == in_namespace(work)


@pytest.mark.parametrize("way", TOOLS)
@pytest.mark.parametrize(("args", "env"), [SETS[0], SETS[2], SETS[11], SETS[-2]])
def test_our_listing_is_the_tools_own(args: list[str], env: dict[str, str], way: Way) -> None:
    """Of iptables-made rules, our listing has the rows of `iptables -L -v -n`, in their order, in every table."""
    ruleset = ruleset_of(args, env)
    numbers = {"0": "all", "6": "tcp", "17": "udp"}

    def rows(text: str) -> list[list[str]]:
        # The tool sets `!` apart before owners; some versions of it number protocols.
        lines = text.replace("! owner", "!owner").splitlines()
        found = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("pkts")]
        return [
            words[:2] if words[0] == "Chain" else [*words[:3], numbers.get(words[3], words[3]), *words[4:]]
            for words in found
        ]

    def work() -> list[tuple[list[list[str]], list[list[str]]]]:
        ways.apply(ruleset, way)
        pairs = []
        for six in (False, True) if ruleset.ipv6 else (False,):
            tables = ways.open_way(way).read(6 if six else 4)
            for table in tables:
                theirs = rows(iptables(way, "-t", table.name, "-L", "-v", "-n", six=six))
                pairs.append((theirs, rows(listing(tables, table.name, 6 if six else 4, numeric=True))))
        return pairs

    for theirs, ours in in_namespace(work):
        assert sorted(theirs) == sorted(ours)


@pytest.mark.parametrize("way", WAYS)
def test_cleanup_only_dry_run_and_skip_apply_nothing(way: Way) -> None:
    """Clean-up leaves nothing, routes included; a dry run and a skipped application change nothing."""

    def work() -> list[bool]:
        before = everything_held()
        ways.apply(EVERYTHING, way, flags("--skip-rule-apply"))
        skipped = before == everything_held()
        ways.apply(TUTORIAL, way, flags("--dry-run --quirks none"))
        dry = before == everything_held()
        ways.apply(EVERYTHING, way)
        ways.apply(EVERYTHING, way, flags("--cleanup-only"))
        ways.apply(EVERYTHING, way, flags("--cleanup-only"))
        return [skipped, dry, changed(before, everything_held()) == ""]

    assert [True, True, True] == in_namespace(work)


@pytest.mark.parametrize("way", TOOLS)
def test_a_missing_tool_is_named_with_its_package(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a tool is not installed the machine is blamed, with the package to install and the way without tools."""
    monkeypatch.setattr("sidelab.sidecar.interception.apply.tools._PATH", "/nowhere")

    with pytest.raises(MachineError, match=r"apt-get install iptables.*'nft'"):
        ways.apply(TUTORIAL, way)


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_group_is_refused_before_anything(way: Way) -> None:
    """A group's name that nobody has is bad input by every way, and nothing stays."""
    ruleset = build(Options(owner_groups=("no-such-group",), interception_mode="TPROXY"))

    def work() -> str:
        before = everything_held()
        with pytest.raises(InputError, match="no-such-group"):
            ways.apply(ruleset, way)
        return changed(before, everything_held())

    assert "" == in_namespace(work)


def test_routes_of_others_stay() -> None:
    """Rules for other marks, routes of other tables and `lo`'s own addresses survive clean-up; duplicates go."""

    def work() -> tuple[list[str], list[str]]:
        for words in ("rule add fwmark 7 lookup 133", "rule add fwmark 1337 lookup 133 priority 5"):
            subprocess.run([tool("ip"), *words.split()], check=True)
        subprocess.run([tool("ip"), *"route add local default dev lo table 7".split()], check=True)
        with route.open_socket() as link:
            before = [str(thing) for thing in local_routes.held(link)]
            ways.apply(EVERYTHING)
            ways.apply(EVERYTHING)
            ways.clean(EVERYTHING)
            return before, [str(thing) for thing in local_routes.held(link)]

    before, after = in_namespace(work)

    assert [line for line in before if "1337" not in line] == after
    assert "ip rule add fwmark 7 lookup 133" in after
    assert "ip -6 address add ::1/128 dev lo" in after


def test_without_quirks_ipv6_that_is_off_is_left_alone() -> None:
    """With IPv6 off, nft's rules see its connections as Istio's do, unless `--quirks none` says that they must not."""

    def seen(quirks: str) -> tuple[str, list[int]]:
        ruleset = build(flags(f"--drop-invalid --quirks {quirks}"))
        ways.apply(ruleset)
        with socket.socket(socket.AF_INET6) as application:
            application.setblocking(False)
            application.connect_ex(("fd00:9::77", 80))  # its first packet passes the rules within the call
        (nat,) = [table for table in ways.open_way("nft").read(6) if table.name == "nat"]
        return ways.check(ruleset).diff, [
            row.packets for chain in nat.chains for row in chain.rows if chain.name == "OUTPUT"
        ]

    def work() -> list[tuple[str, list[int]]]:
        add_pod_link(POD, "fd00:9::1")
        return [seen("istio"), seen("none")]

    assert [("", [1]), ("", [0])] == in_namespace(work)
