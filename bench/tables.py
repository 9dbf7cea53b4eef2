"""How tables on the terminal look."""

import sys
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.table import Table


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Fail as any other output: rich would end the program with a status of its own."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on standard output; in an encoding that is not UTF-8, tables have plain lines."""
    return _Console(file=sys.stdout)


def titled(title: str) -> Table:
    """Return an empty table below `title`."""
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
