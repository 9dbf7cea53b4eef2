"""Whether a container's user can run a program of this machine, found out beforehand; and what a pod is shown for it.

A container's user is not the one who starts the lab, nor anybody else on the machine: whatever its uid in the pod, it
is one of the others to whom a file's mode gives its last three bits. Directories on the way are no obstacle, for the
lab shows what lies behind them (`lab.plan.machine_view`); the program's own mode is, and a script's interpreter.
"""

import os
import stat
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sidelab.lab.plan.machine_view import around, is_packaged, pods_own, walk

_HEAD_BYTES = 256  # how much of a file the kernel looks at (BINPRM_BUF_SIZE)
_MOST_INTERPRETERS = 4  # scripts whose interpreters are scripts (fs/exec.c, exec_binprm)
_ELF = b"\x7fELF"
_MACHINE = slice(18, 20)  # e_machine, elf(5)
_OF_32_BITS = b"\x01"
_PT_INTERP = 3
_MISSING = "no such file: install it, or correct its path"
_BINFMTS = Path("/proc/sys/fs/binfmt_misc")


@dataclass(frozen=True)
class User:
    """A container's user: its uid in the pod, and what of the machine is `exposed` to it; or whoever starts the lab.

    Which capabilities it has doesn't matter: they are worth nothing on the machine's files.
    """

    inside: int
    exposed: tuple[Path, ...] = ()
    ours: bool = False

    def may(self, path: Path, bit: int) -> bool:
        """Tell whether a file's mode lets this user read (4) or run (1) it; an access list may, so that is left to it.

        Raises `OSError` where the file can't be looked at.
        """
        mode = path.stat().st_mode
        return os.access(path, bit) if self.ours else bool(mode & bit) or _has_access_list(path)


def _has_access_list(path: Path) -> bool:
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


_US = User(0, ours=True)


@dataclass(frozen=True)
class FoundProgram:
    """What is known of a program: `problem` says why the user can't run it, with the cure; "" if nothing is in the way.

    `shown` is what a pod has to be shown for it, `copy` the file that has to be copied, if any. `own` says that its
    place is a directory that each pod has of its own: it may yet be made there.
    """

    problem: str = ""
    shown: tuple[Path, ...] = ()
    own: bool = False
    copy: Path | None = None


class _RefusedError(Exception):
    """Why a program can't be run, with the cure; `own` as in `FoundProgram`."""

    def __init__(self, problem: str, *, own: bool = False) -> None:
        super().__init__(problem)
        self.own = own


def look(name: str, who: User, search: str = os.defpath, directory: str = "", *, copied: bool = False) -> FoundProgram:
    """Return whether `who` can run the program `name`, which without a slash is looked for in the PATH `search`.

    A relative path starts in `directory` ("": the root). With `copied`, a copy is run where the file's own mode keeps
    `who` from it and not us.
    """
    if "\0" in name:
        return FoundProgram(f"{name!r} has a null byte in it: no program is called so")
    if "/" in name:
        path = Path("/", directory, name)
        found = _look(path, who)
        if found.problem and copied and not found.own and (ours := _look(path, _US)).problem == "":
            return FoundProgram(shown=ours.shown, copy=walk(path)[1])
        return found
    refused = ""
    for folder in search.split(":"):
        path = Path("/", directory, folder, name)
        if os.access(path, os.F_OK) and not path.is_dir():
            found = _look(path, who)
            if not found.problem:
                return found
            refused = refused or found.problem
    missing = f"there is no {name} in its PATH ({search}): install it, or give the program's absolute path"
    return FoundProgram(refused or missing)


def _look(path: Path, who: User) -> FoundProgram:
    shown: list[Path] = []
    try:
        _follow(path, who, shown)
    except _RefusedError as error:
        return FoundProgram(str(error), own=error.own)
    return FoundProgram(shown=tuple(shown))


def _follow(first: Path, who: User, shown: list[Path]) -> None:
    """Look at the program at `first`, and at what interprets it; add to `shown`.

    Raises `_RefusedError` where `who` can't run it.
    """
    path = first
    for _ in range(1 + _MOST_INTERPRETERS):
        try:
            interpreter = _examined(path, who, shown)
        except FileNotFoundError:
            problem, own = f"{path}: {_MISSING}", pods_own(path, who.exposed) is not None
        except OSError as error:
            problem, own = f"{path}: {error.strerror}: {_closed_to_us(path) or 'correct its path'}", False
        except _RefusedError as error:
            problem, own = str(error), error.own
        else:
            if not interpreter:
                return
            path = Path("/", interpreter)
            continue
        raise _RefusedError(f"{first} is run by {path}: {problem}" if path != first else problem, own=own)
    raise _RefusedError(f"{first}: too many scripts interpret each other: name a program as their interpreter")


