"""The machine's CPU counters, from /proc/stat; the difference of two readings is what happened in between."""

from pathlib import Path
from time import monotonic
from typing import NamedTuple


class Activity(NamedTuple):
    """A reading: seconds on the monotonic clock, ticks of CPU time (all, and stolen), context switches."""

    at_s: float
    ticks: int
    stolen: int
    switches: int

    def stolen_ratio(self, before: "Activity") -> float:
        """Return the share of the CPU time since `before` that the hypervisor gave to others; -1 where unknown."""
        ticks = self.ticks - before.ticks
        return (self.stolen - before.stolen) / ticks if ticks > 0 else -1.0


def read(text: str | None = None) -> Activity:
    """Read /proc/stat (proc_stat(5)), or parse its `text` if given."""
    lines = (text if text is not None else Path("/proc/stat").read_text(encoding="ascii")).splitlines()
    fields = {words[0]: words[1:] for words in map(str.split, lines) if words}
    ticks = [int(word) for word in fields.get("cpu", [])[:8]]
    switches = fields.get("ctxt", ["0"])
    return Activity(monotonic(), sum(ticks), ticks[7] if len(ticks) == 8 else 0, int(switches[0]))
