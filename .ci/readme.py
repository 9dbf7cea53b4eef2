"""The commands that the README tells a user to type, read from the README itself."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def commands(section: str, program: str) -> list[str]:
    """Return the indented lines below the heading `section` that start with `program`, as they are written."""
    return re.findall(rf"^ {{4}}({re.escape(program)} .*)$", _section(section), re.MULTILINE)


def packages(*, ordinary: bool) -> list[str]:
    """Return the Debian packages that the machine needs; those for an `ordinary` user come after the others."""
    text = _section("What the machine needs")
    for_root, said, _ = text.partition("As root that is all.")
    if not said:
        raise ValueError("README.md no longer says where root's requirements end")
    lines = re.findall(r"^ {4}sudo apt-get install (.*)$", text if ordinary else for_root, re.MULTILINE)
    return [word for line in lines for word in line.split() if not word.startswith("-")]


def _section(heading: str) -> str:
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"README.md has no section {heading!r}")
    return found[1]
