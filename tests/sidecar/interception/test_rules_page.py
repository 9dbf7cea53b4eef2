"""docs/rules.md says what the code does: its listings, steps and differences are compared with the real ones."""

import re
import shlex
from pathlib import Path

import pytest

from sidelab.cli.verbs import VERBS
from sidelab.sidecar.interception import Options, build, render
from sidelab.sidecar.interception.build.backends import DIFFERENCES
from sidelab.sidecar.interception.options.options import WAYS

PAGE = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
STEPS = [row for row in ROWS if row[0].isdigit()]
LISTINGS = re.findall(r"^    \$ sidelab rules render (.+)\n((?:    .*\n|\n(?=    ))+)", PAGE, re.MULTILINE)


def rendered(words: list[str]) -> str:
    """Return what `sidelab rules render` prints for a command line: variables, flags and --form."""
    variables = dict(word.split("=", 1) for word in words if word.startswith("ISTIO_"))
    flags = [word for word in words if not word.startswith("ISTIO_")]
    form = "iptables"
    if "--form" in flags:
        at = flags.index("--form")
        _, form = flags[at : at + 2]
        del flags[at : at + 2]
    return render(build(Options.from_args(flags, variables)), form)


@pytest.mark.parametrize(("command", "listing"), LISTINGS, ids=[command for command, _ in LISTINGS])
def test_listings_are_what_the_command_prints(command: str, listing: str):
    """Below each command stands its output, to the letter."""
    assert rendered(shlex.split(command)) == re.sub("^    ", "", listing, flags=re.MULTILINE)


def test_both_profiles_are_listed():
    """The page has a listing for each."""
    assert [False, True] == ["classic" in command for command, _ in LISTINGS]


def test_all_steps_are_there_in_their_order():
    """Seventeen steps; one that takes two forms has two rows."""
    numbers = [int(row[0]) for row in STEPS]
    assert (sorted(numbers), set(range(1, 18))) == (numbers, set(numbers))


@pytest.mark.parametrize("row", STEPS, ids=lambda row: f"{row[0]} {row[1]}")
def test_each_step_makes_its_rules(row: list[str]):
    """What is given in a row brings about the rules in that row, in the order in which they are printed there."""
    _, given, rules, _ = row
    lines = rendered(shlex.split(given.strip("`"))).splitlines()
    assert [] == [rule for rule in re.findall("`(.+?)`", rules) if rule not in lines]


def test_the_backends_differences_are_the_codes():
    """The table of differences has a row for each that the code knows, and no other."""
    start = next(number for number, row in enumerate(ROWS) if row[0] == "about") + 1
    assert [list(each) for each in DIFFERENCES] == ROWS[start : start + len(DIFFERENCES)]


def test_each_way_has_its_row():
    """The ways of the table are those that `--rules` accepts, the default first."""
    start = next(number for number, row in enumerate(ROWS) if row[0] == "way") + 1
    assert list(WAYS) == [re.findall("`(.+?)`", row[0])[0] for row in ROWS[start : start + len(WAYS)]]


def test_each_verb_on_the_page_exists():
    """Every `sidelab VERB` of the page is one of the command line's."""
    commands = re.findall("`sidelab (.+?)`", PAGE) + re.findall(r"^    (?:\$ )?sidelab (.+)$", PAGE, re.MULTILINE)
    named = {re.match("(?:rules )?[a-z]+", command)[0] for command in commands}  # type: ignore[index]  # they match
    assert set() == named - {verb.name for verb in VERBS}
