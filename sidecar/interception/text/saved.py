"""Reads the output of `iptables-save -c`, or the input of `iptables-restore`, into rows of the model. Pure.

What the model cannot express is kept as text. Source: iptables-save(8), iptables-extensions(8).
"""

import shlex
from collections.abc import Callable
from ipaddress import ip_interface

from sidelab.sidecar.interception.model.counted import ChainRows, Row, TableRows, listed
from sidelab.sidecar.interception.model.model import BUILT_IN, Family, Key, Match, Rule, RuleAction, Target

STATES = ("INVALID", "RELATED", "ESTABLISHED", "NEW")  # in Istio's order

_WHOLE_MARK = 0xFFFFFFFF
_TEXTS = {"-i": Key.IN_INTERFACE, "-o": Key.OUT_INTERFACE, "-p": Key.PROTOCOL}
_RANGES = {"-s": Key.SOURCE, "-d": Key.DESTINATION}
_PORTS = {"--sport": Key.SPORT, "--dport": Key.DPORT, "--sports": Key.SPORT, "--dports": Key.DPORT}
_OWNERS = {"--uid-owner": Key.UID, "--gid-owner": Key.GID}
_MARKS = {"mark": Key.MARK, "connmark": Key.CONNMARK}
_MODULES = {"tcp", "udp", "multiport", "owner", "conntrack", *_MARKS}
_NO_ADDRESS = {"0.0.0.0", "::"}


class _ForeignError(Exception):
    """The model cannot express this rule."""


def read(text: str, family: Family) -> tuple[TableRows, ...]:
    """Return the tables of a save of `family`, as iptables lists them; their rules are of that family.

    Commands of a restore (`-N`, `-I CHAIN NUMBER`) are executed, so that a save and its original input read the same.
    """
    tables: list[TableRows] = []
    for each in text.splitlines():
        if each.startswith("*"):
            table = _Table(each[1:].strip(), family)
        elif each == "COMMIT":
            tables.append(table.rows())
        elif each and not each.startswith("#"):
            table.take(each)
    return tuple(tables)


class _Table:
    """A table being read."""

    def __init__(self, name: str, family: Family) -> None:
        self._name = name
        self._family: Family = family
        self._chains: dict[str, tuple[str, list[Row]]] = {}

    def rows(self) -> TableRows:
        """Return the table's rows."""
        return listed(self._name, [ChainRows(name, *parts) for name, parts in self._frozen().items()])

    def _frozen(self) -> dict[str, tuple[str, tuple[Row, ...]]]:
        return {name: (policy, tuple(rows)) for name, (policy, rows) in self._chains.items()}

    def take(self, text: str) -> None:
        """Read a line: a chain, or a rule with or without its counters."""
        if text.startswith(":"):
            name, policy, *_ = text[1:].split()
            self._chains[name] = ("" if policy == "-" else policy, [])
            return
        packets = count = 0
        if text.startswith("["):
            counts, _, text = text.partition(" ")
            packets, count = (int(part) for part in counts.strip("[]").split(":"))
        command, chain, *words = shlex.split(text)
        _, rows = self._chains.setdefault(chain, ("ACCEPT" if chain in BUILT_IN else "", []))
        if command == "-N":
            return
        where = len(rows)
        if command == "-I":
            where = int(words.pop(0)) - 1
        rule = _rule(self._name, chain, words, self._family)
        rows.insert(where, Row(rule, packets, count, text.split(" ", 2)[2]))


def _rule(table: str, chain: str, words: list[str], family: Family) -> Rule | None:
    try:
        matches, rest = _matches(words)
        rule = Rule(table, chain, tuple(matches), _target(rest), family=family)
        return plain(rule)
    except (_ForeignError, ValueError, KeyError, IndexError):
        return None


def plain(rule: Rule) -> Rule:
    """Return `rule` as iptables keeps it: canonical, and without ranges that contain every address."""
    rule = rule.canonical()
    matches = tuple(match for match in rule.matches if match.negated or not _holds_all(match))
    return rule._replace(matches=matches)


def _holds_all(match: Match) -> bool:
    return match.key in {Key.SOURCE, Key.DESTINATION} and str(match.value).endswith("/0")


