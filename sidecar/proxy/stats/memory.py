"""How much memory this process uses according to the kernel: /proc/<pid>/smaps_rollup, described in proc(5)."""

from pathlib import Path

_ROLLUP = Path("/proc/self/smaps_rollup")

MEANINGS = {
    "allocated": "memory that only this process has, freed when it ends (Private_Clean + Private_Dirty)",
    "heap_size": "memory that no file backs: heap, stacks, and what it shares with the process it was forked from "
    "(Anonymous)",
    "shared": "memory that it shares with others, mostly with the process it was forked from (Shared_*)",
    "proportional": "its part if shared memory is divided among those who share it (Pss)",
    "total_physical_bytes": "all of its memory that is resident (Rss)",
}
"""What each figure is; `allocated`, `heap_size` and `total_physical_bytes` are Envoy's names for the closest thing."""


def usage() -> dict[str, int]:
    """Return bytes by the names of `MEANINGS`; empty if the kernel provides no figures."""
    try:
        return parse(_ROLLUP.read_text())
    except OSError:
        return {}


def parse(rollup: str) -> dict[str, int]:
    """Return bytes by the names of `MEANINGS` from the text of a smaps_rollup."""
    values = {}
    for line in rollup.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            values[name] = int(words[0]) * 1024
    return {
        "allocated": values.get("Private_Clean", 0) + values.get("Private_Dirty", 0),
        "heap_size": values.get("Anonymous", 0),
        "shared": values.get("Shared_Clean", 0) + values.get("Shared_Dirty", 0),
        "proportional": values.get("Pss", 0),
        "total_physical_bytes": values.get("Rss", 0),
    }
