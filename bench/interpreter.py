"""A Python that every user of a pod can run: this one where it may be, else a copy of it.

In a pod /tmp and /run are the pod's own, and the proxy's user is nobody special: an interpreter below /root, as pyenv
installs it for root, is neither seen nor readable there.
"""

import shutil
import sys
from pathlib import Path

from lab.reach import closed

_HIDDEN = (Path("/tmp"), Path("/run"))
_UNUSED = shutil.ignore_patterns(
    *("site-packages", "test", "config-*", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "*.opt-*.pyc")
)


def shell_command(directory: Path) -> str:
    """Return a shell's words that replace it with Python, without site-packages; a copy is made in `directory`."""
    program = Path(sys.executable).resolve()
    if _is_open(program) and _is_open(Path(sys.base_prefix).resolve()):
        return f"exec '{program}' -ISB"
    home = Path(sys.base_prefix).resolve()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (directory / "bin").mkdir(parents=True)
    shutil.copy(program, directory / "bin" / version)
    shutil.copytree(home / "lib" / version, directory / "lib" / version, ignore=_UNUSED)
    for library in (home / "lib").glob("libpython*.so*"):
        shutil.copy(library, directory / "lib" / library.name)
    return f"PYTHONHOME='{directory}' LD_LIBRARY_PATH='{directory}/lib' exec '{directory}/bin/{version}' -sSB"


def _is_open(path: Path) -> bool:
    """Tell whether a pod sees `path` and lets anybody pass to it."""
    hidden = any(path.is_relative_to(each) for each in _HIDDEN)
    return not hidden and closed(path) is None
