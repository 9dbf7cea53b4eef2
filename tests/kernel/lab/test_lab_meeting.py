"""A lab is found again wherever it was started, or not started there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from command_line import CommandLine
from tools import PATIENCE_S

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed"),
]
_SQUATTER = """
import socket, sys
prefix = f"\\0sidelab/{sys.argv[1]}/"
names = [name + tail for name in sys.argv[2:] for tail in ("", "/" + "0" * 16)] + ["x\\x1b[31m/" + "0" * 16]
names += [f"{sys.argv[2]}/{number:016x}" for number in range(1, 500)]
held = []
for name in names:
    held.append(socket.socket(socket.AF_UNIX)); held[-1].bind(prefix + name); held[-1].listen(0)
print("bound", flush=True)
sys.stdin.read()
"""
_ROOT_ONLY = pytest.mark.skipif(bool(os.getuid()), reason="only root makes namespaces without a user namespace")


@_ROOT_ONLY
@pytest.mark.parametrize(
    "other", [("unshare", "--net"), ("unshare", "--mount"), ("unshare", "--ipc", "--uts", "--net")]
)
def test_a_lab_that_was_started_in_other_namespaces_is_found_by_every_command(
    sidelab: CommandLine, other: tuple[str, ...]
):
    """Outside of them and in others, it is listed, shown and ended, and its name is taken."""
    sidelab.prefix = other
    assert sidelab.up().returncode == 0
    assert sidelab.state()["name"] == sidelab.name  # from yet another one of these
    sidelab.prefix = ()
    assert sidelab.name in sidelab.run("list").stdout
    assert sidelab.up().returncode == 2
    assert sidelab.exec("client", "true").returncode == 0
    assert sidelab.run("down", sidelab.name).returncode == 0


@_ROOT_ONLY
def test_a_lab_that_would_end_with_its_command_line_is_refused(sidelab: CommandLine):
    """The first process of a pid namespace takes everything along when it ends."""
    sidelab.prefix = ("unshare", "--pid", "--fork")
    done = sidelab.up()
    assert (done.returncode, done.stdout) == (3, "")
    assert "first process of its pid namespace" in done.stderr


@_ROOT_ONLY
def test_an_ordinary_user_in_another_network_namespace_is_refused_with_the_cure(rootless: CommandLine):
    """It may not open a socket outside of it, where the lab would be looked for."""
    prefix = rootless.prefix
    rootless.prefix = ("unshare", "--net", *prefix)
    done = rootless.up()
    assert (done.returncode, done.stdout) == (3, "")
    assert "outside of it no command would find the lab: start the lab outside" in done.stderr
    rootless.prefix = prefix
    assert rootless.up().returncode == 0
    rootless.prefix = ("unshare", "--net", *prefix)
    assert "can't be reached from this network namespace" in rootless.run("status", rootless.name).stderr
    rootless.prefix = prefix
    assert rootless.run("down", rootless.name).returncode == 0


@pytest.fixture
def squatter(sidelab: CommandLine) -> Iterator[None]:
    """Have another user bind names of the lab that is to be started, of one before it and of hundreds more."""
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable  # one that another user may run
    command = [python, "-c", _SQUATTER, str(os.getuid()), sidelab.name, "aaa"]
    with subprocess.Popen(
        command, user=65534, group=65534, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "bound\n"
        yield
        process.communicate(timeout=PATIENCE_S)


@_ROOT_ONLY
def test_names_that_another_user_has_bound_are_nobodys_labs(sidelab: CommandLine, squatter: None):
    """The lab starts under its name, is shown and ended by it, and no other is listed."""
    assert (0, "") == ((up := sidelab.up()).returncode, up.stderr)
    assert sidelab.state()["name"] == sidelab.name
    listed = sidelab.run("list").stdout
    assert (True, False, False) == (sidelab.name in listed, "aaa" in listed, "\x1b" in listed)
    assert (0, "") == ((down := sidelab.run("down", sidelab.name)).returncode, down.stderr)
    assert "no lab named 'aaa' is running" in sidelab.run("down", "aaa").stderr
