"""A lab that runs: what kill -9, SIGTERM and Ctrl-C at each of its processes do, and what they leave alone."""

import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import EXAMPLE, ROOT, CommandLine, await_true, descendants, outside
from tools import PATIENCE_S

pytestmark = pytest.mark.kernel

POLICIES = """
apiVersion: v1
kind: Pod
metadata: {name: always}
spec:
  containers: [{name: main, image: nginx}, {name: beside, image: curl}]
---
apiVersion: v1
kind: Pod
metadata: {name: on-failure}
spec:
  restartPolicy: OnFailure
  containers: [{name: main, image: any, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: never}
spec:
  restartPolicy: Never
  containers: [{name: main, image: any, command: [sleep, "1000"]}]
"""

POLITE = """
apiVersion: v1
kind: Pod
metadata: {name: polite}
spec:
  containers:
    - {name: main, image: any, command: [sh, -c, 'trap "echo bye; exit 0" TERM; echo hello; sleep 1000 & wait']}
"""


def _pids(state: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return pid and restart count of every container, by pod/container."""
    return {
        f"{pod['name']}/{each['name']}": (each["pid"], each["restarts"])
        for pod in state["pods"]
        for each in pod["containers"]
    }


def _kill(line: CommandLine, state: dict[str, Any], pod: str, container: str = "main") -> None:
    inner = _pids(state)[f"{pod}/{container}"][0]
    os.kill(outside(state["pid"], inner), signal.SIGKILL)


def test_killing_the_supervisor_removes_the_lab(sidelab: CommandLine):
    """Kill -9 of the supervisor takes every process with it at once."""
    assert sidelab.up().returncode == 0
    state = sidelab.state()
    assert len(descendants(state["pid"])) > 4
    os.kill(state["pid"], signal.SIGKILL)
    await_true(lambda: not descendants(), "every process is gone", 10.0)
    done = sidelab.run("status", sidelab.name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sidelab: no lab named '{sidelab.name}' is running")


def test_whoever_speaks_to_a_supervisor_that_is_killed_is_told_in_one_line(sidelab: CommandLine):
    """A program's command line ends with status 5 when its lab does."""
    assert sidelab.up().returncode == 0
    supervisor = sidelab.state()["pid"]
    process = sidelab.start("exec", "client", "--lab", sidelab.name, "--", "sh", "-c", "echo here; sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    os.kill(supervisor, signal.SIGKILL)
    output, problems = process.communicate(timeout=10)
    assert (process.returncode, output) == (5, "")
    assert problems == f"sidelab: lab '{sidelab.name}' ended: its supervisor (pid {supervisor}) hung up\n"


def test_sigterm_to_the_supervisor_is_an_orderly_end(sidelab: CommandLine):
    """SIGTERM has the containers stopped with SIGTERM first: a shell's trap still runs."""
    manifest = sidelab.manifest(POLITE)
    assert sidelab.up(manifest).returncode == 0
    follower = sidelab.start("logs", "polite", "--lab", sidelab.name, "--follow")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "hello\n"
    os.kill(sidelab.state()["pid"], signal.SIGTERM)
    assert follower.communicate(timeout=10) == ("bye\n", "")
    assert follower.returncode == 0


@pytest.mark.parametrize("seed", range(3))
def test_killing_the_command_line_at_any_time_leaves_the_whole_lab_or_nothing(sidelab: CommandLine, seed: int):
    """Kill -9 of `up` at random moments, 10 times: either all goes, or the lab had been let go and is ready."""
    rng = random.Random(seed)
    for _ in range(10):
        process = sidelab.start_up()
        await_true(descendants, "it has been started")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.0, 0.4))
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        sidelab.started.remove(process)
        await_true(
            lambda: not descendants() or sidelab.run("down", sidelab.name).returncode == 0, "it is decided", 10.0
        )
        await_true(lambda: not descendants(), "every process is gone", 10.0)


