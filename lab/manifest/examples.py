"""The manifests of `examples/`, wherever sidelab runs from: a checkout, or a wheel, which has a copy of them."""

from pathlib import Path

from sidelab.lab.errors import InputError

SHIPPED = "lab/example_files"
"""Where the wheel has its copy; pyproject.toml puts it there."""

_ROOT = Path(__file__).parents[2]


def directory() -> Path:
    """Return the directory of the examples: the wheel's copy if there is one, otherwise that of the checkout."""
    shipped = _ROOT / SHIPPED
    return shipped if shipped.is_dir() else _ROOT / "examples"


def example(name: str) -> Path:
    """Return the file of the example `name`, such as `nginx.yaml` or `haproxy/pod.yaml`.

    Raises `InputError` with the manifests that there are, if there is none of that name.
    """
    path = directory() / name
    if not path.is_file():
        there = sorted(each.relative_to(directory()).as_posix() for each in directory().rglob("*.yaml"))
        raise InputError(f"there is no example {name!r}: choose one of {', '.join(there)}")
    return path
