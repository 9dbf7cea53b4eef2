"""The shape of `samples.csv.gz`, `rounds.csv`, `loads.csv`: columns, curl's phases, a request as a row; free of pandas.

The columns are a contract with users' spreadsheets: times are microseconds from the start of the request, cumulative
like curl's `time_*` variables; a phase that does not exist for a request (connect on a kept-alive connection,
namelookup without a name, appconnect without TLS) is an empty cell, never 0.
"""

from collections.abc import Iterable
from typing import NamedTuple

PHASES = ("namelookup", "connect", "appconnect", "pretransfer", "starttransfer", "total")
"""curl's phases in the order in which they end; the column of a phase is its name followed by `_us`."""

WARMUP_ROUND = 0
"""The first round of each rebuild: recorded and shown, but excluded from every statistic, as decided beforehand."""


class RequestSample(NamedTuple):
    """One request. `rebuild` counts from 1, `round` from 1 (0 is the warm-up), `position` from 0 within its round.

    `status` is the HTTP status, 0 if no answer came; `bytes` is the size of the body.
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


class RoundSample(NamedTuple):
    """What else happened on the machine during a round.

    `stolen_ratio` is the share of its CPU time that the hypervisor gave to others (-1 if the kernel does not tell),
    `switches` how often its CPUs changed from one thread to another, `preempted` how often the measuring client was
    preempted, `time_wait` how many closed connections held a port in the fullest client's pod at the end.
    """

    rebuild: int
    round: int
    duration_s: float
    stolen_ratio: float
    switches: int
    preempted: int
    time_wait: int


class LoadSample(NamedTuple):
    """One run of wrk, or (`connections` idle, no requests) one reading of a proxy's memory.

    `private_kib` is the private memory of the proxy's processes while the connections are open and idle, and
    `unloaded_kib` that before there were any; -1 if not read. Latencies are µs, -1 if there were none.
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


class RateSample(NamedTuple):
    """An open loop on one arm in one lab build: latencies in µs from the intended start of each request.

    `requests` counts answers, `errors` failed requests, `lag_p99_us` is how late the generator itself was. A percentile
    is NaN if there are too few requests for it. `cpu_s_per_1000` is the CPU seconds that all proxies of the arm spent
    per 1000 requests, and `memory_kib` the sum of their peak resident memory; -1 if the arm has no proxy.
    """

    rebuild: int
    arm: str
    rate_per_s: int
    connections: int
    requests: int
    errors: int
    achieved_per_s: float
    lag_p99_us: float
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    cpu_s_per_1000: float
    memory_kib: int


COLUMNS = RequestSample._fields
LOAD_COLUMNS = LoadSample._fields
ROUND_COLUMNS = RoundSample._fields
RATE_COLUMNS = RateSample._fields
HEADER = ",".join(COLUMNS) + "\n"


def column(phase: str) -> str:
    """Return the name of the column that holds a phase."""
    return f"{phase}_us"


def has_tail(n: int, q: float) -> bool:
    """Return whether `n` values suffice for a q-quantile (0 < q < 1): n ≥ 10 / (1 - q), else the tail is a handful."""
    # The slack is needed because 1 - 0.9 is a little less than 0.1 in binary.
    return n * (1 - q) >= 10 - 1e-9


def encode(samples: Iterable[RequestSample]) -> str:
    """Format samples as CSV lines without a header; times have one decimal (100 ns, finer than any timestamp)."""
    return "".join(
        ",".join(
            "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value) for value in sample
        )
        + "\n"
        for sample in samples
    )
