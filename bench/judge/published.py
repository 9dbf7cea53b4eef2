"""What interception costs by Istio's own pages, to show beside a measurement as another machine's figures.

The setup is the same in rate, payload and protocol but differs in the rest: a cluster, mTLS, two workers in each proxy.
So compare the shape, not the value; Istio's own figures moved twelvefold between rigs.
"""

from typing import Final, NamedTuple

LABEL: Final = "published, other machine"


class Published(NamedTuple):
    """Figures of one page: their subject, added latency in µs, CPU seconds per 1000 requests, MB; None if not given."""

    what: str
    added_p90_us: float | None = None
    added_p99_us: float | None = None
    cpu_s_per_1000: float | None = None
    memory_mb: float | None = None


RATE_PER_S: Final = 1000

ISTIO: Final = (
    Published("Istio 1.20, both", added_p90_us=228.0, added_p99_us=298.0),
    Published("Istio 1.24, one", cpu_s_per_1000=0.20, memory_mb=60.0),
)
"""From the page "Performance and Scalability" of istio.io's documentation of each version: 1000 requests per second,
1 KB, HTTP/1.1, mTLS; with both sidecars, or one. 0.20 vCPU at that rate is 0.20 CPU seconds per 1000 requests."""
