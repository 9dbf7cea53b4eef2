"""A lab is found again wherever it was started, or not started there."""

import os
import shutil

import pytest
from command_line import CommandLine

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed"),
]
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
