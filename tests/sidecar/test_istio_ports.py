"""Istio's ports and the cluster's domain: each is written once."""

import ast
from pathlib import Path

from sidelab.lab.cluster.addresses import DOMAIN
from sidelab.sidecar import istio_ports

ROOT = Path(__file__).parents[2]
NUMBERS = {value for value in vars(istio_ports).values() if isinstance(value, int)}


def constants(*rooms: str) -> list[tuple[str, object]]:
    """Return each constant of the rooms' code that is no docstring, with its file."""
    found = []
    for path in (path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))):
        tree = ast.parse(path.read_text())
        prose = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        constants = (each for each in ast.walk(tree) if isinstance(each, ast.Constant) and id(each) not in prose)
        found += [(str(path.relative_to(ROOT)), each.value) for each in constants]
    return found


def test_numbers_of_ports_are_in_one_file():
    """Of those rooms that know Istio; what is shown to people and what Istio's tools are given are texts."""
    found = constants("sidecar", "evidence", "bench", "cli")
    numbers = [(file, value) for file, value in found if type(value) is int and value in NUMBERS]
    assert len(NUMBERS) == len(numbers)
    assert {"sidecar/istio_ports.py"} == {file for file, _ in numbers}


def test_the_domain_is_in_one_file():
    """Names in it are put together."""
    found = constants("lab", "sidecar", "evidence", "bench", "cli")
    assert ["lab/cluster/addresses.py"] == [file for file, value in found if isinstance(value, str) and DOMAIN in value]
