"""The command line for tests of running labs, and the check that it leaves nothing behind.

The test process is the subreaper of everything it starts (prctl(2), PR_SET_CHILD_SUBREAPER), so everything that a lab
leaves behind is a descendant of the test, however often it was orphaned and in whatever pid namespace it is.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tools import PATIENCE_S

from sidelab.lab.base.fault_points import HELD
from sidelab.lab.client.lab_names import running

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "nginx-injected.yaml")
_LOOK_AGAIN_S = 0.005


def await_true(condition: Callable[[], Any], what: str, deadline_s: float = PATIENCE_S) -> Any:
    """Evaluate `condition` again and again, and return its first true value; fail the test after `deadline_s`."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:g} s: {what}")
        time.sleep(_LOOK_AGAIN_S)
    return value


@dataclass(frozen=True)
class ProcessSeen:
    """A process in /proc: `namespace` is the inode of its pid namespace (0 for a zombie)."""

    pid: int
    parent: int
    name: str
    state: str


def _processes() -> dict[int, ProcessSeen]:
    seen = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                head, _, rest = (entry / "stat").read_text().rpartition(") ")
                state, parent = rest.split()[:2]
                pid, _, name = head.partition(" (")
                seen[int(pid)] = ProcessSeen(int(pid), int(parent), name, state)
    return seen


def descendants(of: int | None = None) -> dict[int, ProcessSeen]:
    """Return the living descendants of a process (this one for None), after reaping our zombies."""
    processes = _processes()
    family = {of or os.getpid()}
    found: dict[int, ProcessSeen] = {}
    grown = True
    while grown:
        grown = False
        for each in processes.values():
            if each.parent in family and each.pid not in family:
                family.add(each.pid)
                found[each.pid] = each
                grown = True
    return {pid: each for pid, each in found.items() if each.state != "Z"}


def outside(supervisor: int, inner: int) -> int:
    """Return the pid out here of the process that has the pid `inner` in the lab."""
    for pid in descendants(supervisor):
        numbers = next(
            line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid")
        )
        if int(numbers.split()[2]) == inner:  # after the label and the pid out here
            return pid
    raise AssertionError(f"no process {inner} in the lab")


def running_with(seconds: bytes) -> list[int]:
    """Return the descendants that run `sleep seconds`."""
    found = []
    for pid in descendants():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", seconds]:
                found.append(pid)
    return found


def host_state() -> dict[str, object]:
    """Return the state that a lab must not change on the host: links, mounts, directories, socket names."""
    return {
        "links": sorted(each.name for each in Path("/sys/class/net").iterdir()),
        "mounts": sorted(line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "run": sorted(each.name for each in Path("/run").iterdir() if "sidelab" in each.name),
        "labs": [name for name in running() if name.startswith(f"t{os.getpid()}-")],
    }


@dataclass
class CommandLine:
    """Runs `sidelab` as this user, for one lab with a unique name."""

    name: str
    directory: Path
    prefix: tuple[str, ...] = ()
    python: str = sys.executable
    env: dict[str, str] = field(default_factory=dict)
    uid: int = field(default_factory=os.getuid)
    root: Path = ROOT
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def argv(self, *words: str) -> list[str]:
        """Return the command line for `words`."""
        return [*self.prefix, self.python, str(self.root / "sidelab.py"), *words]

    def manifest(self, text: str) -> str:
        """Write a manifest; return its path."""
        path = self.directory / f"{self.name}.yaml"
        path.write_text(text)
        return str(path)

    def start(self, *words: str, fault: str = "", **how: Any) -> subprocess.Popen[str]:
        """Start `sidelab` and return while it runs."""
        env = {**os.environ, **self.env, **({"SIDELAB_FAULT": fault} if fault else {})}
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        process = subprocess.Popen(self.argv(*words), env=env, text=True, cwd=self.directory, **how)
        self.started.append(process)
        return process

    def run(self, *words: str, fault: str = "", **how: Any) -> subprocess.CompletedProcess[str]:
        """Run `sidelab` to its end, which must come within `timeout_s`."""
        given, timeout_s = how.pop("input", None), how.pop("timeout_s", 60)
        if given is not None:
            how["stdin"] = subprocess.PIPE
        process = self.start(*words, fault=fault, **how)
        output, problems = process.communicate(given, timeout=timeout_s)
        self.started.remove(process)
        return subprocess.CompletedProcess(words, process.returncode, output, problems)

    def start_up(self, manifest: str = EXAMPLE, *options: str, fault: str = "") -> subprocess.Popen[str]:
        """Start `sidelab up` for this lab and return while it runs."""
        return self.start("up", manifest, "--name", self.name, *options, fault=fault)

    def up(self, manifest: str = EXAMPLE, *options: str, fault: str = "") -> subprocess.CompletedProcess[str]:
        """Run `sidelab up` for this lab."""
        return self.run("up", manifest, "--name", self.name, *options, fault=fault)

    def exec(self, pod: str, *argv: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a program in a pod of this lab."""
        return self.run("exec", pod, "--lab", self.name, "--", *argv, **how)

    def state(self) -> dict[str, Any]:
        """Return `sidelab status --json`."""
        done = self.run("status", self.name, "--json")
        assert done.returncode == 0, done.stderr
        state: dict[str, Any] = json.loads(done.stdout)
        return state

    def pod(self, name: str) -> dict[str, Any]:
        """Return the entry of a pod in `status`."""
        found: dict[str, Any] = next(pod for pod in self.state()["pods"] if pod["name"] == name)
        return found

    def close(self) -> None:
        """Kill what is still running."""
        for process in self.started:
            process.kill()
            process.communicate(timeout=PATIENCE_S)


def held() -> list[int]:
    """Return the descendants that are stopped at an injected fault."""
    return [each.pid for each in descendants().values() if each.name == HELD]


def reap() -> None:
    """Wait for adopted processes that have ended; subprocess does so for those that it started."""
    for each in _processes().values():
        if each.parent == os.getpid() and each.state == "Z":
            with contextlib.suppress(ChildProcessError):
                os.waitpid(each.pid, os.WNOHANG)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if, ten seconds after the block, a process of it is alive or the host is not as it was."""
    processes, before = set(descendants()), host_state()
    try:
        yield
        await_true(lambda: not set(descendants()) - processes, "every process of the lab is gone", 10.0)
        assert before == host_state()
    finally:
        for pid in set(descendants()) - processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await_true(lambda: not set(descendants()) - processes, "what was left could be killed")
        reap()
