"""wrk, the load generator of Debian: its command line, and what it prints; pure.

A closed loop: each connection sends its next request when the answer to the last one is there. So latencies are those
of a system at its limit, and a slow answer delays the requests behind it (coordinated omission).
"""

import re
from typing import NamedTuple

from sidelab.lab.errors import PodError

_DISTRIBUTION = re.compile(r"^\s+(50|90|99)%\s+([0-9.]+)(us|ms|s|m)$", re.MULTILINE)
_REQUESTS = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_BAD_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_UNIT_US = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}


class WrkOutcome(NamedTuple):
    """What one run of wrk has measured; `failed` counts socket errors and answers that were neither 2xx nor 3xx."""

    requests: int
    failed: int
    requests_per_s: float
    p50_us: float
    p90_us: float
    p99_us: float


def command(url: str, connections: int, duration_s: int, cpu: int) -> tuple[str, ...]:
    """Return the command line of a load by one thread, pinned to `cpu`."""
    load = ("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{duration_s}s", "--latency")
    return ("taskset", "--cpu-list", str(cpu), *load, url)


def parse(text: str) -> WrkOutcome:
    """Read wrk's output; raises `PodError` with its last lines where it has no figures."""
    requests, rate = _REQUESTS.search(text), _RATE.search(text)
    percentiles = {found[1]: float(found[2]) * _UNIT_US[found[3]] for found in _DISTRIBUTION.finditer(text)}
    if requests is None or rate is None or len(percentiles) != 3:
        raise PodError(f"wrk gave no figures: {text.strip()[-500:] or 'it printed nothing'}")
    errors = _SOCKET_ERRORS.search(text)
    bad = _BAD_STATUS.search(text)
    failed = sum(map(int, errors.groups())) if errors else 0
    return WrkOutcome(
        requests=int(requests[1]),
        failed=failed + (int(bad[1]) if bad else 0),
        requests_per_s=float(rate[1]),
        p50_us=percentiles["50"],
        p90_us=percentiles["90"],
        p99_us=percentiles["99"],
    )
