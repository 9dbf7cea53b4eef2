"""Which tests were skipped, and whether `.ci/skips-allowed` allows that.

The file has sections: `[PATTERN …]` names machines, and each line below it is a test's name, two spaces or more, and
the reason. `*` stands for any text. A skip is allowed if name and reason match a line in a section for the machine.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

ALLOWED = Path(__file__).with_name("skips-allowed")


class Skip(NamedTuple):
    """A test by name, `tests.lab.base.test_loop::test_a_timer`, and why it was skipped."""

    name: str
    reason: str


def skipped(junit: Path) -> list[Skip]:
    """Return the tests that were skipped, from the results of a run."""
    found = []
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314  # our own pytest wrote it
        mark = case.find("skipped")
        if mark is not None:
            found.append(Skip(f"{case.get('classname')}::{case.get('name')}", mark.get("message") or ""))
    return found


def not_allowed(skips: list[Skip], machine: str) -> list[Skip]:
    """Return the skips that no line for `machine` allows."""
    lines = [line for machines, line in _lines() if any(_fits(each, machine) for each in machines)]
    return [
        skip
        for skip in skips
        if not any(_fits(line.name, skip.name) and _fits(line.reason, skip.reason) for line in lines)
    ]


def _lines() -> Iterator[tuple[list[str], Skip]]:
    machines: list[str] = []
    for line in ALLOWED.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            machines = line.strip("[]").split()
        elif line.strip() and not line.startswith("#"):
            name, _, reason = line.strip().partition("  ")
            yield machines, Skip(name, reason.strip())


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None
