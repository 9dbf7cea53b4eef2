"""A Python that a proxy's user can run: this one if its files' modes let others read them, else a copy of it.

A pod sees this interpreter wherever it is, but only the owner can read what was installed under a umask of 077.
"""

import shutil
import sys
from pathlib import Path

from sidelab.lab.plan import machine_view, program_access
from sidelab.sidecar.config.contract import UID

_UNUSED = shutil.ignore_patterns(
    *("site-packages", "test", "config-*", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "*.opt-*.pyc")
)


def shell_command(directory: Path) -> str:
    """Return a shell command that execs Python without site-packages; if a copy is needed, it is in `directory`."""
    program = Path(sys.executable).resolve()
    home = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not program_access.look(str(program), program_access.User(UID)).problem and not machine_view.is_closed(
        home / "lib" / version
    ):
        return f"exec '{program}' -ISB"
    (directory / "bin").mkdir(parents=True)
    shutil.copy(program, directory / "bin" / version)
    shutil.copytree(home / "lib" / version, directory / "lib" / version, ignore=_UNUSED)
    for library in (home / "lib").glob("libpython*.so*"):
        shutil.copy(library, directory / "lib" / library.name)
    return f"PYTHONHOME='{directory}' LD_LIBRARY_PATH='{directory}/lib' exec '{directory}/bin/{version}' -sSB"
