"""The iptables tools of this machine: their names, how to run them, and the meaning of their errors.

Whether a tool runs here or inside a pod depends on the `Runner`. The texts come from other modules.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from sidelab.lab.base.exhausted import forking
from sidelab.lab.errors import MachineError, PodError, SidelabError
from sidelab.sidecar.interception.build.rule_builder import RETURN, TCP
from sidelab.sidecar.interception.model.model import Backend, Family, Key, Rule, RuleAction, Ruleset
from sidelab.sidecar.interception.text import iptables

Name = Literal["iptables", "iptables-legacy"]
Purpose = Literal["save", "restore"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Every namespace is its own lock: pods don't wait for one another, and no lock file is written (iptables 1.8.6).
_ENVIRONMENT = {"PATH": _PATH, "LC_ALL": "C", "XTABLES_LOCKFILE": "/proc/self/ns/net"}
_VARIANTS = {"iptables": ("-nft", ""), "iptables-legacy": ("-legacy",)}
_WAIT = {"iptables": (), "iptables-legacy": ("--wait=30",)}
_PROBE = "SIDELAB_PROBE"
_LINE = re.compile(r"line:? (\d+)")

# Kernel options by what they provide (net/netfilter/Kconfig, net/ipv4/netfilter/Kconfig).
_OPTIONS: dict[Key | RuleAction, str] = {
    Key.CT_STATE: "CONFIG_NETFILTER_XT_MATCH_CONNTRACK",
    Key.UID: "CONFIG_NETFILTER_XT_MATCH_OWNER",
    Key.GID: "CONFIG_NETFILTER_XT_MATCH_OWNER",
    Key.MARK: "CONFIG_NETFILTER_XT_MATCH_MARK",
    Key.CONNMARK: "CONFIG_NETFILTER_XT_MATCH_CONNMARK",
    Key.DPORT: "CONFIG_NETFILTER_XT_MATCH_MULTIPORT",
    RuleAction.REDIRECT: "CONFIG_NETFILTER_XT_TARGET_REDIRECT",
    RuleAction.TPROXY: "CONFIG_NETFILTER_XT_TARGET_TPROXY",
    RuleAction.MARK: "CONFIG_NETFILTER_XT_TARGET_MARK",
    RuleAction.SAVE_MARK: "CONFIG_NETFILTER_XT_TARGET_CONNMARK",
    RuleAction.RESTORE_MARK: "CONFIG_NETFILTER_XT_TARGET_CONNMARK",
    RuleAction.ZONE: "CONFIG_NETFILTER_XT_TARGET_CT and CONFIG_NF_CONNTRACK_ZONES",
}


class Done(NamedTuple):
    """A tool's exit status and output."""

    status: int
    output: str
    problems: str


Runner = Callable[[Sequence[str], str, dict[str, str]], Done]


