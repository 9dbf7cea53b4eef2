"""The run's overheads for benchmark-action/github-action-benchmark, as its tool `customSmallerIsBetter`.

A JSON list of `name`, `unit`, `value`, and as text `range` and `extra`. It is a history to look at: the action compares
by a ratio and knows no intervals, so its alert does not replace the gate.
"""

import json
import math

from sidelab.bench.judge.gate.gate import GateResult
from sidelab.bench.judge.summary import microseconds


def render(result: GateResult) -> str:
    """Write an entry per arm, kind of connection and phase that may raise an alarm; unknown overheads are absent."""
    entries = [
        {
            "name": f"{row.arm}, {row.connection}, {row.phase}: added",
            "unit": "µs",
            "value": round(row.overhead_us, 2),
            "range": f"± {microseconds((row.high_us - row.low_us) / 2)}",
            "extra": f"95 % interval over {row.rebuilds} rebuilds\nnoise floor {microseconds(row.floor_us)} µs\n"
            f"verdict {row.verdict}\nrun {result.run}",
        }
        for row in result.overheads
        if not math.isnan(row.overhead_us)
    ]
    return json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
