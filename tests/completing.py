"""What a shell completes at its prompt, requested as bash does."""

import os
import subprocess
import sys
from pathlib import Path

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
