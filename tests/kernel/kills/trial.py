"""One kill: start a lab, kill a process of it at a random moment, and check what is there afterwards.

A process's kind follows from its place in the tree of processes: none is found by its name.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import CommandLine, await_true, descendants
from tools import PATIENCE_S

KINDS = (
    "command line",
    "keeper",
    "supervisor",
    "namespace maker",
    "first process of a pod",
    "fork server",
    "name server",
    "stand-in",
    "part of a stand-in",
    "program",
    "part of a program",
    "program of exec",
)
"""What may be killed, in the order in which trials take turns."""

_STARTING = KINDS[:9]  # the kinds that exist before a lab is ready
_START_S = 0.9  # about how long a lab takes to start on a busy machine
_BACK_S = 40.0

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: meshed, labels: {app: web, sidecar.istio.io/inject: "true"}}
spec: {containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: program}
spec: {containers: [{name: main, image: any, command: [sh, -c, "sleep 1000 & wait"]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: together}
spec:
  shareProcessNamespace: true
  containers: [{name: one, image: any, command: [sleep, "1000"]}, {name: two, image: nginx}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""

ENVOY = """
---
apiVersion: v1
kind: Pod
metadata: {name: enveloped, labels: {sidecar.istio.io/inject: "true"}, annotations: {sidelab.io/proxy: envoy}}
spec: {containers: [{name: nginx, image: nginx, ports: [{containerPort: 80}]}]}
"""


@dataclass(frozen=True)
class Trial:
    """What was killed, when, and what happened to the lab: `gone`, or `back`; see `carry_out`."""

    kind: str
    moment: str
    outcome: str


def kinds(line: CommandLine) -> dict[int, str]:
    """Return the kind of each process of a lab, and of its command lines.

    This process is their reaper: a supervisor whose keeper has ended becomes its child.
    """
    commands, reaper = {each.pid for each in line.started}, os.getpid()
    seen = descendants(reaper)
    children: dict[int, list[int]] = {}
    for pid, process in seen.items():
        children.setdefault(process.parent, []).append(pid)
    found: dict[int, str] = {}
    supervisors = [pid for pid in children.get(reaper, ()) if pid not in commands]
    for command in commands & seen.keys():
        found[command] = "command line"
        for keeper in children.get(command, ()):
            found[keeper] = "keeper"
            supervisors += children.get(keeper, ())
    for supervisor in supervisors:
        found[supervisor] = "supervisor"
        for child in children.get(supervisor, ()):
            _name_child(child, supervisor, children, found)
    return found


def _name_child(child: int, supervisor: int, children: dict[int, list[int]], found: dict[int, str]) -> None:
    if _text(child, "comm").strip() == "sidelab-spaces":
        found[child] = "namespace maker"
        found.update(dict.fromkeys(children.get(child, ()), "first process of a pod"))
    elif _owner(child) == _owner(supervisor):
        found[child] = "fork server"
        for container in children.get(child, ()):
            kind = "stand-in" if _text(container, "cmdline") == _text(child, "cmdline") else "program"
            kind = "program of exec" if "sleep\0002000" in _text(container, "cmdline") else kind
            found[container] = kind
            found.update(dict.fromkeys(_below(container, children), f"part of a {kind}"))
    else:
        found[child] = "name server"


def _below(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    for child in children.get(pid, ()):
        yield child
        yield from _below(child, children)


def _text(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _owner(pid: int) -> int:
    """Return the effective uid of a process from /proc/PID/status, which works even if it is not dumpable."""
    line = next((line for line in _text(pid, "status").splitlines() if line.startswith("Uid:")), "Uid: -1 -1")
    return int(line.split()[2])


def carry_out(line: CommandLine, manifest: str, kind: str, rng: random.Random) -> Trial:
    """Start a lab, kill a process of this kind, and check what happens to the lab; fail as a test does if it is wrong.

    If the lab depends on the process, nothing of it may be left. After any other kill, everything must come back: the
    same kinds of processes, every pod ready. `down` then leaves nothing.
    """
    if kind in _STARTING and (kind in KINDS[:2] or rng.random() < 0.5):
        return _while_it_starts(line, manifest, kind, rng)
    return _while_it_runs(line, manifest, kind, rng)


def _while_it_starts(line: CommandLine, manifest: str, kind: str, rng: random.Random) -> Trial:
    """Kill a process at a random moment after `up` was called, or as soon as one of its kind exists."""
    process = line.start_up(manifest)
    after_s = rng.uniform(0.0, _START_S)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    victims: list[int] = []

    def found() -> bool:
        victims[:] = [pid for pid, each in kinds(line).items() if each == kind]
        return bool(victims) or process.poll() is not None

    await_true(found, f"there is a {kind}")
    victim = rng.choice(victims) if victims else None
    if victim is not None:
        _kill(victim)
    process.communicate(timeout=PATIENCE_S)
    line.started.remove(process)
    outcome = _decided(line, must_end=kind == "supervisor" and victim is not None)
    return Trial(kind, f"{after_s:.2f} s after its start" if victim else "too late", outcome)


def _decided(line: CommandLine, *, must_end: bool) -> str:
    """Wait until the lab is either gone or has all its pods ready; end it then."""

    def state() -> str:
        if not _runs(line):
            return "" if kinds(line) else "gone"
        return "" if must_end else ("back" if _ready(line) else "")

    outcome: str = await_true(state, "the lab is gone, or ready", _BACK_S)
    if outcome == "back":
        _end(line)
    return outcome


def _runs(line: CommandLine) -> bool:
    return any(each["name"] == line.name for each in json.loads(line.run("list", "--json").stdout))


def _ready(line: CommandLine) -> bool:
    done = line.run("status", line.name)
    rows = [each.split() for each in done.stdout.split("\n\n")[0].splitlines()[1:]]
    return done.returncode == 0 and all(len(set(each[2].split("/"))) == 1 for each in rows if len(each) > 2)


def _end(line: CommandLine) -> None:
    done = line.run("down", line.name)
    assert done.returncode == 0, done.stderr


def _while_it_runs(line: CommandLine, manifest: str, kind: str, rng: random.Random) -> Trial:
    """Kill a process of a lab in use: requests are made by name, and a program runs in a pod."""
    done = line.up(manifest)
    assert done.returncode == 0, done.stderr
    assert _asks(line)
    program = line.start("exec", "program", "--lab", line.name, "--", "sleep", "2000")
    await_true(lambda: "program of exec" in kinds(line).values(), "a program runs")
    before = _census(line)
    after_s = rng.uniform(0.0, 0.3)
    time.sleep(after_s)
    victims = [pid for pid, each in kinds(line).items() if each == kind]
    assert victims, f"there is no {kind} among {before}"
    _kill(rng.choice(victims))
    outcome = _afterwards(line, kind, before)
    program.kill()
    program.communicate(timeout=PATIENCE_S)
    line.started.remove(program)
    return Trial(kind, "when all were ready", outcome)


def _asks(line: CommandLine) -> bool:
    """Make a request by name, which starts the name server if needed; return whether it was answered."""
    program = "import urllib.request as r; r.urlopen('http://web/', timeout=3)"
    return line.exec("program", "python3", "-c", program).returncode == 0


def _census(line: CommandLine) -> Counter[str]:
    """Count the processes of the lab by kind."""
    return Counter(kind for kind in kinds(line).values() if kind not in {"command line", "program of exec"})


def _afterwards(line: CommandLine, kind: str, before: Counter[str]) -> str:
    if kind == "supervisor":
        await_true(lambda: not _runs(line), "the lab is gone", 10.0)
        return "gone"

    def back() -> bool:
        return not _runs(line) or (_ready(line) and _asks(line) and _census(line) == before)

    await_true(back, f"all is back: {dict(before)}, after a kill of a {kind}", _BACK_S)
    if not _runs(line):
        pytest.fail(f"the lab ended with a {kind}")
    _end(line)
    return "back"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
