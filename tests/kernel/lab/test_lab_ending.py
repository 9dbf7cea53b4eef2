"""`down` ends a lab in whatever state its supervisor is, and within a bound."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from command_line import CommandLine, await_true, descendants, held

from sidelab.lab.client import ending
from sidelab.lab.client import lab as lab_module
from sidelab.lab.client.lab import Lab
from sidelab.lab.client.lab_names import addresses, running

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: nginx, image: nginx}]}
"""


@pytest.fixture
def up(sidelab: CommandLine) -> CommandLine:
    """Return a lab with one pod."""
    assert 0 == sidelab.up(sidelab.manifest(MANIFEST)).returncode
    return sidelab


def _stopped(line: CommandLine) -> int:
    """Stop the supervisor as a debugger would; return its pid."""
    with Lab(line.name) as lab:
        os.kill(lab.pid, signal.SIGSTOP)
        return lab.pid


def test_a_stopped_supervisor_is_killed(up: CommandLine):
    """It can't answer, and its lab is gone all the same."""
    _stopped(up)
    done = up.run("down", up.name)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert up.name not in running()


def test_other_commands_tell_that_a_stopped_supervisor_does_not_answer(up: CommandLine):
    """Within a bound, with the cure; once it goes on, it answers again."""
    pid = _stopped(up)
    done = up.run("status", up.name)
    assert (5, "") == (done.returncode, done.stdout)
    assert f"(pid {pid}) is stopped or overloaded: `sidelab down {up.name}` ends it in any case" in done.stderr
    os.kill(pid, signal.SIGCONT)
    assert 0 == up.run("status", up.name).returncode


def test_a_stopped_supervisor_with_a_queue_of_commands_is_killed(up: CommandLine, monkeypatch: pytest.MonkeyPatch):
    """Nor does it matter that no more connections can wait for it."""
    monkeypatch.setattr(lab_module, "_ANSWER_TIMEOUT_S", 0.0)
    pid = _stopped(up)
    with ExitStack() as stack:
        for _ in range(70):
            link = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            try:
                link.connect(addresses(up.name)[0])
            except BlockingIOError:
                break
        ending.end(up.name)
    assert up.name not in running()
    assert pid not in descendants()


def test_a_lab_that_hangs_while_it_starts_is_ended(sidelab: CommandLine, monkeypatch: pytest.MonkeyPatch):
    """Whoever starts it is told that it was killed, and nothing is left."""
    monkeypatch.setattr(ending, "_STARTING_TIMEOUT_S", 0.0)
    starting = sidelab.start_up(sidelab.manifest(MANIFEST), fault="node-made:hold")
    await_true(held, "it stands still")
    ending.end(sidelab.name)
    _, problems = starting.communicate(timeout=60)
    assert (5, True) == (starting.returncode, "was killed while the lab was starting" in problems)


def test_several_at_a_time_all_end_well(up: CommandLine):
    """Each returns when the lab is gone, whoever's request it was."""
    labs = [Lab(up.name) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert [None] * 8 == list(pool.map(ending.stop, labs))
    assert up.name not in running()


def test_what_was_seen_and_is_gone_has_been_ended(sidelab: CommandLine):
    """`down --all` is not held up by a lab that somebody else ends meanwhile."""
    ending.end(sidelab.name, seen=True)
    assert sidelab.name not in running()
