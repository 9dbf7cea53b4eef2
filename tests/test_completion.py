"""What a shell completes at its prompt, asked as bash asks; nothing is started but the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools import tool

ROOT = Path(__file__).parents[1]


def completed(line: str, directory: Path) -> list[str]:
    """Return what bash offers for a line, with the cursor at its end."""
    program = f'exec {sys.executable} {ROOT}/sidelab.py "$@"'
    (directory / "sidelab").write_text(f"#!/bin/sh\n{program}\n")
    (directory / "sidelab").chmod(0o755)
    script = (
        'eval "$(sidelab completion bash)"; COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9; '
        '_python_argcomplete sidelab; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [tool("bash"), "--norc", "-c", script, "bash", line]
    env = os.environ | {"PATH": f"{directory}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert "" == done.stderr
    return [word.strip() for word in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sidelab st", ["status"]),
        ("sidelab rules c", ["check", "clean", "conntrack"]),
        ("sidelab up --l", ["--lab", "--log-max"]),
        ("sidelab bench lad", ["ladder"]),
        ("sidelab completion b", ["bash"]),
    ],
)
def test_a_shell_completes(line: str, expected: list[str], tmp_path: Path):
    """Verbs, verbs of a group, options, plans and an argument's choices."""
    assert expected == completed(line, tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell"])
def test_every_shell_that_is_named_gets_a_script(shell: str):
    """The script completes `sidelab`."""
    command = [sys.executable, ROOT / "sidelab.py", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sidelab" in done.stdout
