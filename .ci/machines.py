"""The machines that `.ci/run` makes, what runs on each, and the outcome.

Three machines run at a time: one with root's labs, one with a user's, and the one with all tools. Labs are identified
by their user's id and their name, and machines share this one's network namespace while they install from the network;
the third runs its labs in a namespace of its own.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import readme
import skips

ROOT = Path(__file__).parents[1]
BARE_MACHINE = str(ROOT / ".ci" / "bare_machine")
USER, UID = "somebody", 4321  # not 1000, on which nothing may rely

# Debian packages of all programs that tests compare sidelab with, and those that an ordinary user's lab needs.
TOOLS = (
    *("procps", "iproute2", "iptables", "nftables", "conntrack", "nginx-light", "haproxy", "curl", "wrk", "uidmap"),
    *("git", "openssl", "chromium", "nox"),
)
_LIMIT_S = 40 * 60
"""How long the commands of a machine may take before it is ended."""

_TAIL = 300
"""How many lines of a failed machine's log are shown."""


@dataclass(frozen=True)
class Machine:
    """A machine: its release of Debian, the user who owns the checkout, and what runs there."""

    name: str
    release: str
    ordinary: bool = False
    tooled: bool = False
    """Has all of `TOOLS`, and the checkout in a place that every user can read."""
    whole: bool = True
    """Runs the tests marked `slow` as well: they do not depend on the machine, and take a third of the time."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the Debian packages that are installed."""
        return TOOLS if self.tooled else tuple(readme.packages(ordinary=self.ordinary))

    @property
    def home(self) -> str:
        """Return the directory in which the repository is cloned."""
        return "/srv" if self.tooled else f"/home/{USER}" if self.ordinary else "/root"

    @property
    def commands(self) -> tuple[str, ...]:
        """Return the commands to run in the checkout first: the README's two."""
        if self.tooled:
            return ("nox -s lint types", "nox -s tests --install-only", "nox -s wheel", "nox -s lab -- --version")
        return tuple(readme.commands("Two commands", "nox"))

    @property
    def alone(self) -> tuple[str, ...]:
        """Return the commands to run after that, without a network and apart from other labs: the README's tour."""
        if self.tooled:
            results = "/ci/results"
            return (
                "ip link set lo up",
                "nox -s tests",
                f"nox -s bench -- smoke --results {results}",
                f"nox -s report -- {results}/*",
            )
        return tuple(readme.commands("Five minutes", "sidelab"))

    @property
    def chain(self) -> tuple[bool, bool]:
        """Return the machine's chain: machines of one chain share something, so they run one after the other."""
        return self.ordinary, self.tooled


MACHINES = {
    each.name: each
    for each in (
        Machine("bookworm-root", "bookworm"),
        Machine("trixie-root", "trixie", whole=False),
        Machine("bookworm-user", "bookworm", ordinary=True, whole=False),
        Machine("trixie-user", "trixie", ordinary=True, whole=False),
        Machine("tools", "bookworm", tooled=True),
    )
}


@dataclass
class Outcome:
    """The outcome of a machine; `trouble` is empty if all is well, `summary` is pytest's last line.

    `slowest` is pytest's list of the tests that took longest.
    """

    machine: Machine
    summary: str = ""
    slowest: str = ""
    trouble: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main(names: list[str]) -> int:
    """Make the machines of these names (all, if none is given), and return the exit status."""
    unknown = [name for name in names if name not in MACHINES]
    if unknown:
        say(f"there is no machine {unknown[0]!r}: choose of {', '.join(MACHINES)}")
        return 2
    chosen = [MACHINES[name] for name in names or MACHINES]
    work = Path(tempfile.mkdtemp(prefix="sidelab-ci-"))
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda release: make(release, work), sorted({each.release for each in chosen})))
            chains = [
                [each for each in chosen if each.chain == chain]
                for chain in dict.fromkeys(each.chain for each in chosen)
            ]
            done = [outcome for chain in pool.map(lambda each: run_all(each, work), chains) for outcome in chain]
    finally:
        shutil.rmtree(work)
    for each in done:
        say(f"{each.machine.name:14} {each.seconds:5.0f} s  {each.summary.strip('= ') or 'no summary'}")
    trouble = [f"{each.machine.name}: {line}" for each in done for line in each.trouble]
    for line in trouble:
        say(line)
    last = next((each for each in done if each.machine.tooled), done[-1])
    sys.stdout.write(f"{last.slowest}\n")
    sys.stdout.write(f"{last.summary}\n")
    return bool(trouble)


