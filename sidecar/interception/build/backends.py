"""All differences between Istio's nftables rules and its iptables rules, and nothing else.

There are two kinds: rules that only one backend has (the functions, each used by one step), and differences in effect
although the rules are equal (`DIFFERENCES`, for people). Source: istio.io's istio-iptables and istio-nftables.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sidelab.sidecar.interception.build.rule_builder import TCP, Program, jump
from sidelab.sidecar.interception.model.model import Backend, Family, Key, Match, Rule

INVALID = Match(Key.CT_STATE, ("INVALID",))


class Difference(NamedTuple):
    """A known difference: its subject, and what each backend does."""

    about: str
    iptables: str
    nft: str


DIFFERENCES = (
    Difference("drop-invalid", "drops invalid packets of every protocol", "drops invalid TCP packets"),
    Difference(
        "jumps to the DNS chains",
        "a family jumps only if it has resolvers",
        "one jump for both families, made as soon as any resolver is known, even of a family that is off",
    ),
    Difference(
        "IPv6 switched off",
        "leaves IPv6 alone",
        "its tables hold both families: rules without an address catch IPv6 as well, where no proxy listens",
    ),
    Difference(
        "inserts into a chain too short for them",
        "count from the head of each family's own chain",
        "become appends, and both families share one chain: the three head rules of TPROXY's istio-inbound may "
        "stand in another order (all of them return)",
    ),
    Difference("the second application", "fails: the chains exist", "flushes its tables first: same outcome"),
)


def without_quirks(rules: Iterable[Rule], *, ipv6: bool) -> tuple[Rule, ...]:
    """Return `rules` for `quirks="none"`: with IPv6 off, none of them matches IPv6 in any table."""
    return tuple(rules) if ipv6 else tuple(rule._replace(family=rule.family or 4) for rule in rules)


def drop_invalid(program: Program, *, as_istio: bool) -> None:
    """Write the rule that sends invalid packets to ISTIO_DROP; without quirks it is the same for both backends."""
    place = ("mangle", "PREROUTING")
    if not as_istio:
        program.add(place, INVALID, to=jump("ISTIO_DROP"))
        return
    program.add(place, INVALID, to=jump("ISTIO_DROP"), only=Backend.IPTABLES)
    program.add(place, TCP, INVALID, to=jump("ISTIO_DROP"), only=Backend.NFT)


def dns_jump(program: Program, place: tuple[str, str], chain: str, families: tuple[Family, ...]) -> None:
    """Write nft's single jump from `place` to `chain`, if any of `families` has resolvers."""
    if families:
        program.add(place, to=jump(chain), only=Backend.NFT)


def dns_family_jump(
    program: Program, place: tuple[str, str], chain: str, families: tuple[Family, ...], family: Family
) -> None:
    """Write iptables' own jump of `family` from `place` to `chain`, if it is one of `families`."""
    if family in families:
        program.add(place, to=jump(chain), family=family, only=Backend.IPTABLES)
