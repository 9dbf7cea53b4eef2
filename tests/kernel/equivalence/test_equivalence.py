import ast
from itertools import combinations
from pathlib import Path

import oracle
import pytest
from comparison import Tally, compare, unavailable
from known_differences import EXCEPTIONS, UNSEEN
from netns_helper import in_namespace
from option_sets import VALUES, pairwise, selection
from stage import Stage

from sidelab.sidecar.interception.build.backends import DIFFERENCES
from sidelab.sidecar.interception.options.options import WAYS, Way


@pytest.mark.kernel
@pytest.mark.parametrize("way", WAYS)
def test_connections_land_where_the_options_say(way: Way) -> None:
    """With every pair of option values, each probe lands where an independent reading says, every exception used."""
    if reason := unavailable(way):
        pytest.skip(reason)

    def work() -> Tally:
        tally = Tally()
        with Stage() as stage:
            for options in selection():
                compare(stage, options, [way], tally)
        return tally

    tally = in_namespace(work)

    assert "" == "\n\n".join(tally.disagreements[:5])
    assert way != "nft" or [] == tally.unused


def test_every_difference_between_the_backends_is_accounted_for() -> None:
    """Each known difference is an exception that probes meet, or has a reason why none can."""
    assert {each.about for each in DIFFERENCES} == {each.about for each in EXCEPTIONS} | UNSEEN.keys()


def test_the_oracle_reads_options_and_nothing_that_makes_rules() -> None:
    """What predicts shares with the rules' code only the values that both are given."""
    tree = ast.parse(Path(oracle.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}

    assert {
        "ipaddress",
        "grid",
        "sidelab.sidecar.interception.options.options",
        "sidelab.sidecar.interception.options.values",
    } == imported


def test_the_selection_holds_every_pair_of_values() -> None:
    """Of every two options, each value of the one stands together with each value of the other."""
    rows = pairwise(VALUES)

    missing = [
        (one, first, other, second)
        for one, other in combinations(VALUES, 2)
        for first in VALUES[one]
        for second in VALUES[other]
        if not any(row[one] == first and row[other] == second for row in rows)
    ]
    assert [] == missing
    assert len(rows) <= 20
