"""Helpers for tests of the ways into the kernel: rule sets, the tool of a way, and everything in a namespace."""

import difflib
import subprocess

from test_rules_kernel import CORNERS, ruleset_of
from tools import path_of, tool

from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.options.options import Way

TOOLS: list[Way] = ["iptables", "iptables-legacy"]
EVERYTHING = ruleset_of(CORNERS["everything"].split(), {})


def flags(words: str) -> Options:
    """Return the tutorial's options with further flags."""
    return Options.from_args([*"-m REDIRECT -i * -b * -d 15090,15021,15020".split(), *words.split()])


TUTORIAL = build(flags(""))


def require(way: Way) -> None:
    """Skip the test if the tools of a way are not installed."""
    if way != "nft":
        tool(f"{'iptables-nft' if way == 'iptables' else way}-restore")


def everything_held() -> str:
    """Return everything in a namespace that rules consist of, without counters and empty tables."""
    saves = ["iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"]
    ip = tool("ip")
    commands = [
        *([path] for path in map(path_of, saves) if path),
        [tool("nft"), "-s", "list", "ruleset", "inet"],
        *([ip, flag, *words] for flag in ("-4", "-6") for words in (["rule"], ["route", "show", "table", "all"])),
        [ip, "address", "show", "dev", "lo"],
    ]
    found = []
    for words in commands:
        text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        # The nft-backed tool saves tables in the order in which they were made.
        tables = sorted(text.split("COMMIT\n"), key=lambda table: table.partition("\n*")[2])
        lines = [line for table in tables for line in table.splitlines() if line and line[0] not in "#*:"]
        found.append("\n".join([*words, *lines]))
    return "\n".join(found)


def changed(before: str, after: str) -> str:
    """Return the lines in which `after` differs."""
    return "\n".join(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0))


def iptables(way: Way, *words: str, six: bool = False) -> str:
    """Run `iptables` of a way."""
    name = ("ip6tables" if six else "iptables") + {"iptables": "-nft", "iptables-legacy": "-legacy"}.get(way, "")
    return subprocess.run([tool(name), *words], capture_output=True, text=True, check=True).stdout
