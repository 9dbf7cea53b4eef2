import json
from pathlib import Path
from typing import Any

import pytest

from sidelab.sidecar.interception import Options, build, render

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "istio-rules.json").read_text())
CASES = [
    pytest.param(case, form, id=f"{case['name']}-{form}")
    for case in GOLDEN["cases"]
    for form in ("iptables", "ip6tables", "nft")
    if case[form] is not None
]


@pytest.mark.parametrize(("case", "form"), CASES)
def test_rules_are_istios_line_by_line(case: dict[str, Any], form: str) -> None:
    """The text made from Istio's own option sets is the text that Istio's own tests expect."""
    ruleset = build(Options.from_args(case["args"], case["env"]))

    assert case[form] == render(ruleset, form).splitlines()


def test_every_golden_set_is_used() -> None:
    """All 14 option sets are compared, in the 27 renderings that Istio has an expectation for."""
    assert (len(GOLDEN["cases"]), len(CASES)) == (14, 27)
