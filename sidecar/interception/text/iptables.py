"""Writes the ruleset as input of `iptables-restore --noflush`, exactly as istio-iptables does."""

from collections.abc import Callable, Iterable

from sidelab.sidecar.interception.model.model import (
    BUILT_IN,
    Backend,
    Family,
    Key,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    Target,
)

_WORDS: dict[Key, tuple[str, str]] = {
    Key.IN_INTERFACE: ("", "-i"),
    Key.OUT_INTERFACE: ("", "-o"),
    Key.PROTOCOL: ("", "-p"),
    Key.SOURCE: ("", "-s"),
    Key.DESTINATION: ("", "-d"),
    Key.CT_STATE: ("-m conntrack", "--ctstate"),
    Key.SPORT: ("", "--sport"),
    Key.DPORT: ("", "--dport"),
    Key.UID: ("-m owner", "--uid-owner"),
    Key.GID: ("-m owner", "--gid-owner"),
    Key.MARK: ("-m mark", "--mark"),
    Key.CONNMARK: ("-m connmark", "--mark"),
}
_TARGETS: dict[RuleAction, Callable[[Target, Rule], str]] = {
    RuleAction.RETURN: lambda _target, _rule: "RETURN",
    RuleAction.ACCEPT: lambda _target, _rule: "ACCEPT",
    RuleAction.DROP: lambda _target, _rule: "DROP",
    RuleAction.JUMP: lambda target, _rule: target.chain,
    # Istio writes --to-port for UDP; iptables accepts either.
    RuleAction.REDIRECT: lambda target, rule: (
        f"REDIRECT --to-port{'' if rule.protocol == 'udp' else 's'} {target.port}"
    ),
    RuleAction.TPROXY: lambda target, _rule: f"TPROXY --tproxy-mark {target.number}/0xffffffff --on-port {target.port}",
    RuleAction.MARK: lambda target, _rule: f"MARK --set-mark {target.number}",
    RuleAction.SAVE_MARK: lambda _target, _rule: "CONNMARK --save-mark",
    RuleAction.RESTORE_MARK: lambda _target, _rule: "CONNMARK --restore-mark",
    RuleAction.ZONE: lambda target, _rule: f"CT --zone {target.number}",
}


def render(ruleset: Ruleset, family: Family) -> str:
    """Return the text for `iptables-restore` (4) or `ip6tables-restore` (6); for 6 it is empty if IPv6 is off."""
    if family == 6 and not ruleset.ipv6:
        return ""
    rules = ruleset.program(Backend.IPTABLES, family)
    lines: list[str] = []
    for table in sorted({rule.table for rule in rules}):
        mine = [rule for rule in rules if rule.table == table]
        lines += [f"* {table}", *(f"-N {chain}" for chain in chains(mine)), *map(line, mine), "COMMIT"]
    return "".join(f"{line}\n" for line in lines)


def chains(rules: Iterable[Rule]) -> list[str]:
    """Return the chains to create: those with rules in order of first use, then those that are only jumped to."""
    rules = list(rules)
    named = [rule.chain for rule in rules] + [rule.target.chain for rule in rules if rule.target.chain]
    return [chain for chain in dict.fromkeys(named) if chain not in BUILT_IN]


def line(rule: Rule) -> str:
    """Return the command that adds `rule`."""
    command = f"-A {rule.chain}" if rule.position is None else f"-I {rule.chain} {rule.position}"
    matches = [_match(match) for match in rule.matches]
    return " ".join([command, *matches, f"-j {_TARGETS[rule.target.verb](rule.target, rule)}"])


def _match(match: Match) -> str:
    module, flag = _WORDS[match.key]
    if match.key is Key.DPORT and len(match.values) > 1:
        module, flag = "-m multiport", "--dports"
    values = ",".join(str(value) for value in match.values)
    return " ".join(filter(None, (module, "!" if match.negated else "", flag, values)))
