"""A lab under clients that misbehave and containers that take what they can get: the others don't notice."""

import contextlib
import json
import operator
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, await_true, descendants
from tools import missing, tool

from sidelab.lab.base import framing
from sidelab.lab.client import lab_names
from sidelab.lab.client.lab import Lab

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
  containers: [{name: main, image: any, command: [sleep, "1000"]}]
"""


@contextlib.contextmanager
def _link(line: CommandLine) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(lab_names.addresses(line.name)[0])
        yield link


def _supervisor(line: CommandLine) -> int:
    with Lab(line.name) as lab:
        return int(lab.pid)


def _serves(line: CommandLine) -> bool:
    with Lab(line.name) as lab:
        lab._link.settimeout(1.0)  # nobody holds it up
        return all(pod["ready"] for pod in lab.status()["pods"])


def _message(value: object) -> bytes:
    data = json.dumps(value).encode()
    return struct.pack("=I", len(data)) + data


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00",
        b"\x05\x00\x00\x00{",
        _message({"verb": "status"})[:-1],
        struct.pack("=I", 16 << 20) + b"x" * 1000,
    ],
)
def test_a_client_that_says_too_little_holds_nobody_up(shared: CommandLine, sent: bytes):
    """Silence, or a message that never ends, concerns that client alone."""
    with _link(shared) as link:
        link.sendall(sent)
        assert _serves(shared)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 64,
        b"\x00" * 64,
        b"\x02\x00\x00\x00[]",
        b"\x04\x00\x00\x00\xff\xfe\xfd\xfc",
        struct.pack("=I", 200_000) + b"[" * 200_000,
    ],
)
def test_a_client_that_sends_garbage_is_hung_up_on(shared: CommandLine, sent: bytes):
    """What is no message ends that client's connection and nothing else."""
    with _link(shared) as link:
        link.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(100) == b""
    assert _serves(shared)


@pytest.mark.parametrize(
    "request_",
    [
        {"verb": "dance"},
        {"no": "verb"},
        {"verb": "log"},
        {"verb": "log", "pod": "web", "container": None},
        {"verb": "log", "pod": ["a"], "container": None},
        {"verb": "socket", "pod": None, "family": -1, "type": 1, "protocol": 0},
        {"verb": "socket", "pod": None, "family": 1 << 70, "type": 1, "protocol": 0},
        {"verb": "socket", "pod": None, "family": 99, "type": 1, "protocol": 0},
        {"verb": "namespaces", "pods": [["default", "web"]] * 300},
        {"verb": "namespaces", "pods": [["default", "nobody"]]},
        {"verb": "exec", "pod": ["default", "tool"], "argv": [], "container": None, "env": {}, "terminal": False},
        {"verb": "exec", "pod": ["default", "tool"], "argv": ["true"], "container": None, "env": {}, "terminal": False},
        {"verb": "exec", "pod": ["default", "tool"], "argv": "true", "container": None, "env": {"A": 1}, "terminal": 3},
    ],
)
def test_a_request_that_is_wrong_is_answered_with_an_error(shared: CommandLine, request_: dict[str, object]):
    """A message that asks for nothing sensible gets an error, and the connection is still good."""
    with _link(shared) as link:
        for _ in range(2):
            framing.send(link, request_)
            assert "error" in framing.receive(link)[0]
        framing.send(link, {"verb": "status"})
        assert "pods" in framing.receive(link)[0]


def test_a_client_that_reads_nothing_holds_nobody_up(shared: CommandLine):
    """Answers that are not taken wait, without anybody else waiting."""
    with _link(shared) as link:
        link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                link.send(_message({"verb": "status"}))
        assert _serves(shared)


def test_a_program_that_takes_long_holds_nobody_up(shared: CommandLine):
    """While one client's program runs, others are served; a second one of the same client as well."""
    null = os.open(os.devnull, os.O_RDWR)
    ask: dict[str, object] = {
        "verb": "exec",
        "pod": ["default", "tool"],
        "container": None,
        "env": {},
        "terminal": False,
    }
    with _link(shared) as link:
        framing.send(link, {**ask, "argv": ["sleep", "1000"]}, [null] * 3)
        assert framing.receive(link)[0] == {"starting": True}
        framing.send(link, {**ask, "argv": ["sh", "-c", "exit 5"]}, [null] * 3)
        assert framing.receive(link)[0] == {"starting": True}
        assert framing.receive(link)[0] == {"exited": 5, "failure": []}
        assert _serves(shared)
    os.close(null)


