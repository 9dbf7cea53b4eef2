import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidelab.bench.judge.gate import budget
from sidelab.cli.main import parse
from sidelab.cli.verbs import VERBS
from sidelab.lab.errors import InputError

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "examples/ci/interception-gate.yml"
PAGE = ROOT / "docs/ci.md"


def steps():
    """Return all steps of the example workflow."""
    table = yaml.safe_load(WORKFLOW.read_text())
    found: list[dict[str, Any]] = [step for job in table["jobs"].values() for step in job["steps"]]
    return found


def test_actions_are_pinned_by_major():
    """Every action of the example is GitHub's own, at a major version."""
    uses = [step["uses"] for step in steps() if "uses" in step]
    assert uses
    assert [] == [each for each in uses if not re.fullmatch(r"actions/[a-z-]+@v\d+", each)]


def test_the_workflow_asks_for_little():
    """The example may read the repository and nothing else, keeps no credentials, and pastes nothing into a shell."""
    table = yaml.safe_load(WORKFLOW.read_text())
    assert {"contents": "read"} == table["permissions"]
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout")]
    assert {False} == {step["with"]["persist-credentials"] for step in checkouts}
    assert [] == [step for step in steps() if "${{" in step.get("run", "")]


def test_the_command_line_understands_the_example():
    """The gate of the example workflow is one that `sidelab gate` accepts."""
    (script,) = [step["run"] for step in steps() if "sidelab gate" in step.get("run", "")]
    command = re.search(r"sidelab (gate .*?) \|\|", script.replace("\\\n", ""))
    assert command is not None
    given = parse(command[1].replace('"', "").split())
    assert Path("head/budget.toml") == given.budget


def test_the_example_budgets_are_budgets():
    """The committed budget, and the one that the page shows, are read."""
    committed = budget.load(ROOT / "examples/ci/budget.toml")
    assert ["head"] * 3 == [limit.arm for limit in committed]
    shown = re.search(r"that you commit:\n\n((?:    .*\n|\n)+)", PAGE.read_text())
    assert shown is not None
    text = re.sub(r"^    ", "", shown[1], flags=re.MULTILINE)
    assert [None, 150.0] == [limit.at_most_us for limit in budget.from_dict(tomllib.loads(text), "page")]


def test_the_page_names_every_key_and_option():
    """docs/ci.md has a row for each key of a limit and each option of the verb."""
    page = PAGE.read_text()
    assert [] == [key for key in budget.Limit.__struct_fields__ if f"| `{key}` |" not in page]
    (verb,) = [each for each in VERBS if each.name == "gate"]
    options = [name for argument in verb.arguments for name in argument.names if name.startswith("--")]
    assert [] == [name for name in options if f"`{name}" not in page and f" {name} " not in page]


def test_unknown_words_are_refused():
    """`sidelab gate` does not guess at an option."""
    with pytest.raises(InputError, match="--limit"):
        parse(["gate", "results/x", "--limit", "y"])