def make(release: str, work: Path) -> None:
    """Make the tree of a release, with today's package index."""
    begin, tree = time.monotonic(), work / release
    subprocess.run([BARE_MACHINE, "make", release, tree], check=True)
    subprocess.run([BARE_MACHINE, "enter", tree, "apt-get", "update", "-qq"], check=True)
    say(f"bare {release} after {time.monotonic() - begin:.0f} s")


def run_all(machines: list[Machine], work: Path) -> list[Outcome]:
    """Run machines one after the other."""
    return [run(each, work) for each in machines]


def run(machine: Machine, work: Path) -> Outcome:
    """Make a machine from its release's tree, run its commands, and remove it."""
    begin, tree, log = time.monotonic(), work / machine.name, work / f"{machine.name}.log"
    outcome = Outcome(machine)
    say(f"{machine.name}: begins")
    with log.open("wb") as output:
        try:
            prepare(machine, work / machine.release, tree, output)
            script = f'cd {machine.home}/sidelab && exec python3 .ci/on_machine.py "$@"'
            status = 0
            for how, commands in (("enter", machine.commands), ("alone", machine.alone)):
                argv = [BARE_MACHINE, how, str(tree), *as_user(machine), "bash", "-c", script, "-", *commands]
                done = subprocess.run(argv, stdout=output, stderr=output, timeout=_LIMIT_S, check=False)
                status |= done.returncode
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            status, outcome.trouble = 1, [str(error)]
    text = log.read_text(errors="replace")
    outcome.seconds = time.monotonic() - begin
    outcome.trouble += re.findall(r"^--- ((?:status [1-9]\d*: |left behind: ).*)$", text, re.MULTILINE)
    outcome.summary = next(iter(re.findall(r"^=+ .*(?:passed|failed|error).* =+$", text, re.MULTILINE)[-1:]), "")
    outcome.slowest = next(iter(re.findall(r"^=+ (slowest .*?)(?=^=)", text, re.MULTILINE | re.DOTALL)), "").strip()
    results = tree / "ci" / "tests.xml"
    if results.is_file():
        unwanted = skips.not_allowed(skips.skipped(results), machine.name)
        outcome.trouble += [f"skipped and not in .ci/skips-allowed: {name}: {reason}" for name, reason in unwanted]
    if not outcome.summary or (status and not outcome.trouble):
        outcome.trouble.append(f"no result, status {status}")
    for line in re.findall(r"^(?:--- \$|--- status 0|FAILED|ERROR) ?.*$", text, re.MULTILINE):
        say(f"{machine.name}: {line}")
    if outcome.trouble:
        say("\n".join([f"{machine.name}: the log's end", *text.splitlines()[-_TAIL:]]))
    shutil.rmtree(tree)
    return outcome


def prepare(machine: Machine, release: Path, tree: Path, output: BinaryIO) -> None:
    """Copy a release's tree, install the machine's packages, and clone the repository into its home."""

    def do(*argv: str | Path) -> None:
        subprocess.run(argv, stdout=output, stderr=output, check=True, env=os.environ | {"GIT_CONFIG_GLOBAL": str(git)})

    git = tree.with_suffix(".gitconfig")
    git.write_text("[safe]\n\tdirectory = *\n")  # the repository may belong to another user than root
    do("cp", "-a", release, tree)
    if machine.tooled:  # only nginx's program is needed: Debian's installer runs this file before it starts a service
        (tree / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (tree / "usr/sbin/policy-rc.d").chmod(0o755)
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends")
    if machine.ordinary:  # as Debian's installer does: adduser, and a user made with it
        do(BARE_MACHINE, "enter", tree, *install, "adduser")
        do(BARE_MACHINE, "enter", tree, "adduser", "--uid", str(UID), "--disabled-password", "--gecos", "", USER)
        (tree / "home" / USER).chmod(0o700)
    do(BARE_MACHINE, "enter", tree, *install, *machine.packages)
    (tree / "ci").mkdir()
    do("git", "clone", "--quiet", ROOT, f"{tree}{machine.home}/sidelab")
    if machine.ordinary:
        do(BARE_MACHINE, "enter", tree, "chown", "-R", f"{USER}:", "/ci", f"{machine.home}/sidelab")


def as_user(machine: Machine) -> list[str]:
    """Return the prefix that runs a command as the machine's user, with the variables that a login sets."""
    junit = "PYTEST_ADDOPTS=--junitxml=/ci/tests.xml --durations=25" + ("" if machine.whole else " -m 'not slow'")
    if not machine.ordinary:
        return ["env", junit]
    path = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"  # Debian's /etc/login.defs
    return ["runuser", "-u", USER, "--", "env", junit, path, f"HOME={machine.home}", f"USER={USER}", f"LOGNAME={USER}"]


def say(text: str) -> None:
    """Print a line with the time of day."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
