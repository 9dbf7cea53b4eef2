"""Writes rows like `iptables -t TABLE -L -v`, and as plain data for JSON. Pure.

Names of ports and addresses come from short tables here, so that a listing is the same on every machine. Sources:
iptables(8), and for the wording the print functions of its extensions.
"""

from collections.abc import Sequence
from typing import Any

from sidelab.sidecar.interception.model.counted import ChainRows, Row, TableRows
from sidelab.sidecar.interception.model.model import Family, Key, Match, Rule, RuleAction, Target

SERVICES = {
    22: "ssh",
    25: "smtp",
    53: "domain",
    80: "http",
    443: "https",
    3306: "mysql",
    5432: "postgresql",
    6379: "redis",
    8080: "http-alt",
}
HOSTS = {"127.0.0.1/32": "localhost", "::1/128": "localhost"}
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
ANY_ADDRESS = {4: "0.0.0.0", 6: "::"}
HEADINGS = ("pkts", "bytes", "target", "prot", "opt", "in", "out", "source", "destination")
_NARROWEST = ("", "", "", "", "", "    ", "    ", "", "")
FIELDS = ("packets", "bytes", "target", "protocol", "in", "out", "source", "destination", "extra")


def listing(tables: Sequence[TableRows], table: str = "nat", family: Family = 4, *, numeric: bool = False) -> str:
    """Return the chains of `table` in iptables' form; empty if there is no such table.

    `numeric` is iptables' `-n`: no names for ports and addresses.
    """
    found = [each for each in tables if each.name == table]
    blocks = [
        (_title(each, chain, family), [_cells(row, family, numeric=numeric) for row in chain.visible(family)])
        for each in found
        for chain in each.chains
    ]
    lines = [HEADINGS, *(cells[:-1] for _, rows in blocks for cells in rows)]
    widths = [max(map(len, column)) for column in zip(_NARROWEST, *lines, strict=True)]
    texts = []
    for title, rows in blocks:
        texts.append("\n".join([title, *(_line(cells, widths) for cells in [(*HEADINGS, ""), *rows])]) + "\n")
    return "\n".join(texts)


def data(tables: Sequence[TableRows], family: Family = 4) -> list[dict[str, Any]]:
    """Return all tables as lists, dicts, texts and numbers; names are as in a listing with `-n`, counters exact."""
    return [
        {
            "table": table.name,
            "chains": [
                {
                    "chain": chain.name,
                    "policy": chain.policy or None,
                    "references": None if chain.policy else table.references(chain.name, family),
                    "rules": [_record(row, family) for row in chain.visible(family)],
                }
                for chain in table.chains
            ],
        }
        for table in tables
    ]


def short(count: int) -> str:
    """Return a counter like iptables without `-x`: up to five digits, beyond that rounded with K, M, G or T."""
    if count <= 99_999:
        return str(count)
    for suffix in "KMG":
        count = (count + 500) // 1000
        if count <= 9_999:
            return f"{count}{suffix}"
    return f"{(count + 500) // 1000}T"


def _title(table: TableRows, chain: ChainRows, family: Family) -> str:
    if chain.policy:
        return f"Chain {chain.name} (policy {chain.policy})"
    return f"Chain {chain.name} ({table.references(chain.name, family)} references)"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells[:2], widths[:2], strict=True)]
    padded += [cell.ljust(width) for cell, width in zip(cells[2:-1], widths[2:], strict=True)]
    gaps = ("", " ", " ", "  ", " ", " ", " ", " ", "  ", "  ")
    return "".join(gap + cell for gap, cell in zip(gaps, (*padded, cells[-1]), strict=True)).rstrip()


def _cells(row: Row, family: Family, *, numeric: bool) -> tuple[str, ...]:
    counts = (short(row.packets), short(row.bytes))
    rule = row.rule
    if rule is None:
        return (*counts, "?", "?", "--", "?", "?", "?", "?", f"not one of ours: {row.words}")
    return (
        *counts,
        _target_name(rule.target),
        rule.protocol or "all",
        "--",
        _interface(rule.first(Key.IN_INTERFACE), numeric=numeric),
        _interface(rule.first(Key.OUT_INTERFACE), numeric=numeric),
        _address(rule.first(Key.SOURCE), family, numeric=numeric),
        _address(rule.first(Key.DESTINATION), family, numeric=numeric),
        " ".join(_extras(rule, family, numeric=numeric)),
    )


def _record(row: Row, family: Family) -> dict[str, Any]:
    cells = _cells(row, family, numeric=True)
    return dict(zip(FIELDS, (row.packets, row.bytes, *cells[2:4], *cells[5:]), strict=True))


def _target_name(target: Target) -> str:
    names = {
        RuleAction.JUMP: target.chain,
        RuleAction.SAVE_MARK: "CONNMARK",
        RuleAction.RESTORE_MARK: "CONNMARK",
        RuleAction.ZONE: "CT",
    }
    return names.get(target.verb, target.verb.name)


def _not(match: Match) -> str:
    return "!" if match.negated else ""


def _interface(match: Match | None, *, numeric: bool) -> str:
    if match is None:
        return "*" if numeric else "any"
    return f"{_not(match)}{match.value}"


def _address(match: Match | None, family: Family, *, numeric: bool) -> str:
    if match is None:
        return EVERYWHERE[family] if numeric else "anywhere"
    cidr = str(match.value)
    address, _, bits = cidr.partition("/")
    shown = address if int(bits) == (32 if family == 4 else 128) else cidr
    return _not(match) + (shown if numeric else HOSTS.get(cidr, shown))


def _extras(rule: Rule, family: Family, *, numeric: bool) -> list[str]:
    """Return what iptables prints after the columns: the matches of its extensions, then the target's settings."""
    words = [_extra(match, rule, numeric=numeric) for match in rule.matches]
    target = rule.target
    words += {
        RuleAction.REDIRECT: [f"redir ports {target.port}"],
        RuleAction.TPROXY: [f"TPROXY redirect {ANY_ADDRESS[family]}:{target.port} mark {target.number:#x}/0xffffffff"],
        RuleAction.MARK: [f"MARK set {target.number:#x}"],
        RuleAction.SAVE_MARK: ["CONNMARK save"],
        RuleAction.RESTORE_MARK: ["CONNMARK restore"],
        RuleAction.ZONE: [f"CT zone {target.number}"],
    }.get(target.verb, [])
    return [word for word in words if word]


def _extra(match: Match, rule: Rule, *, numeric: bool) -> str:
    values = ",".join(str(value) for value in match.values)
    if match.key in {Key.SPORT, Key.DPORT}:
        side = "s" if match.key is Key.SPORT else "d"
        names = ",".join(_port(int(port), numeric=numeric) for port in match.values)
        if len(match.values) > 1:
            return f"multiport {side}ports {_not(match)}{names}"
        return f"{rule.protocol} {side}pt:{_not(match)}{names}"
    space = "! " if match.negated else ""
    return {
        Key.UID: f"{_not(match)}owner UID match {values}",
        Key.GID: f"{_not(match)}owner GID match {values}",
        Key.CT_STATE: f"{space}ctstate {values}",
        Key.MARK: f"mark match {space}{match.values[0]:#x}" if match.key is Key.MARK else "",
        Key.CONNMARK: f"connmark match {space}{match.values[0]:#x}" if match.key is Key.CONNMARK else "",
    }.get(match.key, "")


def _port(number: int, *, numeric: bool) -> str:
    return str(number) if numeric else SERVICES.get(number, str(number))
