"""What a shell completes at its prompt, asked as bash asks; nothing is started but the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from completing import completed

ROOT = Path(__file__).parents[2]


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
