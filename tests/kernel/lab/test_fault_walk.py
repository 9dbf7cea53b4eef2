"""Whatever dies while a lab is being built, at whichever step, takes the rest with it and says so in one line."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from command_line import EXAMPLE, CommandLine, await_true, descendants, held

from sidelab.lab.base.fault_points import STEPS

pytestmark = pytest.mark.kernel

IN_CONTAINER = ("container-spawned", "container-ready")
IN_LAB = tuple(step for step in STEPS if step not in IN_CONTAINER)
KILLED = "sidelab: the lab's supervisor was killed while the lab was starting, and nothing of it is left: "

# The example has an injected pod and a plain one; this adds a container that runs a program of the host, and a Service.
_COMMAND_POD = """
---
apiVersion: v1
kind: Pod
metadata:
  name: waiter
spec:
  containers:
    - name: sleep
      image: any
      command: [sleep, "1000"]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: nginx}
  ports: [{port: 80}]
"""


@pytest.fixture
def line(request: pytest.FixtureRequest, step: str) -> CommandLine:
    """Return the command line of a user for whom the step exists."""
    found: CommandLine = request.getfixturevalue("rootless" if step == "user-mapped" else "sidelab")
    return found


def _manifest(line: CommandLine) -> str:
    if line.directory == Path("/"):
        return EXAMPLE  # an ordinary user has no directory that we may write to
    return line.manifest(Path(EXAMPLE).read_text() + _COMMAND_POD)


def _held_at(line: CommandLine, step: str) -> tuple[subprocess.Popen[str], int]:
    """Start a lab that stands still at `step`; return its command line and the process that was there first."""
    process = line.start_up(_manifest(line), fault=f"{step}:hold")
    found = await_true(lambda: held() or process.poll() is not None, f"step {step} is reached")
    assert process.poll() is None, f"step {step} was never reached"
    return process, found[0]


def _outcome(line: CommandLine, process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, problems = process.communicate(timeout=20)
    line.started.remove(process)
    return process.returncode, output, problems


@pytest.mark.parametrize("step", IN_LAB)
def test_a_bug_at_a_step_is_shown_with_its_traceback_and_leaves_nothing(line: CommandLine, step: str):
    """An exception at any step ends the lab with status 70 and the traceback."""
    done = line.up(_manifest(line), fault=f"{step}:raise")
    assert (done.returncode, done.stdout) == (70, "")
    assert f"RuntimeError: fault injected at {step}" in done.stderr


@pytest.mark.parametrize("step", IN_LAB)
def test_kill_at_a_step_is_told_in_one_line_and_leaves_nothing(line: CommandLine, step: str):
    """Kill -9 of the process that is at a step ends the lab with status 5 and one line."""
    process, victim = _held_at(line, step)
    os.kill(victim, signal.SIGKILL)
    status, output, problems = _outcome(line, process)
    assert (status, output, problems.count("\n")) == (5, "", 1)
    assert problems.startswith(KILLED)


@pytest.mark.parametrize("step", STEPS)
def test_kill_of_the_keeper_at_a_step_is_told_in_one_line_and_leaves_nothing(line: CommandLine, step: str):
    """Kill -9 of the process between the command line and the supervisor ends the lab likewise."""
    process, _ = _held_at(line, step)
    keeper = next(each.pid for each in descendants().values() if each.parent == process.pid)
    os.kill(keeper, signal.SIGKILL)
    status, output, problems = _outcome(line, process)
    assert (status, output, problems.count("\n")) == (5, "", 1)
    assert problems.startswith(KILLED)


@pytest.mark.parametrize("step", STEPS)
def test_kill_of_the_command_line_at_a_step_leaves_nothing(line: CommandLine, step: str):
    """Kill -9 of the command line takes along whatever there is of the lab, at any step."""
    process, _ = _held_at(line, step)
    process.kill()
    assert _outcome(line, process) == (-signal.SIGKILL, "", "")


@pytest.mark.parametrize("step", STEPS[::3])
def test_interrupt_at_a_step_leaves_nothing(line: CommandLine, step: str):
    """Ctrl-C at the command line before the lab is ready ends both with status 130 and without a traceback."""
    process, _ = _held_at(line, step)
    process.send_signal(signal.SIGINT)
    assert _outcome(line, process) == (130, "", "")


@pytest.mark.parametrize("step", IN_CONTAINER)
def test_a_bug_in_a_container_is_told_with_the_end_of_its_log(line: CommandLine, step: str):
    """A container that fails at a step is restarted by its policy; where that does not help, its log is shown."""
    done = line.up(_manifest(line), "--timeout", "0.7", fault=f"{step}:raise")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith("sidelab: not ready within 0.7 s:\n")
    assert f"RuntimeError: fault injected at {step}" in done.stderr


@pytest.mark.parametrize("step", IN_CONTAINER)
def test_a_container_killed_at_a_step_is_restarted_by_its_policy(line: CommandLine, step: str):
    """Kill -9 of containers at a step is met by restarts; when that does not help in time, the signal is told."""
    process = line.start_up(_manifest(line), "--timeout", "3", fault=f"{step}:hold")
    killed: set[int] = set()

    def kill_the_held() -> bool:
        for pid in set(held()) - killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return process.poll() is not None

    await_true(kill_the_held, "the lab gives up")
    status, output, problems = _outcome(line, process)
    assert (status, output) == (5, "")
    assert "container istio-proxy: signal 9" in problems
    assert len(killed) > 3  # each container there was, and each restart of it


def test_every_step_is_walked():
    """Each step is either the lab's own or a container's."""
    assert sorted(STEPS) == sorted((*IN_LAB, *IN_CONTAINER))
