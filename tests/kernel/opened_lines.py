"""Command lines for fixtures: as root or as an ordinary user, with a unique lab name."""

import itertools
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ROOT, CommandLine, nothing_left
from tools import tool

from sidelab.lab.client.lab_names import claimed

_numbers = itertools.count(1)


def lab_name() -> str:
    """Return a name that no other test's lab has."""
    return f"t{os.getpid()}-{next(_numbers)}"


def closed_after(line: CommandLine) -> Iterator[CommandLine]:
    """Yield a command line; then end its lab, and fail if anything is left behind."""
    with nothing_left():
        try:
            yield line
        finally:
            if any(each.lab == line.name for each in claimed(line.uid)):
                line.run("down", line.name)
            line.close()


def opened_line(directory: Path) -> Iterator[CommandLine]:
    """Yield a command line with a unique lab name, for a fixture that starts what its tests share."""
    yield from closed_after(CommandLine(lab_name(), directory))


def opened_rootless_line(user_name: str, directory: Path) -> Iterator[CommandLine]:
    """Yield an ordinary user's command line, for such a fixture; `directory` is used only if we are not root."""
    name = lab_name()
    if os.getuid():
        yield from closed_after(CommandLine(name, directory))
        return
    user = pwd.getpwnam(user_name)
    opened = (sys.executable, str(Path(__file__).with_name("opened.py")))
    become = (tool("setpriv"), f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups", "--")
    prefix = (*opened, *become, "sh", "-c", 'exec "$0" "$@"')  # setpriv itself could still enter root's directories
    env = {"HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"}
    line = CommandLine(name, Path("/"), prefix, env=env, uid=user.pw_uid)
    tried = line.run("--help")
    if tried.returncode:
        pytest.skip(f"an ordinary user cannot run {sys.executable} {ROOT}/sidelab.py: {tried.stderr.strip()}")
    yield from closed_after(line)
