"""The bundled proxy of other git revisions, as programs that follow docs/proxy-contract.md; removed when a run ends.

Each revision's files are written to a directory that every user of a pod can read, beside the one package that the
proxy imports and a launcher. A separate process waits until this one ends, in whatever way, and removes them.
"""

import compileall
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sidelab.bench.arms import interpreter
from sidelab.bench.plan.arm import REVISION
from sidelab.bench.plan.plan import Plan
from sidelab.lab.errors import InputError, MachineError

_WHERE = Path("/var/tmp")  # in a pod /tmp is the pod's own, and this is the machine's
_PACKAGES = ("lab", "sidecar")
_ENTRY = "sidecar/proxy/main.py"
_PACKAGE = "sidelab"
_LAUNCHER = """\
#!/bin/sh
{python} '{main}' "$@"
"""
_MAIN = """\
import sys
sys.path[:0] = {places!r}
from {package}sidecar.proxy.main import run
run(["sidelab-proxy", *sys.argv[1:]])
"""
_REMOVE = """\
import shutil, sys
sys.stdin.read()
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""


class Revision(NamedTuple):
    """What an arm's name for a revision stands for: the commit, and the path of its program during the run."""

    commit: str
    program: str


@contextmanager
def extracted(plan: Plan, checkout: Path) -> Iterator[Mapping[str, Revision]]:
    """Make a program of each revision that an arm of `plan` names, and yield them by the arms' name for them.

    Raises `InputError` for an unknown revision or one whose proxy does not follow the contract; `MachineError` if git
    is missing.
    """
    words = sorted({arm.proxy for arm in plan.arms if arm.proxy.startswith(REVISION)})
    if not words:
        yield {}
        return
    commits = {word: resolve(word, checkout) for word in words}
    with _directory() as directory:
        # For a program in a `bin`, a pod also sees the `lib` beside it.
        python = interpreter.shell_command(directory / "lib" / "python")
        yield {
            word: Revision(commits[word], str(_program(directory, number, commits[word], checkout, python)))
            for number, word in enumerate(words)
        }


def resolve(word: str, checkout: Path) -> str:
    """Return the commit that `git:REVISION` stands for; raises what `extracted` raises."""
    asked = f"{word.removeprefix(REVISION)}^{{commit}}"
    return _git(checkout, word, "rev-parse", "--verify", "--quiet", "--end-of-options", asked).decode().strip()


def _git(checkout: Path, word: str, *arguments: str) -> bytes:
    try:
        done = subprocess.run(("git", "-C", checkout, *arguments), capture_output=True, check=False)
    except FileNotFoundError:
        raise MachineError(f"{word} needs git, which is not here: `apt install git`") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or "there is no such revision"
        raise InputError(f"{word}: git in {checkout} says: {said}; name a branch, a tag or a commit that it has")
    return done.stdout


def _program(whole: Path, number: int, commit: str, checkout: Path, python: str) -> Path:
    """Write a revision's proxy below `whole` and return its launcher."""
    directory, launcher = whole / "lib" / str(number), whole / "bin" / f"sidelab-proxy-{number}"
    word = f"{REVISION}{commit[:12]}"
    archive = _git(checkout, word, "archive", "--format=zip", commit, *_PACKAGES)
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        packed.extractall(directory / _PACKAGE)
    entry = directory / _PACKAGE / _ENTRY
    text = entry.read_text(encoding="utf-8") if entry.exists() else ""
    if "\ndef run(argv" not in text:
        raise InputError(f"{word} has no proxy that follows docs/proxy-contract.md; name a later revision")
    found = find_spec("msgspec")
    if found is None or found.origin is None:
        raise MachineError("msgspec, which the proxy imports, is not installed as files: install sidelab with pip")
    shutil.copytree(Path(found.origin).parent, directory / "msgspec", ignore=shutil.ignore_patterns("__pycache__"))
    # Compiled beforehand, as a pod's user may not write here and would compile at every start.
    compileall.compile_dir(directory, quiet=1)
    main = directory / "main.py"
    # Earlier revisions import their packages as `lab` and `sidecar`.
    package = f"{_PACKAGE}." if f"from {_PACKAGE}." in text else ""
    places = [str(directory), str(directory / _PACKAGE)]
    main.write_text(_MAIN.format(places=places, package=package), encoding="utf-8")
    launcher.parent.mkdir(exist_ok=True)
    launcher.write_text(_LAUNCHER.format(python=python, main=main), encoding="utf-8")
    for path in (launcher.parent, launcher, directory.parent, directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path == launcher else 0o644)
    return launcher


@contextmanager
def _directory() -> Iterator[Path]:
    """Yield a directory that is removed afterwards, even when this process is killed."""
    directory = Path(tempfile.mkdtemp(prefix="sidelab-", dir=_WHERE))
    reader, writer = os.pipe()
    try:
        # In a session of its own: a signal to a terminal's programs must not end the one that cleans up after them.
        command = (sys.executable, "-I", "-c", _REMOVE, str(directory))
        remover = subprocess.Popen(command, stdin=reader, start_new_session=True)
    finally:
        os.close(reader)
    try:
        directory.chmod(0o755)
        yield directory
    finally:
        os.close(writer)
        remover.wait()
