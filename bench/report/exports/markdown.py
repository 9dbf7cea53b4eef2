"""The verdict as GitHub-flavoured Markdown, for a job's summary page or a comment on a pull request."""

import re

from sidelab.bench.judge.gate.gate import GateResult, GateRow
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.judge.verdict import GateOutcome
from sidelab.lab.base.text import escapes

_MARKUP = re.compile(r"[\\`*_{}<>|\[\]#~&$]")
_LINKED = re.compile(r"@|#|:(?=//)|www(?=\.)|GH(?=-)", re.IGNORECASE)
_SIGN = {GateOutcome.PASS: "✅", GateOutcome.REGRESSION: "❌", GateOutcome.INCONCLUSIVE: "❔"}
_HEADINGS = ("", "arm", "against", "connection", "phase", "difference [95 %]", "limit", "smallest visible")


def render(result: GateResult) -> str:
    """Write a heading, the sentence, a table of the rows, and doubts and caveats as lists."""
    lines = [f"### {_SIGN[result.verdict]} Interception gate: {result.verdict}", "", _plain(result.heading), ""]
    if result.rows:
        lines += [_line(_HEADINGS), _line(["---"] * len(_HEADINGS)), *(_line(_cells(row)) for row in result.rows), ""]
    for title, said in (("Doubts", result.doubts), ("Caveats", result.caveats)):
        if said:
            lines += [f"{title}:", "", *(f"- {_plain(str(each))}" for each in said), ""]
    lines += [f"Run {_plain(result.run)}, held against {_plain(result.standard)}.", ""]
    return "\n".join(lines) + "\n"


def _cells(row: GateRow) -> tuple[str, ...]:
    limit = f"{row.limit} ({microseconds(row.limit_us)} µs)" if "%" in row.limit else row.limit
    visible = f"{microseconds(row.smallest_visible_us)} µs"
    said = (row.arm, row.against, row.connection, row.phase, row.interval, limit, visible)
    return (f"{_SIGN[row.verdict]} {row.verdict}", *map(_plain, said))


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Escape what Markdown, or the HTML in it, would read as markup; a line stays one line.

    GitHub turns what looks like an address, a person or an issue into a link, even in escaped text; an empty comment in
    the middle prevents that, because it ends the text.
    """
    return _LINKED.sub(r"\g<0><!-- -->", _MARKUP.sub(r"\\\g<0>", escapes.line(text)))