def test_many_programs_leave_nothing_in_the_supervisor(shared: CommandLine):
    """After 200 quick programs the supervisor has the descriptors and the lab the processes that they had before."""
    assert shared.exec("tool", "true").returncode == 0
    supervisor = _supervisor(shared)
    descriptors = Path(f"/proc/{supervisor}/fd")

    def counted() -> tuple[int, int]:
        children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text()
        return len(list(descriptors.iterdir())), len(children.split())

    await_true(
        lambda: len(descendants(supervisor)) == 5,
        "only the containers, the fork servers and the maker of namespaces are left",
    )
    before = counted()
    for number in range(200):
        with Lab(shared.name) as lab:
            assert lab.execute(("default", "tool"), ["sh", "-c", f"exit {number % 100}"], (0, 1, 2)) == number % 100
    await_true(lambda: all(map(operator.le, counted(), before)), f"no more than {before} descriptors and children")
    assert len(descendants(supervisor)) == 5


def test_clients_that_hang_up_leave_nothing_in_the_supervisor(shared: CommandLine):
    """Nor do clients that leave in the middle of a message, with descriptors, or while their program runs."""
    supervisor = _supervisor(shared)
    descriptors = Path(f"/proc/{supervisor}/fd")
    before = len(list(descriptors.iterdir()))
    ask: dict[str, object] = {
        "verb": "exec",
        "pod": ["default", "tool"],
        "container": None,
        "env": {},
        "terminal": False,
    }
    for _ in range(20):
        with _link(shared) as link:
            socket.send_fds(link, [_message({**ask, "argv": ["sleep", "1000"]})[:50]], [0, 1, 2])
        with _link(shared) as link:
            framing.send(link, {**ask, "argv": ["sleep", "1000"]}, [0, 1, 2])
    await_true(lambda: len(list(descriptors.iterdir())) <= before, "the descriptors are closed")
    await_true(lambda: len(descendants(supervisor)) == 5, "the programs are gone", 5.0)


def test_a_program_may_have_a_megabyte_of_arguments(shared: CommandLine):
    """As many arguments as the kernel takes reach the program."""
    words = ["x" * 100_000] * 10
    done = shared.exec("tool", "sh", "-c", "echo $# ${#1}", "sh", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10 100000\n", "")


def test_more_arguments_than_the_kernel_takes_are_told_in_one_line(shared: CommandLine):
    """What execve(2) refuses, the program's error output says."""
    with Lab(shared.name) as lab:
        read, write = os.pipe()
        status = lab.execute(("default", "tool"), ["echo", "x" * 1_000_000], (0, write, write))
        os.close(write)
        with os.fdopen(read) as output:
            assert (126, "sidelab: echo: Argument list too long\n") == (status, output.read())
    assert _serves(shared)


def test_another_user_is_hung_up_on(shared: CommandLine):
    """A peer of another uid gets no answer, even when it knows the socket's name."""
    if os.getuid():
        pytest.skip("only root can become somebody else")
    source = (
        "import socket, sys\nlink = socket.socket(socket.AF_UNIX); link.settimeout(10)\n"
        f"link.connect({lab_names.addresses(shared.name)[0]!r}); print(link.recv(10))"
    )
    python = shutil.which("python3", path="/usr/bin:/bin")  # one that another user may run
    if python is None:
        pytest.skip(missing("python3"))
    done = subprocess.run([python, "-c", source], user=65534, capture_output=True, text=True, check=False, cwd="/")
    assert "b''" in done.stdout or "ConnectionResetError" in done.stderr, done.stderr
    assert _serves(shared)


def test_a_container_that_fills_its_log_fills_no_memory(sidelab: CommandLine):
    """What logs may take is bounded; beyond, writing fails for them, and the lab goes on."""
    manifest = MANIFEST.replace(
        '[sleep, "1000"]', '[sh, -c, "head -c 300M /dev/zero; echo status $? >/tmp/status; sleep 1000"]'
    )
    assert sidelab.up(sidelab.manifest(manifest)).returncode == 0
    await_true(lambda: sidelab.exec("tool", "cat", "/tmp/status").stdout == "status 1\n", "the log is full")
    assert _serves(sidelab)
    assert sidelab.exec("tool", "sh", "-c", "exit 3").returncode == 3
    assert sidelab.run("logs", "web", "--lab", sidelab.name).returncode == 0
    assert sidelab.run("down", sidelab.name).returncode == 0


def test_a_container_that_forks_ends_with_its_lab(sidelab: CommandLine):
    """A hundred orphans, each in a session of its own, are reaped while the lab runs and gone when it ends."""
    script = "for i in $(seq 100); do setsid sleep 1000 & setsid true & done; sleep 1000"
    manifest = MANIFEST.replace('[sleep, "1000"]', f'[bash, -c, "{script}"]')
    tool("bash")
    assert sidelab.up(sidelab.manifest(manifest)).returncode == 0
    supervisor = _supervisor(sidelab)
    await_true(lambda: len(descendants(supervisor)) >= 105, "the sleepers sleep")
    assert _serves(sidelab)
    inside = {supervisor, *descendants(supervisor)}
    assert sidelab.run("down", sidelab.name).returncode == 0
    assert not inside & set(descendants())
