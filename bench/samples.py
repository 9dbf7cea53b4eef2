"""The shape of `samples.csv.gz` and `loads.csv`: columns, curl's phases, a request as a row; pure, free of pandas.

The columns are a contract with everybody's spreadsheets: times are microseconds from the start of the request,
cumulative like curl's `time_*` variables; a phase that does not exist for a request (connect on a kept-alive
connection, namelookup without a name, appconnect without TLS) is an empty cell, never 0.
"""

from collections.abc import Iterable
from typing import NamedTuple

PHASES = ("namelookup", "connect", "appconnect", "pretransfer", "starttransfer", "total")
"""curl's phases in the order in which they end; the column of a phase is its name and `_us`."""

WARMUP_ROUND = 0
"""The first round of each rebuild: recorded and shown, and excluded from every statistic, as is known beforehand."""


class Sample(NamedTuple):
    """One request. `rebuild` counts from 1, `round` from 1 (0 is the warm-up), `position` from 0 within its round.

    `status` is the HTTP status, 0 where no answer came; `bytes` is the size of the body.
    """

    rebuild: int
    round: int
    position: int
    arm: str
    connection: str
    namelookup_us: float | None
    connect_us: float | None
    appconnect_us: float | None
    pretransfer_us: float | None
    starttransfer_us: float | None
    total_us: float | None
    status: int
    bytes: int


class LoadSample(NamedTuple):
    """One run of wrk, or (`connections` idle, no requests) one look at a proxy's memory.

    `private_kib` is what the proxy's processes hold for themselves alone while the connections are open and idle, and
    `unloaded_kib` before there were any; -1 where it was not looked at. Latencies are µs, -1 where there were none.
    """

    rebuild: int
    arm: str
    connections: int
    requests: int
    failed: int
    requests_per_s: float
    p50_us: float
    p90_us: float
    p99_us: float
    unloaded_kib: int
    private_kib: int


COLUMNS = Sample._fields
LOAD_COLUMNS = LoadSample._fields
HEADER = ",".join(COLUMNS) + "\n"


def column(phase: str) -> str:
    """Name the column that holds a phase."""
    return f"{phase}_us"


def encode(samples: Iterable[Sample]) -> str:
    """Write samples as CSV lines without a header; times with one decimal (100 ns, below what any stamp resolves)."""
    return "".join(
        ",".join(
            "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value) for value in sample
        )
        + "\n"
        for sample in samples
    )
