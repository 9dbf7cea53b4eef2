"""What Istio's own pages say interception costs, to stand beside a measurement as another machine's figures.

The setting is alike in rate, payload and protocol, and unlike in the rest: a cluster, mTLS, two workers in each proxy.
So compare the shape, not the value; its own figures moved twelvefold between rigs.
"""

from typing import Final, NamedTuple

LABEL: Final = "published, other machine"


class Published(NamedTuple):
    """Figures of one page: what they are of, added latency in µs, CPU seconds per 1000 requests, MB; None: not said."""

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
1 KB, HTTP/1.1, mTLS; with both sidecars, or one. 0.20 vCPU at that rate are 0.20 CPU seconds per 1000 requests."""
