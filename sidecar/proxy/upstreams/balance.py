"""Which of a Service's endpoints takes the next request: Envoy's LEAST_REQUEST, as Istio sets it by default. Pure.

Two are drawn at random and the less busy one wins, which keeps the load even without comparing all of them:
envoyproxy.io, "Supported load balancers", weighted least request with equal weights.
"""

import random
from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar


class Busy(Protocol):
    """A host to choose from."""

    @property
    def active(self) -> int:
        """How many requests and byte streams it is serving."""


_Chosen = TypeVar("_Chosen", bound=Busy)


def least_request(hosts: Sequence[_Chosen], tried: Collection[_Chosen], source: random.Random) -> _Chosen | None:
    """Return one of `hosts`, preferably one that was not `tried`; None if there are no hosts."""
    if tried:
        hosts = [host for host in hosts if host not in tried] or hosts
    count = len(hosts)
    if count < 2:
        return hosts[0] if hosts else None
    # Two different ones: the second is drawn from the others.
    one = int(source.random() * count)
    other = int(source.random() * (count - 1))
    first, second = hosts[one], hosts[other + (other >= one)]
    return first if first.active <= second.active else second
