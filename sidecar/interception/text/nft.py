"""Writes the ruleset as input of `nft -f`, exactly as istio-nftables does; also defines nft's names and order.

`lower` uses the same names and order, so the text and the netlink transaction cannot diverge.
"""

from operator import attrgetter

from sidelab.sidecar.interception.model.model import (
    BUILT_IN,
    CHAINS,
    TABLES,
    Backend,
    Key,
    Match,
    Rule,
    RuleAction,
    Ruleset,
    Target,
)

# Base chains: type, hook and priority (DNAT's -100 also for output, as in Istio).
HOOKS = {
    ("nat", "PREROUTING"): ("nat", "prerouting", -100),
    ("nat", "OUTPUT"): ("nat", "output", -100),
    ("mangle", "PREROUTING"): ("filter", "prerouting", -150),
    ("mangle", "OUTPUT"): ("route", "output", -150),
    ("raw", "PREROUTING"): ("filter", "prerouting", -300),
    ("raw", "OUTPUT"): ("filter", "output", -300),
}
FAMILY = "inet"
_RANK = attrgetter("rank")
_PREFIX = "istio-proxy-"


def table_name(table: str) -> str:
    """Return nft's name of an iptables table."""
    return _PREFIX + table


def chain_name(chain: str) -> str:
    """Return nft's name of an iptables chain."""
    return chain.lower().replace("_", "-")


def model_table(name: str) -> str:
    """Return the iptables name of one of our nft tables."""
    return name.removeprefix(_PREFIX)


def model_chain(name: str) -> str:
    """Return the iptables name of an nft chain."""
    return name.upper().replace("-", "_")


def ordered(rule: Rule) -> tuple[Match, ...]:
    """Return the matches in the order of the nft command.

    A bare port includes the protocol, so the protocol's own match is left out.
    """
    matches = rule.matches
    if rule.bare_port or rule.table == "raw":
        matches = tuple(match for match in matches if match.key is not Key.PROTOCOL)
    return matches if rule.table == "raw" else tuple(sorted(matches, key=_RANK))


def says_family(rule: Rule) -> bool:
    """Return whether the rule is for one family but has no address that implies it."""
    return rule.family is not None and not any(match.key in {Key.SOURCE, Key.DESTINATION} for match in rule.matches)


def render(ruleset: Ruleset) -> str:
    """Return the commands that fill the tables; tables without rules are not created."""
    rules = ruleset.program(Backend.NFT)
    lines: list[str] = []
    for table in TABLES:
        mine = [rule for rule in rules if rule.table == table]
        if mine:
            lines += _table(table, mine)
    return "".join(f"{line}\n" for line in lines)


def _table(table: str, rules: list[Rule]) -> list[str]:
    where = f"{FAMILY} {table_name(table)}"
    used = {rule.chain for rule in rules}
    lines = [f"add table {where}", f"flush table {where}"]
    for chain in CHAINS[table]:
        if chain not in used:
            continue
        line = f"add chain {where} {chain_name(chain)}"
        if chain in BUILT_IN:
            kind, hook, priority = HOOKS[table, chain]
            line += f" {{ type {kind} hook {hook} priority {priority} ; }}"
        lines.append(line)
    counts = dict.fromkeys(used, 0)
    for rule in rules:
        lines.append(_rule(where, rule, counts[rule.chain]))
        counts[rule.chain] += 1
    return lines


def _rule(where: str, rule: Rule, count: int) -> str:
    """Return the command for `rule`, whose chain holds `count` rules: nft inserts only before an existing one."""
    place = f"{where} {chain_name(rule.chain)}"
    index = None if rule.position is None else rule.position - 1
    command = f"add rule {place}" if index is None or index >= count else f"insert rule {place} index {index}"
    words = [command, *(_match(match, rule) for match in ordered(rule))]
    if says_family(rule):
        words.insert(1, f"meta nfproto ipv{rule.family}")
    if rule.target.verb is not RuleAction.TPROXY:  # its counter counts packets that passed the socket lookup
        words.append("counter")
    return " ".join([*words, _target(rule.target, rule)])


def _match(match: Match, rule: Rule) -> str:
    values = [str(value) for value in match.values]
    ip = "ip6" if rule.family == 6 else "ip"
    name = {
        Key.IN_INTERFACE: "iifname",
        Key.OUT_INTERFACE: "oifname",
        Key.PROTOCOL: "meta l4proto",
        Key.SOURCE: f"{ip} saddr",
        Key.DESTINATION: f"{ip} daddr",
        Key.CT_STATE: "ct state",
        Key.SPORT: f"{rule.protocol} sport",
        Key.DPORT: f"{rule.protocol} dport",
        Key.UID: "skuid",
        Key.GID: "skgid",
        Key.MARK: "mark",
        Key.CONNMARK: "ct mark",
    }[match.key]
    if rule.table == "raw" and match.key in {Key.UID, Key.GID}:
        name = f"meta {name}"
    if match.key is Key.CT_STATE:
        value = ",".join(values).lower()
    else:
        value = values[0] if len(values) == 1 else f"{{ {', '.join(values)} }}"
    return f"{name} != {value}" if match.negated else f"{name} {value}"


def _target(target: Target, rule: Rule) -> str:
    ip = "ip6" if rule.family == 6 else "ip"
    return {
        RuleAction.RETURN: "return",
        RuleAction.ACCEPT: "accept",
        RuleAction.DROP: "drop",
        RuleAction.JUMP: f"jump {chain_name(target.chain)}",
        RuleAction.REDIRECT: f"redirect to :{target.port}",
        RuleAction.TPROXY: f"tproxy {ip} to :{target.port} meta mark set {target.number} counter accept",
        RuleAction.MARK: f"meta mark set {target.number}",
        RuleAction.SAVE_MARK: "ct mark set mark",
        RuleAction.RESTORE_MARK: "meta mark set ct mark",
        RuleAction.ZONE: f"ct zone set {target.number}",
    }[target.verb]
