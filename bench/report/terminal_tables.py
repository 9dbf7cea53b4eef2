"""How tables on the terminal look."""

import sys
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sidelab.lab.base.text import escapes
from sidelab.lab.base.text.escaping_stream import styled


class _Console(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        """Make a text of a string, which any cell may be: nothing in it is markup, or obeyed by a terminal."""
        return super().render_str(escapes.visible(text), **how | {"markup": False, "emoji": False, "highlight": False})

    def on_broken_pipe(self) -> NoReturn:
        """Fail as any other output: rich would end the program with a status of its own."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on standard output; in an encoding that is not UTF-8, tables have plain lines."""
    return _Console(file=styled(sys.stdout))


def titled(title: str) -> Table:
    """Return an empty table below `title`."""
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
