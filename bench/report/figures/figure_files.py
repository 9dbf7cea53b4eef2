"""Figures as files: SVG and PNG to take away, the same on a dark background, and the two that the page shows.

Equal figures and an equal matplotlib give equal bytes: no dates, no versions.
"""

import io
import re
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

from sidelab.bench.record.records import write_whole
from sidelab.bench.report.figures import style

_DPI: Final = 150
_HEX: Final = re.compile("#[0-9a-f]{6}")
_FAMILIES: Final = "'DejaVu Sans', Verdana, system-ui, sans-serif"
"""Text on the page uses the first of these fonts that the machine has; none is wider than the first."""


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.svg and `stem`.png, and `stem`-dark.svg for a dark background; return the first two."""
    paths = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    drawn = _svg(figure)
    dark = _HEX.sub(lambda found: style.DARK.get(found[0], found[0]), drawn)
    png = io.BytesIO()  # so that half a picture never replaces a whole one
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None}, pil_kwargs={"compress_level": 6})
    write_whole(paths[0], drawn)
    write_whole(stem.with_name(f"{stem.name}-dark.svg"), dark)
    write_whole(paths[1], png.getvalue())
    return paths


def adaptive(figure: Figure) -> str:
    """Draw an SVG for the page: without a background, in light or dark colours, as the reader's browser prefers."""
    figure.set_facecolor("none")
    with mpl.rc_context({"svg.fonttype": "none"}):
        drawn = _svg(figure)
    light = "".join(f"--c{colour[1:]}:{colour};" for colour in style.DARK)
    dark = "".join(f"--c{colour[1:]}:{other};" for colour, other in style.DARK.items())
    rules = f"svg{{{light}}}@media screen and (prefers-color-scheme:dark){{svg{{{dark}}}}}"
    drawn = _HEX.sub(lambda found: f"var(--c{found[0][1:]})" if found[0] in style.DARK else found[0], drawn)
    drawn = drawn.replace("'DejaVu Sans'", _FAMILIES)
    return drawn.replace('<style type="text/css">', f'<style type="text/css">{rules}', 1)


def _svg(figure: Figure) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()