def _examined(path: Path, who: User, shown: list[Path]) -> str:
    """Return what interprets the program at `path`, "" if nothing has to; add to `shown`.

    Raises `_RefusedError`, and `OSError` where it can't be looked at.
    """
    links, end = walk(path)
    own = next((directory for place in (*links, end) if (directory := pods_own(place, who.exposed))), None)
    if own is not None and os.access(path, os.F_OK):
        raise _RefusedError(
            f"{path} is not in the pod, because each pod has its own {own} and not the machine's: put it elsewhere, "
            "such as into /opt, /var/tmp or your home, or start the lab with --expose",
            own=True,
        )
    if problem := _refused(path, end, who):
        raise _RefusedError(problem)
    virtual = [link for link in links if os.access(link.parent.parent / "pyvenv.cfg", os.F_OK)]
    head = _head(end)
    interpreter = "" if head is None else _interpreter(head, end)
    if interpreter is None:
        raise _RefusedError(f"{path} is neither a program that this machine can run nor a script: begin it with #!")
    script = head is not None and head.startswith(b"#!")
    if (script or not is_packaged(end)) and not who.may(end, 4):  # what runs elsewhere than in /usr, overlayfs reads
        kind = "a script" if script else "a program outside of /usr"
        raise _RefusedError(f"{path}: uid {who.inside} may not read it, as {kind} must be: `chmod o+r {end}`")
    shown += (path, *(each for place in (*virtual, end) for each in around(place)))
    return interpreter


def _head(program: Path) -> bytes | None:
    """Return a program's first bytes; None of one that may be run and not read, which no script can be."""
    try:
        with program.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except PermissionError:
        return None


def _refused(path: Path, end: Path, who: User) -> str:
    """Return what a program's own mode has against `who`; raises `OSError` where it can't be looked at."""
    mode = end.stat().st_mode
    if stat.S_ISDIR(mode):
        return f"{path} is a directory: give the program in it"
    if not stat.S_ISREG(mode):
        return f"{path} is no ordinary file: give a program"
    if not mode & 0o111:
        return f"{path} is not executable: `chmod +x {end}`"
    if not who.may(end, 1):
        return f"{path}: uid {who.inside} may not run it (mode {stat.S_IMODE(mode):04o}): `chmod o+rx {end}`"
    if os.statvfs(end).f_flag & os.ST_NOEXEC:
        return f"{path} lies on a file system that is mounted noexec: put it elsewhere"
    return ""


def _closed_to_us(path: Path) -> str:
    """Return which directory on the way we may not enter, with the cure; "" if there is none."""
    closed = next((each for each in reversed(path.parents) if not os.access(each, os.X_OK)), None)
    if closed is None:
        return ""
    return f"{closed} may not be entered by you, who start the lab: `chmod o+x {closed}`, or put the program elsewhere"


def _interpreter(head: bytes, program: Path) -> str | None:
    """Return the path of what runs a program that begins with `head`, "" if it needs nothing, None if nothing can."""
    if head.startswith(b"#!"):
        words = head[2:].partition(b"\n")[0].split(None, 1)
        return os.fsdecode(words[0]) if words else None
    if head.startswith(_ELF) and head[_MACHINE] == _own_machine():
        return _elf_interpreter(head, program)
    if head[4:5] == _OF_32_BITS and head.startswith(_ELF):
        return ""  # the kernel knows whether it runs those
    try:
        others = {each.name for each in _BINFMTS.iterdir()} - {"register", "status"}
    except OSError:
        others = set()
    return "" if others else None


@cache
def _own_machine() -> bytes:
    with Path("/proc/self/exe").open("rb") as file:
        return file.read(_HEAD_BYTES)[_MACHINE]


def _elf_interpreter(head: bytes, program: Path) -> str:
    """Return the dynamic linker that a program of 64 bits names (elf(5)), "" if it names none."""
    if head[4:6] != b"\x02\x01":  # of 32 bits, or of the other byte order
        return ""
    start, size, count = (int.from_bytes(head[at : at + width], "little") for at, width in ((32, 8), (54, 2), (56, 2)))
    with program.open("rb") as file:
        for number in range(count):
            file.seek(start + number * size)
            entry = file.read(size)
            if int.from_bytes(entry[:4], "little") == _PT_INTERP:
                file.seek(int.from_bytes(entry[8:16], "little"))
                return os.fsdecode(file.read(int.from_bytes(entry[32:40], "little")).rstrip(b"\0"))
    return ""
