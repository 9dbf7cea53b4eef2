"""Children that die with their parent, seen by a pipe that they hold open."""

import subprocess
import sys

import pytest

BEGIN = """
import os, signal, socket, time
from sidelab.lab.base.processes.parent_death import die_with_linked_parent, die_with_parent

parent = os.getpid()
ours, theirs = socket.socketpair()
"""
BY_PID = "die_with_parent(parent)"
BY_LINK = "ours.close(); die_with_linked_parent(theirs)"


def said(program: str) -> str:
    """Return what a program and its child write; that takes until both have ended."""
    command = [sys.executable, "-c", BEGIN + program]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30, check=False).stdout


@pytest.mark.parametrize("call", [BY_PID, BY_LINK])
def test_a_child_dies_with_its_parent(call: str):
    """The parent is killed, and so can't say anything."""
    program = f"""
if os.fork() == 0:
    {call}
    os.write(1, b"it lives")
    theirs.send(b"+")
    time.sleep(60)
    os._exit(0)
ours.recv(1)
os.kill(parent, signal.SIGKILL)
"""
    assert "it lives" == said(program)


@pytest.mark.parametrize("call", [BY_PID, BY_LINK])
def test_a_child_whose_parent_has_gone_already_ends(call: str):
    """The kernel would tell it nothing any more."""
    program = f"""
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.01)
    {call}
    os.write(1, b"it lives")
    os._exit(0)
os._exit(0)
"""
    assert "" == said(program)