def run_here(argv: Sequence[str], text: str, env: dict[str, str]) -> Done:
    """Run a tool in the namespaces of the calling process, with `text` as its input."""
    with forking():
        done = subprocess.run(
            argv,
            input=text,
            env={**os.environ, **env},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    return Done(done.returncode, done.stdout, done.stderr)


def find(name: Name, family: Family, purpose: Purpose) -> str:
    """Return the path of a tool; raises `MachineError` if it is not installed."""
    stem = "iptables" if family == 4 else "ip6tables"
    names = [f"{stem}{variant}-{purpose}" for variant in _VARIANTS[name]]
    for each in names:
        path = shutil.which(each, path=_PATH)
        if path is not None:
            return path
    raise MachineError(
        f"{names[0]} is not installed, and the way {name!r} needs it: `sudo apt-get install iptables` "
        "(Fedora: iptables-nft, iptables-legacy), or use the way 'nft', which needs no tool"
    )


def families(ruleset: Ruleset) -> tuple[Family, ...]:
    """Return the families that `ruleset` has rules for; each tool handles one."""
    return (4, 6) if ruleset.ipv6 else (4,)


def require(name: Name, ruleset: Ruleset) -> None:
    """Raise `MachineError` if a tool that the way needs for `ruleset` is not installed."""
    for family in families(ruleset):
        find(name, family, "restore")


class Tools:
    """The tools of one way, run by `run`."""

    def __init__(self, name: Name, run: Runner) -> None:
        self.name: Name = name
        self._run = run

    def save(self, family: Family) -> str:
        """Return the output of `iptables-save -c`. Raises `PodError` or `MachineError`."""
        argv = (find(self.name, family, "save"), "-c")
        done = self._run(argv, "", _ENVIRONMENT)
        if done.status:
            raise _refusal(argv[0], "", done)
        return done.output

    def add(self, family: Family, text: str) -> None:
        """Carry out the commands in `text`, leaving all other rules. Raises `PodError` or `MachineError`."""
        self._restore(family, text, "--noflush")

    def replace(self, family: Family, text: str) -> None:
        """Replace the content of the tables that `text` names, counters included. Raises what `add` raises."""
        self._restore(family, text, "--counters")

    def _restore(self, family: Family, text: str, option: str) -> None:
        if text:
            argv = (find(self.name, family, "restore"), option, *_WAIT[self.name])
            done = self._run(argv, text, _ENVIRONMENT)
            if done.status:
                raise _refusal(argv[0], text, done)

    def load(self, ruleset: Ruleset, family: Family) -> None:
        """Add `ruleset`, whose chains must not exist yet.

        Raises `MachineError` naming the missing kernel option, if that is the cause, else `PodError` with the tool's
        message.
        """
        try:
            self.add(family, iptables.render(ruleset, family))
        except PodError as error:
            lacking = dict.fromkeys(self._lacking(ruleset, family))
            if lacking:
                raise MachineError(f"{error}: this kernel lacks {', '.join(lacking)}") from error
            raise

    def _lacking(self, ruleset: Ruleset, family: Family) -> Iterator[str]:
        """Yield the missing kernel options, by trying each match and target of `ruleset` separately.

        If the kernel lacks anything, the tools only report "line 13 failed" (at COMMIT).
        """
        tried: dict[tuple[str, Key | RuleAction | None], bool] = {}
        for rule in ruleset.program(Backend.IPTABLES, family):
            for about, one in _alone(rule):
                if (rule.table, about) in tried or not tried.get((rule.table, None), True):
                    continue  # without its table it cannot be tried
                text = "" if about is None else f"{iptables.line(one)}\n"
                tried[rule.table, about] = self._works(rule.table, text, family)
                if not tried[rule.table, about]:
                    yield self._option(rule.table, about, family)

    def _works(self, table: str, line: str, family: Family) -> bool:
        try:
            self.add(family, f"*{table}\n-N {_PROBE}\n{line}COMMIT\n")
        except SidelabError:
            return False
        self.add(family, f"*{table}\n-F {_PROBE}\n-X {_PROBE}\nCOMMIT\n")
        return True

    def _option(self, table: str, about: Key | RuleAction | None, family: Family) -> str:
        if about is not None:
            return _OPTIONS[about]
        if self.name == "iptables":
            return "CONFIG_NF_TABLES and CONFIG_NFT_COMPAT"
        # The tool asks through a raw socket, and prints the same message if it may not open one.
        option = f"CONFIG_IP{'6' if family == 6 else ''}_NF_{table.upper()}"
        return f"{option} (or whoever runs the tool, the capabilities NET_ADMIN and NET_RAW)"


def _alone(rule: Rule) -> Iterator[tuple[Key | RuleAction | None, Rule]]:
    """Yield the bare table (None), and each match and target of `rule` that is an extension, in a rule of its own."""
    bare = Rule(rule.table, _PROBE, (), RETURN)
    yield None, bare
    for match in rule.matches:
        if match.key in _OPTIONS and (match.key is not Key.DPORT or len(match.values) > 1):
            yield match.key, bare._replace(matches=(TCP, match))
    if rule.target.verb in _OPTIONS:
        yield rule.target.verb, bare._replace(matches=(TCP,), target=rule.target)


def _refusal(tool: str, text: str, done: Done) -> SidelabError:
    said = " ".join(done.problems.split()) or f"exit status {done.status}"
    if "Permission denied" in said or "must be root" in said:
        return MachineError(f"{tool}: {said}: the capability NET_ADMIN in this network namespace is needed")
    lines, at = text.splitlines(), _LINE.search(said)
    where = f" (line {at[1]}: {lines[int(at[1]) - 1]})" if at and 0 < int(at[1]) <= len(lines) else ""
    return PodError(f"{tool}: {said}{where}")
