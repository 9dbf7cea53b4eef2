"""How tables on the terminal look."""

from rich import box
from rich.table import Table


def titled(title: str) -> Table:
    """Return an empty table below `title`."""
    return Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
