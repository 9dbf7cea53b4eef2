"""The builder's tools: short names for matches and targets, and the list that the rules are written to.

Knows the model and which families are wanted; nothing about Istio's steps.
"""

from sidelab.sidecar.interception.model.model import Backend, Family, Key, Match, Rule, RuleAction, Target

RETURN = Target(RuleAction.RETURN)
ACCEPT = Target(RuleAction.ACCEPT)
DROP = Target(RuleAction.DROP)
SAVE_MARK = Target(RuleAction.SAVE_MARK)
RESTORE_MARK = Target(RuleAction.RESTORE_MARK)

# The source of the sidecar's connections to its own application, and the range of the pod talking to itself.
INBOUND_SOURCE: dict[Family, str] = {4: "127.0.0.6/32", 6: "::6/128"}
LOOPBACK: dict[Family, str] = {4: "127.0.0.1/32", 6: "::1/128"}

TCP = Match(Key.PROTOCOL, ("tcp",))
UDP = Match(Key.PROTOCOL, ("udp",))
TO_LO = Match(Key.OUT_INTERFACE, ("lo",))
FROM_LO = Match(Key.IN_INTERFACE, ("lo",))


def jump(chain: str) -> Target:
    """Continue in `chain`, until it returns."""
    return Target(RuleAction.JUMP, chain=chain)


def redirect(port: int) -> Target:
    """Redirect the connection to the local `port`."""
    return Target(RuleAction.REDIRECT, port=port)


def dport(*ports: int) -> Match:
    """Match the destination port."""
    return Match(Key.DPORT, ports)


def sport(port: int) -> Match:
    """Match the source port."""
    return Match(Key.SPORT, (port,))


def source(cidr: object) -> Match:
    """Match the source address against a range."""
    return Match(Key.SOURCE, (str(cidr),))


def destination(cidr: object) -> Match:
    """Match the destination address against a range."""
    return Match(Key.DESTINATION, (str(cidr),))


def uid(number: int) -> Match:
    """Match the user that owns the socket."""
    return Match(Key.UID, (number,))


def gid(group: int | str) -> Match:
    """Match the group that owns the socket."""
    return Match(Key.GID, (group,))


def into(interface: str) -> Match:
    """Match the interface on which a packet came in."""
    return Match(Key.IN_INTERFACE, (interface,))


def out_of(interface: str) -> Match:
    """Match the interface on which a packet leaves."""
    return Match(Key.OUT_INTERFACE, (interface,))


def marked(number: int) -> Match:
    """Match the packet's mark."""
    return Match(Key.MARK, (number,))


def not_(match: Match) -> Match:
    """Return the opposite of `match`."""
    return Match(match.key, match.values, negated=True)


class Program:
    """Rules in the order in which they are added; those of a family that is off are left out."""

    def __init__(self, *, ipv6: bool) -> None:
        self.families: tuple[Family, ...] = (4, 6) if ipv6 else (4,)
        self.rules: list[Rule] = []

    def add(
        self,
        place: tuple[str, str],
        *matches: Match,
        to: Target,
        family: Family | None = None,
        at: int | None = None,
        only: Backend | None = None,
        bare_port: bool = False,
    ) -> None:
        """Append a rule to `place` (table, chain), or insert it as number `at` of the chain."""
        if family is None or family in self.families:
            table, chain = place
            self.rules.append(Rule(table, chain, matches, to, at, family, only, bare_port))
