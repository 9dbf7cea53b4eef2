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
    """The arguments of argparse's `add_argument`."""

    def __init__(self, *names: str, **how: Any) -> None:
        self.names = names
        self.how = how


class Verb(NamedTuple):
    """A verb of the command line: `call`'s docstring is its help.

    One that `runs_command` finds the words after `--` in `given.command`; one that `takes_flags` finds flags that are
    not among its `arguments` in `given.flags`.
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
    """Return sidelab's version: of the installed package, or of a checkout that is not installed."""
    import tomllib  # only one verb needs it
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
    """Print aligned columns, without rich, whose import takes 40 ms."""
    cells = [headings, *(tuple(escapes.line(str(value)) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        sys.stdout.write("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print in the block what comes before a verdict, which the exit status is even if the reader stops reading.

    A full disk does not change the status either; a line on standard error then says that the output is not whole.
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
    """Exit with a program's status; if that is negative, a signal's, with 128 plus the signal, as a shell does."""
    raise SystemExit(128 - status if status < 0 else status)
