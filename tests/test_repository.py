import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sidelab.bench.arms import pods_of_arms
from sidelab.lab.manifest import examples

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
WHEEL = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
BUILD = [Requirement(line) for line in PYPROJECT["build-system"]["requires"]]
ALL = [*RUNTIME, *(each for lines in EXTRAS.values() for each in lines)]
TEXTS = {".py", ".toml", ".yaml", ".yml", ".md", ".txt", ".json"}
GENERATED = {".git", ".nox", ".venv", ".hypothesis", ".mypy_cache", ".ruff_cache", ".pytest_cache", "results", "dist"}
# Home directories and temporary files; in two parts, so that this file does not name one itself.
MACHINE_PATHS = re.compile("(?<![a-z.])/(?:" + "home|Users|root|work" + ")/[a-z0-9]{2}")


def sources() -> list[Path]:
    """Return every text file of the checkout that a person wrote."""
    found = [path for path in ROOT.rglob("*") if path.is_file() and not GENERATED & {*path.relative_to(ROOT).parts}]
    return [path for path in found if path.suffix in TEXTS or path.name in ("Vagrantfile", "run")]


def pins() -> dict[str, str]:
    """Return the version that constraints.txt gives each distribution."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in found}


@cache
def installed_packages() -> Mapping[str, list[str]]:
    """Return the distributions that provide each importable package; reading them all takes a second."""
    return metadata.packages_distributions()


@cache
def imported_packages() -> set[str]:
    """Return the top-level names that the shipped modules import."""
    found = set()
    for room in ("lab", "sidecar", "evidence", "bench", "cli", "sidelab.py"):
        start = ROOT / room
        for path in start.rglob("*.py") if start.is_dir() else [start]:
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    found.add(str(node.module).split(".")[0])
                elif (
                    isinstance(node, ast.Call) and ast.unparse(node.func) == "light"
                ):  # `lab.netlink.pyroute2_messages`
                    found |= {each.value.split(".")[0] for each in node.args if isinstance(each, ast.Constant)}
    return found


def test_no_file_names_a_path_of_somebodys_machine():
    """Nothing in the checkout points into a home directory or a workspace."""
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert [] == found


def test_nobody_is_sent_to_an_index_for_sidelab():
    """No package index has sidelab, so no command installs it by its bare name; from git or a wheel's file it does."""
    by_name = re.compile(r"pipx? install [^`\n]*['\" ]sidelab(?!( @ |-\d))\b")
    found = [str(path.relative_to(ROOT)) for path in sources() if by_name.search(path.read_text())]
    assert [] == found


@pytest.mark.parametrize("requirement", [*ALL, *BUILD], ids=lambda each: each.name)
def test_every_dependency_has_its_reason(requirement: Requirement):
    """ARCHITECTURE.md's table has a line for each dependency, runtime or tool."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z0-9_, -]+) \| .{10,}\|$", text, re.MULTILINE)
    assert requirement.name in {name for row in rows for name in row.split(", ")}


@pytest.mark.parametrize("requirement", RUNTIME, ids=lambda each: each.name)
def test_every_dependency_is_used(requirement: Requirement):
    """What is installed with sidelab is imported by sidelab."""
    provided = {
        package
        for package, distributions in installed_packages().items()
        if canonicalize_name(requirement.name) in map(canonicalize_name, distributions)
    }
    assert provided & imported_packages()


@pytest.mark.parametrize("requirement", ALL, ids=lambda each: each.name)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement):
    """constraints.txt pins each dependency to a version that pyproject.toml allows."""
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_every_dependency_of_a_dependency_is_pinned():
    """Everything that the installed dependencies require is in constraints.txt too."""
    wanted = [requirement.name for requirement in RUNTIME + EXTRAS["test"]]
    seen: set[str] = set()
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name not in seen:
            seen.add(name)
            requirements = [Requirement(line) for line in metadata.requires(name) or ()]
            wanted += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    assert set() == seen - pins().keys()


def test_the_wheel_ships_what_the_program_reads():
    """Every non-Python file below the packages is one of the plans, and pyproject.toml ships each package."""
    assert {"cli", "lab", "sidecar", "evidence", "bench"} == set(WHEEL["only-include"])
    assert {room: f"sidelab/{room}" for room in WHEEL["only-include"]} == WHEEL["sources"]
    assert {"sidelab": "sidelab:main"} == PROJECT["scripts"]
    data = {
        path.relative_to(ROOT).as_posix()
        for room in ("lab", "sidecar", "evidence", "bench", "cli")
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py"
    }
    assert {"bench/report/page", "bench/plan/shipped"} == {path.rpartition("/")[0] for path in data}
    assert {".css", ".toml"} == {Path(path).suffix for path in data}


def test_the_wheel_ships_the_examples():
    """The directory of the examples is shipped as a whole, to where an installed sidelab looks for it."""
    assert {examples.directory().name: f"sidelab/{examples.SHIPPED}"} == WHEEL["force-include"]
    assert ROOT / "examples" == pods_of_arms.default_manifest().parent


def test_help_needs_nothing_heavy():
    """The command line answers `--help` without importing what only a verb needs."""
    program = "import sys, sidelab.cli.main; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set() == {"pandas", "numpy", "scipy", "matplotlib", "pyroute2", "sidelab.sidecar"} & set(ran.stdout.split())


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "results/README.md", "docs/rules.md"),
        *("docs/injection.md", "docs/proxy-contract.md", "docs/ci.md", "docs/measuring.md"),
    ],
)
def test_links_lead_somewhere(name: str):
    """A relative link of the documentation names a file of the checkout; the reference run is made by a benchmark."""
    page = ROOT / name
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists() and "reference/" not in link]
    assert [] == missing
