"""The verdict for a terminal, and as JSON for other programs."""

import json
import math
from typing import Any

from sidelab.bench.judge.gate.gate import GateResult, GateRow
from sidelab.bench.judge.summary import microseconds
from sidelab.lab.base.text import escapes

SCHEMA = 1
_HEADINGS = ("ARM", "AGAINST", "CONNECTION", "PHASE", "DIFFERENCE [95 %]", "LIMIT", "VISIBLE", "VERDICT")


def render(result: GateResult) -> str:
    """Write a table of the rows, the verdict in a sentence, and every reason to doubt it."""
    lines = [_HEADINGS, *(_cells(row) for row in result.rows)] if result.rows else []
    widths = [max(map(len, each)) for each in zip(*lines, strict=True)]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    notes = [f"doubt: {each}" for each in result.doubts] + [f"note: {each}" for each in result.caveats]
    return "\n".join([*table, *([""] if table else []), result.heading, *notes]) + "\n"


def data(result: GateResult) -> dict[str, Any]:
    """Return the verdict as JSON values; null means unknown."""
    return {
        "schema": SCHEMA,
        "verdict": result.verdict,
        "exit_status": result.exit_status,
        "run": result.run,
        "standard": result.standard,
        "sentence": result.sentence,
        "rows": [_known(row._asdict()) for row in result.rows],
        "overheads": [_known(row._asdict()) for row in result.overheads],
        "doubts": [{"what": each.what, "cure": each.cure} for each in result.doubts],
        "caveats": [{"what": each.what, "cure": each.cure} for each in result.caveats],
    }


def as_json(result: GateResult) -> str:
    """Return `data` as text."""
    return escapes.json(json.dumps(data(result), indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def _cells(row: GateRow) -> tuple[str, ...]:
    visible = f"{microseconds(row.smallest_visible_us)} µs"
    return (row.arm, row.against, row.connection, row.phase, row.interval, _limit(row), visible, row.verdict)


def _limit(row: GateRow) -> str:
    """Return the limit, and its value in µs if it is a share."""
    return f"{row.limit} ({microseconds(row.limit_us)} µs)" if "%" in row.limit else row.limit


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(each, float) and math.isnan(each) else each for key, each in values.items()}
