"""What a verb is, and what several verbs share: arguments, and how they print."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sidelab.cli import output
from sidelab.lab.base.text import escapes

Given = argparse.Namespace


class Argument:
    """What argparse's `add_argument` is given."""

    def __init__(self, *names: str, **how: Any) -> None:
        self.names = names
        self.how = how


class Verb(NamedTuple):
    """A verb of the command line: `call`'s docstring is its help.

    One that `runs_command` finds what stands behind `--` in `given.command`; one that `takes_flags` finds those that
    are not among its `arguments` in `given.flags`.
    """

    name: str
    call: Callable[[Given], None]
    example: str
    arguments: Sequence[Argument] = ()
    runs_command: bool = False
    takes_flags: bool = False


WHICH = Argument("which", nargs="?", metavar="LAB", help="which lab, if several are running")
LAB = Argument("--lab", "-l", metavar="LAB", help="which lab, if several are running")
POD = Argument("pod", metavar="POD", help="a pod: NAME or NAMESPACE/NAME")
JSON = Argument("--json", action="store_true", help="print JSON")
IMAGES = Argument(
    "--images",
    default="standin",
    metavar="CHOICE",
    help="real: this machine's nginx instead of the stand-in; or per image, as in nginx=real (default: standin)",
)


def version() -> str:
    """Return sidelab's version: of what is installed, or of the checkout that runs without being installed."""
    import tomllib  # one verb needs it
    from importlib import metadata  # the same

    try:
        return metadata.version("sidelab")
    except metadata.PackageNotFoundError:
        with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
            return str(tomllib.load(file)["project"]["version"])


def print_json(value: object) -> None:
    """Print `value` as JSON."""
    sys.stdout.write(escapes.json(json.dumps(value, indent=2)) + "\n")


def print_table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print aligned columns; rich would take 40 ms to import for the same."""
    cells = [headings, *(tuple(escapes.line(str(value)) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        sys.stdout.write("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print in the block what comes before a verdict: the exit status is that verdict, whoever stops reading.

    Nor does a full disk change it; then a line on standard error says that the output is not whole.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        output.discard()
    except output.OutputError as error:
        output.discard()
        sys.stderr.write(f"sidelab: {error}\n")


def leave_as(status: int) -> NoReturn:
    """End with a program's exit status; a signal that killed it is negative, and 128 more as in a shell."""
    raise SystemExit(128 - status if status < 0 else status)
