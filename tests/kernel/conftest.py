"""Fixtures for tests of running labs: a command line as root or as an ordinary user, with a unique lab name."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from opened_lines import closed_after, lab_name, opened_rootless_line
from tools import tool

from sidelab.lab.base import identity, syscalls
from sidelab.lab.errors import MachineError

_PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session")
def _subreaper() -> None:
    syscalls._prctl(_PR_SET_CHILD_SUBREAPER, 1)


@pytest.fixture(scope="session")
def _able() -> None:
    try:
        identity.decide(identity.read())
    except MachineError as error:
        pytest.skip(str(error))


@pytest.fixture
def sidelab(_subreaper: None, _able: None, tmp_path: Path) -> Iterator[CommandLine]:
    """Return a command line with a unique lab name; the test fails if it leaves anything behind."""
    yield from closed_after(CommandLine(lab_name(), tmp_path))


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, _subreaper: None, _able: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CommandLine]:
    """Return the command line of a lab that runs the module's `MANIFEST`, for tests that leave it unchanged."""
    line = CommandLine(lab_name(), tmp_path_factory.mktemp("shared"))
    for up in closed_after(line):
        done = up.up(up.manifest(request.module.MANIFEST))
        assert done.returncode == 0, done.stderr
        yield up


@pytest.fixture(scope="session")
def ordinary_user() -> Iterator[str]:
    """Return the name of a user with subordinate ids, made for the tests if we are root."""
    if os.getuid():
        yield identity.read().user
        return
    useradd, userdel, usermod = map(tool, ("useradd", "userdel", "usermod"))
    tool("newuidmap")
    name = f"sidelab{os.getpid()}"
    subprocess.run([useradd, "--no-create-home", "--home-dir", "/", name], check=True, capture_output=True)
    try:
        for path, option in (("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")):
            if not Path(path).exists() or f"{name}:" not in Path(path).read_text():
                subprocess.run([usermod, option, "300000-365535", name], check=True, capture_output=True)
        yield name
    finally:
        subprocess.run([userdel, name], check=True, capture_output=True)


@pytest.fixture
def rootless(_subreaper: None, ordinary_user: str, tmp_path: Path) -> Iterator[CommandLine]:
    """Return an ordinary user's command line, which finds the checkout and our Python even in root's home."""
    yield from opened_rootless_line(ordinary_user, tmp_path)