def test_killing_a_fork_server_restarts_its_containers_only(sidelab: CommandLine):
    """Containers die with the fork server that they are children of, and are restarted by policy by a new one."""
    assert sidelab.up(sidelab.manifest(POLICIES)).returncode == 0
    before = sidelab.state()
    main = outside(before["pid"], _pids(before)["always/main"][0])
    server = int(Path(f"/proc/{main}/stat").read_text().rpartition(") ")[2].split()[1])
    os.kill(server, signal.SIGKILL)

    def restarted() -> bool:
        state = sidelab.state()
        return all(pod["ready"] for pod in state["pods"]) and _pids(state)["always/main"][1] == 1

    await_true(restarted, "the containers are back")
    old, new = _pids(before), _pids(sidelab.state())
    assert [1, 1, 0, 0] == [restarts for _, restarts in new.values()]
    assert {name for name in old if old[name] != new[name]} == {"always/main", "always/beside"}


@pytest.mark.parametrize("pod", ["always", "on-failure"])
def test_a_killed_container_is_restarted_and_nothing_else(sidelab: CommandLine, pod: str):
    """Kill -9 of a container gives it a new process and one restart more; every other process stays."""
    assert sidelab.up(sidelab.manifest(POLICIES)).returncode == 0
    before = sidelab.state()
    _kill(sidelab, before, pod)
    await_true(lambda: all(each["ready"] for each in sidelab.state()["pods"]), "all are ready again")
    await_true(lambda: _pids(sidelab.state())[f"{pod}/main"][1] == 1, "it is counted")
    old, new = _pids(before), _pids(sidelab.state())
    assert {name for name in old if old[name] != new[name]} == {f"{pod}/main"}


def test_a_killed_container_stays_dead_where_the_policy_says_so(sidelab: CommandLine):
    """Under restartPolicy Never the pod has failed, by signal 9, and every other process stays."""
    assert sidelab.up(sidelab.manifest(POLICIES)).returncode == 0
    before = sidelab.state()
    _kill(sidelab, before, "never")
    await_true(lambda: sidelab.pod("never")["phase"] == "Failed", "the pod has failed")
    container = sidelab.pod("never")["containers"][0]
    assert ("terminated", 0, -9, "signal 9") == tuple(
        container[key] for key in ("state", "restarts", "exit_status", "reason")
    )
    old, new = _pids(before), _pids(sidelab.state())
    assert {name for name in old if old[name] != new[name]} == {"never/main"}


_FOREGROUND = """
import os, sys
from sidelab.lab.errors import PodError
from sidelab.lab.plan.blueprint import draw
from sidelab.lab.standins.standin_images import IMAGES
from sidelab.lab.client.starting import foreground
from sidelab.lab.manifest import load
with foreground(draw(load([{manifest!r}]), IMAGES), {name!r}) as lab:
    print(lab.pid, flush=True)
    sys.stdin.readline()
    {then}
print("after", flush=True)
"""


def _foreground(line: CommandLine, then: str = "") -> subprocess.Popen[str]:
    source = _FOREGROUND.format(manifest=str(Path(ROOT, "examples/nginx.yaml")), name=line.name, then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", source], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    line.started.append(process)
    return process


def test_a_foreground_lab_dies_with_its_owner(sidelab: CommandLine):
    """Kill -9 of the process that is inside `with foreground(…)` takes the lab with it."""
    process = _foreground(sidelab)
    assert process.stdout is not None
    supervisor = int(process.stdout.readline())
    assert supervisor in descendants(process.pid)
    process.kill()
    await_true(lambda: not descendants(), "every process is gone", 10.0)


def test_a_foreground_lab_is_gone_when_its_block_ends(sidelab: CommandLine):
    """When the block has been left, no process of the lab is there any more."""
    process = _foreground(sidelab)
    assert process.stdout is not None
    assert process.stdin is not None
    supervisor = int(process.stdout.readline())
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "after\n"
    assert supervisor not in descendants()


def test_the_owner_of_a_foreground_lab_that_is_killed_is_told(sidelab: CommandLine):
    """Inside the block, speaking to the lab raises `PodError`."""
    process = _foreground(sidelab, "os.kill(lab.pid, 9)\n    try: lab.status()\n    except PodError as e: print(e)")
    assert process.stdout is not None
    assert process.stdin is not None
    assert int(process.stdout.readline()) in descendants(process.pid)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(f"lab '{sidelab.name}' ended: its supervisor")
    assert process.stdout.readline() == "after\n"


def test_a_lab_outlives_the_terminal_it_was_started_from(sidelab: CommandLine):
    """`up` can be read to its end: the lab holds none of its standard descriptors."""
    done = sidelab.up(EXAMPLE)  # communicate() would wait for as long as anybody holds the pipes
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("NAMESPACE  POD")
