"""Run a command that can use this checkout and this Python in place, although it may not enter the directories above.

    python opened.py COMMAND …

Run as root, for commands that become another user. In a new mount namespace, each directory that only its owner may
enter is covered by an empty one, which has only the checkout and the environment in it, at their paths.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Open the closed directories, and exec the command."""
    sys.path.insert(0, str(ROOT))
    from sidelab.lab.base.syscalls import CLONE_NEWNS, MS_BIND, MS_PRIVATE, MS_REC, mount, unshare  # noqa: PLC0415  # found just now

    os.umask(0o022)
    unshare(CLONE_NEWNS)
    mount("", "/", "", MS_REC | MS_PRIVATE)
    shown = {path: os.open(path, os.O_PATH) for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix))}
    for door in sorted({door for path in shown if (door := _closed(path)) is not None}):
        mount("tmpfs", str(door), "tmpfs", 0, "mode=755")
        for path, fd in shown.items():
            if path.is_relative_to(door):
                path.mkdir(parents=True, exist_ok=True)
                mount(f"/proc/self/fd/{fd}", str(path), "", MS_BIND)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  # no shell is wanted


def _closed(path: Path) -> Path | None:
    """Return the first directory on the way to `path` that others may not enter."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)


if __name__ == "__main__":
    main()
