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
        """Make a text from any cell's string: nothing in it acts as markup or as a terminal's control sequence."""
        return super().render_str(escapes.visible(text), **how | {"markup": False, "emoji": False, "highlight": False})

    def on_broken_pipe(self) -> NoReturn:
        """Fail as other output does; rich would exit with its own status."""
        raise BrokenPipeError


def console() -> Console:
    """Return a console on standard output; if its encoding is not UTF-8, tables have plain lines."""
    return _Console(file=styled(sys.stdout))


def titled(title: str) -> Table:
    """Return an empty table below `title`."""
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
