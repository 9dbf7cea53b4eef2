"""Where Istio's nftables rules are known to lead elsewhere than its iptables rules: what to expect instead, and why.

Each entry is one of the backends' differences. Those that no connection can notice are listed too, with the reason:
a new difference must go into one of the two lists.
"""

from collections.abc import Callable
from typing import NamedTuple

from grid import Probe
from oracle import UNTOUCHED, predict

from sidelab.sidecar.interception.options.options import Options, Way


class Known(NamedTuple):
    """A difference that probes meet: `about` is its name among the backends' differences."""

    about: str
    reason: str
    concerns: Callable[[Options, Probe], bool]
    expected: Callable[[Options, Probe], str]


# The first one that concerns a probe counts. All are about nft, as the prediction is for iptables.
EXCEPTIONS = (
    Known(
        "drop-invalid",
        "Istio's nftables rule asks for TCP, so invalid packets of other protocols come in",
        lambda options, probe: probe.broken and probe.protocol != "tcp" and options.drop_invalid,
        lambda _options, _probe: UNTOUCHED,
    ),
    Known(
        "IPv6 switched off",
        "Istio's nftables tables hold both families, so rules without an address catch IPv6 as well",
        lambda options, probe: probe.family == 6 and not options.enable_ipv6,
        lambda options, probe: predict(options, probe, both_families=True),
    ),
)

UNSEEN = {
    "jumps to the DNS chains": "a family's jump without that family's resolvers leads to rules that can't match",
    "inserts into a chain too short for them": "all rules whose order differs return",
    "the second application": "rules are applied once, and then removed",
}


def expectation(options: Options, probe: Probe, way: Way) -> tuple[str, Known | None]:
    """Return where `probe` should land by `way`, and the exception that changed the prediction, if any did."""
    plain = predict(options, probe)
    if way == "nft" and options.quirks == "istio":
        for known in EXCEPTIONS:
            if known.concerns(options, probe):
                special = known.expected(options, probe)
                return special, known if special != plain else None
    return plain, None
