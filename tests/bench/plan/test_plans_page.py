"""docs/plans.md against the plans themselves."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Load, Placement, Plan, Rate, Ratio, Stop, Term

PAGE = (Path(__file__).parents[3] / "docs" / "plans.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", [Plan, Arm, Load, Rate, Ratio, Term, Stop, Placement])
def test_every_key_is_explained(kind: type[msgspec.Struct]) -> None:
    """Each key of a plan stands in a table or in the example."""
    known = set(re.findall(r"`(\w+)`", PAGE)) | set(re.findall(r"^    \[*(\w+)\]* *(?:=|#)", PAGE, re.MULTILINE))
    assert set() == {field.name for field in msgspec.structs.fields(kind)} - known - {"arms"}


def test_every_shipped_plan_is_listed() -> None:
    """The table has the shipped plans, and no others."""
    listed = re.findall(r"^\| `([\w-]+)` \| [^|]* \| [^|]*(?: s|minutes) \|$", PAGE, re.MULTILINE)
    assert sorted(plans.shipped()) == sorted(listed)


def test_the_example_is_a_plan() -> None:
    """What the page shows can be read as it stands."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", PAGE, re.MULTILINE)
    example, more = (
        tomllib.loads(re.sub(r"^    ", "", block, flags=re.MULTILINE))
        for block in blocks
        if "[[arms]]" in block or "[stop]" in block
    )
    more["loads"][0]["connections"] = more["ratios"][0]["connections"] = 32
    plan = plans.from_dict(example | more, "docs/plans.md")
    assert ["direct", "direct-twin", "bundled", "mine"] == [arm.name for arm in plan.arms]