def _matches(words: list[str]) -> tuple[list[Match], list[str]]:
    """Return the matches before the target, and the remaining words from there on."""
    found: list[Match] = []
    module, negated = "", False
    rest = list(words)
    while rest and rest[0] != "-j":
        word = rest.pop(0)
        if word == "!":
            negated = True
            continue
        value = rest.pop(0)
        if word == "-m":
            if value not in _MODULES:
                raise _ForeignError
            module = value
            continue
        found.append(_match(word, value, module, negated))
        negated = False
    return found, rest


def _match(word: str, value: str, module: str, negated: bool) -> Match:
    if word in _TEXTS:
        return Match(_TEXTS[word], (value,), negated)
    if word in _RANGES:
        return Match(_RANGES[word], (str(ip_interface(value)),), negated)
    if word in _PORTS:
        return Match(_PORTS[word], tuple(int(port) for port in value.split(",")), negated)
    if word in _OWNERS:
        return Match(_OWNERS[word], (int(value),), negated)
    if word == "--ctstate":
        states = value.split(",")
        if not {*states} <= {*STATES}:
            raise _ForeignError
        return Match(Key.CT_STATE, tuple(state for state in STATES if state in states), negated)
    if word == "--mark" and module in _MARKS:
        return Match(_MARKS[module], (_mark(value),), negated)
    raise _ForeignError


def _mark(text: str) -> int:
    value, _, mask = text.partition("/")
    if mask and int(mask, 0) != _WHOLE_MARK:
        raise _ForeignError
    return int(value, 0)


_MARK_TARGETS: dict[str, RuleAction] = {"--save-mark": RuleAction.SAVE_MARK, "--restore-mark": RuleAction.RESTORE_MARK}
_PLAIN_TARGETS = {"RETURN": RuleAction.RETURN, "ACCEPT": RuleAction.ACCEPT, "DROP": RuleAction.DROP}


def _target(rest: list[str]) -> Target:
    _, name, *words = rest
    settings = _settings(words)
    if name in _SETTERS:
        return _SETTERS[name](settings)
    if settings:
        raise _ForeignError
    return Target(_PLAIN_TARGETS[name]) if name in _PLAIN_TARGETS else Target(RuleAction.JUMP, chain=name)


def _settings(words: list[str]) -> dict[str, str]:
    """Return a target's options; one without a value has the empty text."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = word
        found[name] = "" if word == name else word
    return found


def _redirect(settings: dict[str, str]) -> Target:
    ((name, port),) = settings.items()
    if name not in {"--to-ports", "--to-port"}:
        raise _ForeignError
    return Target(RuleAction.REDIRECT, port=int(port))


def _tproxy(settings: dict[str, str]) -> Target:
    if settings.get("--on-ip", "::") not in _NO_ADDRESS:
        raise _ForeignError
    return Target(RuleAction.TPROXY, port=int(settings["--on-port"]), number=_mark(settings["--tproxy-mark"]))


def _set_mark(settings: dict[str, str]) -> Target:
    ((name, value),) = settings.items()
    if name not in {"--set-xmark", "--set-mark"}:
        raise _ForeignError
    return Target(RuleAction.MARK, number=_mark(value))


def _connmark(settings: dict[str, str]) -> Target:
    masks = [settings.pop(name, hex(_WHOLE_MARK)) for name in ("--nfmask", "--ctmask")]
    ((name, _),) = settings.items()
    if name not in _MARK_TARGETS or any(int(mask, 0) != _WHOLE_MARK for mask in masks):
        raise _ForeignError
    return Target(_MARK_TARGETS[name])


def _zone(settings: dict[str, str]) -> Target:
    ((name, value),) = settings.items()
    if name != "--zone":
        raise _ForeignError
    return Target(RuleAction.ZONE, number=int(value))


_SETTERS: dict[str, Callable[[dict[str, str]], Target]] = {
    "REDIRECT": _redirect,
    "TPROXY": _tproxy,
    "MARK": _set_mark,
    "CONNMARK": _connmark,
    "CT": _zone,
}
