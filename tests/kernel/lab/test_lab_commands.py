"""The command line at a running lab: what its verbs print, pass on, and refuse."""

import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import EXAMPLE, ROOT, CommandLine, await_true, descendants, running_with
from tools import PATIENCE_S, needs

from sidelab.lab.client.lab import Lab
from sidelab.lab.client.lab_names import running

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: tool}
spec:
  containers:
    - {name: first, image: any, command: [sh, -c, "echo one; echo two >&2; exec sleep 1000"]}
    - {name: second, image: any, command: [sleep, "1000"], env: [{name: WHICH, value: second}]}
"""


def test_up_refuses_a_name_in_use(shared: CommandLine):
    """A second lab of the same name is an input error, and the first goes on."""
    done = shared.up(EXAMPLE)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"sidelab: a lab named '{shared.name}' is already running: choose another --lab, or end it with "
        f"`sidelab down {shared.name}`\n"
    )
    assert shared.pod("web")["ready"]


def test_list_names_each_lab_and_its_supervisor(shared: CommandLine):
    """`list --json` is a list of objects with name and pid; pid is the supervisor's."""
    labs = json.loads(shared.run("list", "--json").stdout)
    found = next(each for each in labs if each["name"] == shared.name)
    assert found == {"name": shared.name, "pid": found["pid"], "pods": 2, "ready": 2}
    assert found["pid"] in descendants()


def test_status_tells_phases_addresses_and_containers(shared: CommandLine):
    """`status --json` has a pod's phase and addresses, and each container's state, restarts and pid."""
    state = shared.state()
    assert ("name", "pid", "pods", "services", "caveats") == tuple(state)
    pod = shared.pod("tool")
    assert ("default", "Running", True, "10.244.0.3", "fd00:10:244::3") == tuple(
        pod[key] for key in ("namespace", "phase", "ready", "ipv4", "ipv6")
    )
    assert [("first", "running", True, 0, None), ("second", "running", True, 0, None)] == [
        tuple(each[key] for key in ("name", "state", "ready", "restarts", "exit_status")) for each in pod["containers"]
    ]


def test_an_unknown_pod_or_container_is_refused_with_those_there_are(shared: CommandLine):
    """The message lists what there is to choose from."""
    pods = shared.exec("nobody", "true")
    containers = shared.run("logs", "tool", "-c", "third", "--lab", shared.name)
    assert (2, 2) == (pods.returncode, containers.returncode)
    assert "choose one of default/web, default/tool" in pods.stderr
    assert "has no container 'third'; it has: first, second" in containers.stderr


def test_logs_have_both_streams_of_the_first_container(shared: CommandLine):
    """`logs POD` prints what the first container wrote to output and error."""
    assert shared.run("logs", "tool", "--lab", shared.name).stdout == "one\ntwo\n"


def test_exec_passes_input_output_and_status(shared: CommandLine):
    """A program in a pod reads our input, writes to our output and error, and its status is ours."""
    done = shared.exec("tool", "sh", "-c", "tr a-z A-Z; echo problem >&2; exit 7", input="hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "HELLO\n", "problem\n")


def test_exec_chooses_the_container(shared: CommandLine):
    """`-c NAME` after the pod, as kubectl has it, gives the program that container's environment."""
    done = shared.run("exec", "tool", "-c", "second", "--lab", shared.name, "--", "sh", "-c", "echo $WHICH $HOSTNAME")
    assert (done.returncode, done.stdout) == (0, "second tool\n")


def test_exec_leaves_options_after_the_dashes_to_the_program(shared: CommandLine):
    """What follows `--` is the program's alone, even where sidelab has an option of that name."""
    done = shared.exec("tool", "printf", "%s;", "-c", "--lab", "-h", "--")
    assert (done.returncode, done.stdout) == (0, "-c;--lab;-h;--;")


def test_exec_reports_death_by_signal_as_a_shell_does(shared: CommandLine):
    """A program that a signal ended gives 128 + its number."""
    assert shared.exec("tool", "sh", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("program", "status", "problem"),
    [
        ("no-such-program", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/etc", 126, "Permission denied"),
    ],
)
def test_exec_of_what_is_no_program_is_told_in_one_line(shared: CommandLine, program: str, status: int, problem: str):
    """The status is a shell's for a program that is not found or can't be executed."""
    done = shared.exec("tool", program)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"sidelab: {program}: {problem}\n")


def test_exec_gives_programs_the_usual_signal_dispositions(shared: CommandLine):
    """A program that writes to a closed pipe ends quietly, as at any shell: SIGPIPE is not ignored."""
    done = shared.exec("tool", "sh", "-c", "yes | head -n 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "y\n", "")


def test_exec_with_its_input_closed_runs_all_the_same(shared: CommandLine):
    """A command line that was started without standard input still runs a program, which reads nothing."""
    words = " ".join(shared.argv("exec", "tool", "--lab", shared.name, "--", "cat"))
    done = subprocess.run(["sh", "-c", f"{words} <&-"], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_program_ends_with_the_command_line_that_wanted_it(shared: CommandLine, number: signal.Signals):
    """When `exec` itself is killed, its program and that one's children are hung up on."""
    process = shared.start("exec", "tool", "--lab", shared.name, "--", "sh", "-c", "echo here; sleep 4321; true")
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    process.communicate(timeout=10)
    shared.started.remove(process)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    await_true(lambda: not running_with(b"4321"), "it is gone", 5.0)
    assert shared.pod("tool")["ready"]


@needs("curl")
def test_two_labs_with_equal_addresses_do_not_meet(shared: CommandLine, sidelab: CommandLine):
    """Side by side each lab has its own pod at the same address, and `down` of one leaves the other."""
    assert sidelab.up(sidelab.manifest(MANIFEST.replace("name: web", "name: twin"))).returncode == 0
    assert sidelab.pod("twin")["ipv4"] == shared.pod("web")["ipv4"]
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%header{x-pod}", f"http://{shared.pod('web')['ipv4']}/"]
    assert ("twin", "web") == (sidelab.exec("tool", *ask).stdout, shared.exec("tool", *ask).stdout)
    supervisor = sidelab.state()["pid"]
    inside = set(descendants(supervisor))
    assert sidelab.run("down", sidelab.name).returncode == 0
    assert not (inside | {supervisor}) & set(descendants())
    assert shared.pod("web")["ready"]


def test_down_of_an_unknown_lab_is_an_input_error(sidelab: CommandLine):
    """There is nothing to end, and the message says so."""
    done = sidelab.run("down", sidelab.name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"sidelab: no lab named '{sidelab.name}' is running; ")


def test_open_sockets_stay_in_their_pod(shared: CommandLine):
    """A socket that a lab hands out belongs to the pod's network: it binds the pod's address, which is not ours."""
    with Lab(shared.name) as lab:
        address = shared.pod("tool")["ipv4"]
        with lab.open_socket(lab.pod("tool"), socket.AF_INET, socket.SOCK_STREAM) as inside:
            inside.bind((address, 0))
            assert inside.getsockname()[0] == address
        with socket.socket() as outside, pytest.raises(OSError, match="Cannot assign"):
            outside.bind((address, 0))


@contextmanager
def _terminal(
    line: CommandLine, *argv: str, rows: int = 33, columns: int = 77
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run the command line at a new terminal; yield the near end and the process."""
    near, far = os.openpty()
    fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = {**os.environ, "SHELL": "/bin/sh", "PS1": "$ ", "TERM": "dumb"}
    process = subprocess.Popen(line.argv(*argv), stdin=far, stdout=far, stderr=far, env=env, start_new_session=True)
    os.close(far)
    try:
        yield near, process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        os.close(near)


def _read_until(near: int, wanted: str) -> str:
    seen = b""
    while wanted.encode() not in seen:
        assert select.select([near], [], [], 10.0)[0], f"no {wanted!r} in {seen!r}"
        seen += os.read(near, 4096)
    return seen.decode()


def test_a_shell_has_a_real_terminal(shared: CommandLine):
    """`shell` gives job control, the size of our window, its changes, and the shell's exit status."""
    with _terminal(shared, "shell", "tool", "--lab", shared.name) as (near, process):
        os.write(near, b"stty size; tty < /dev/tty; echo is $((20 + 3)); set -m; echo done-$?\n")
        seen = _read_until(near, "done-0\r\n")
        assert "33 77\r\n" in seen
        assert "is 23\r\n" in seen
        assert "job control" not in seen
        assert "can't access tty" not in seen
        fcntl.ioctl(near, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 88, 0, 0))
        process.send_signal(signal.SIGWINCH)
        os.write(near, b"stty size; sleep 4322\n")
        _read_until(near, "sleep 4322\r\n")
        await_true(lambda: running_with(b"4322"), "the sleep runs")
        os.write(near, b"\x03")
        _read_until(near, "^C")
        os.write(near, b"stty size; exit 9\n")
        assert "44 88\r\n" in _read_until(near, "44 88\r\n")
        assert process.wait(timeout=10) == 9


def test_a_command_gets_a_terminal_where_it_is_asked_for(shared: CommandLine):
    """`exec -it` is `kubectl exec -it`: a terminal of its own, its size, and the command's status."""
    with _terminal(shared, "exec", "-it", "--lab", shared.name, "tool", "sh") as (near, process):
        os.write(near, b"stty size; tty < /dev/tty; exit 9\n")
        assert "33 77\r\n" in _read_until(near, "33 77\r\n")
        assert process.wait(timeout=10) == 9
    done = shared.run("exec", "-it", "--lab", shared.name, "tool", "sh", "-c", "echo $0-$1", "a", "-b", input="")
    assert (done.returncode, done.stdout) == (0, "a--b\n")
    assert "standard input is not a terminal" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(shared: CommandLine, number: signal.Signals):
    """Whoever ends `shell` from elsewhere has a terminal again that echoes, and what ran in it is hung up on."""
    with _terminal(shared, "shell", "tool", "--lab", shared.name) as (near, process):
        before = termios.tcgetattr(near)
        os.write(near, b"echo is $((20 + 3)); sleep 4323\n")
        _read_until(near, "is 23\r\n")
        assert before[3] != termios.tcgetattr(near)[3]
        await_true(lambda: running_with(b"4323"), "the sleep runs")
        process.send_signal(number)
        assert process.wait(timeout=10) == 128 + number
        assert before == termios.tcgetattr(near)
    await_true(lambda: not running_with(b"4323"), "it is gone", 5.0)


def test_what_a_container_has_logged_commands_no_terminal(sidelab: CommandLine):
    """At a terminal and in CI `logs` is escaped but for colours; elsewhere, and raw, whole; in an error, always."""
    evil = "\\033]0;title\\007\\033[31mred\\n::error::x\\n"
    pod = _POD_THAT_PRINTS.replace("EVIL", evil)
    assert sidelab.up(sidelab.manifest(pod)).returncode == 0
    words = ("logs", "web", "--lab", sidelab.name)
    with _terminal(sidelab, *words) as (near, process):
        seen = _read_until(near, ":error::x")
        assert "\\x1b]0;title\\x07\x1b[31mred\r\n\\x3a:error::x" in seen
        process.wait(timeout=10)
    with _terminal(sidelab, *words, "--raw") as (near, process):
        assert "\x1b]0;title\x07\x1b[31mred" in _read_until(near, "::error::x")
        process.wait(timeout=10)
    quiet = dict.fromkeys(("CI", "GITHUB_ACTIONS"), "")
    sidelab.env = quiet
    assert "\x1b]0;title\x07\x1b[31mred\n::error::x\n" == sidelab.run(*words).stdout
    sidelab.env = quiet | {"GITHUB_ACTIONS": "true"}
    assert "\\x1b]0;title\\x07\x1b[31mred\n\\x3a:error::x\n\x1b[0m" == sidelab.run(*words).stdout
    assert sidelab.run("down", sidelab.name).returncode == 0
    never = pod.replace("1000']", "1000'], readinessProbe: {tcpSocket: {port: 1}}")
    failed = sidelab.up(sidelab.manifest(never), "--timeout", "2")
    assert (5, True) == (failed.returncode, "\\x1b]0;title\\x07\\x1b[31mred" in failed.stderr)
    assert not re.search(r"\x1b|^\s*::", failed.stderr, re.MULTILINE)


def test_what_is_reported_as_failed_is_not_left_running(sidelab: CommandLine):
    """`up` whose report can't be written ends the lab; where its reader has left, the lab stays."""
    with Path("/dev/full").open("wb") as full:
        done = sidelab.run("up", EXAMPLE, "--name", sidelab.name, stdout=full)
    assert 2 == done.returncode
    assert 1 == done.stderr.count("standard output can't be written to: No space left on device")
    assert sidelab.name not in running()
    line = " ".join(sidelab.argv("up", EXAMPLE, "--name", sidelab.name))
    done = subprocess.run(["bash", "-c", f"{line} | true; exit ${{PIPESTATUS[0]}}"], check=False, capture_output=True)
    assert (0, b"") == (done.returncode, done.stderr)
    assert sidelab.name in running()


_POD_THAT_PRINTS = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: main, image: any, command: [sh, -c, 'printf "EVIL"; sleep 1000']}]
"""

_NEVER_READY = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: nginx
      image: nginx
      readinessProbe: {tcpSocket: {port: 1}}
"""


def test_progress_leaves_an_empty_line_behind(sidelab: CommandLine):
    """What follows at the terminal, a table or an error, has a line of its own."""
    with _terminal(sidelab, "up", EXAMPLE, "--name", sidelab.name) as (near, process):
        assert re.search(r"(^|\r)NAMESPACE  POD", _read_until(near, "NAMESPACE  POD"))
        assert process.wait(timeout=10) == 0
    never = ("up", sidelab.manifest(_NEVER_READY), "--name", f"{sidelab.name}-2", "--timeout", "1")
    with _terminal(sidelab, *never) as (near, process):
        seen = _read_until(near, "not ready within 1 s")
        assert process.wait(timeout=10) == 5
    assert re.search(r"0 of 1 pods ready\r +\rsidelab: not ready", seen)


def test_a_shell_needs_a_terminal(shared: CommandLine):
    """Without one, the message names `exec`."""
    done = shared.run("shell", "tool", "--lab", shared.name)
    assert done.returncode == 2
    assert "use `sidelab exec POD -- sh` for a script" in done.stderr


def test_up_reads_a_manifest_from_standard_input(sidelab: CommandLine):
    """`-` is standard input."""
    text = Path(ROOT, "examples/nginx.yaml").read_text()
    done = sidelab.run("up", "-", "--name", sidelab.name, "--json", input=text)
    assert done.returncode == 0
    assert [True, True] == [pod["ready"] for pod in json.loads(done.stdout)["pods"]]
