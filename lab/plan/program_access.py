"""Find out beforehand whether a container's user can run a program of this machine, and what a pod must see for it.

A container's user is neither the user that starts the lab nor anyone else on the machine: whatever its uid in the pod,
it is one of the "others" of the last three bits of a file's mode. Directories on the way are no obstacle, because the
lab shows what lies behind them (`lab.plan.machine_view`); the program's own mode and a script's interpreter can be.
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
    """A container's user: its uid in the pod, and the machine's paths `exposed` to it; if `ours`, the lab's starter.

    Its capabilities don't matter: they have no effect on the machine's files.
    """

    inside: int
    exposed: tuple[Path, ...] = ()
    ours: bool = False

    def may(self, path: Path, bit: int) -> bool:
        """Return whether a file's mode lets this user read (4) or run (1) it; true if an access list might.

        Raises `OSError` if the file can't be looked at.
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
    """What is known of a program: `problem` says why the user can't run it, with the cure; "" if it can.

    `shown` is what a pod must see for it, `copy` the file that must be copied, if any. `own` means that it would lie in
    a directory that each pod has of its own: it may still be created there.
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
    """Return whether `who` can run the program `name`, which is looked up in the PATH `search` if it has no slash.

    A relative path starts in `directory` ("": the root). With `copied`, a copy is run if the file's own mode lets us
    run it but not `who`.
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
    """Check the program at `first` and its interpreters; add to `shown`.

    Raises `_RefusedError` if `who` can't run it.
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
    """Return the interpreter of the program at `path`, "" if it needs none; add to `shown`.

    Raises `_RefusedError`, and `OSError` if it can't be looked at.
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
    if (script or not is_packaged(end)) and not who.may(end, 4):  # overlayfs reads what is not in /usr
        kind = "a script" if script else "a program outside of /usr"
        raise _RefusedError(f"{path}: uid {who.inside} may not read it, as {kind} must be: `chmod o+r {end}`")
    shown += (path, *(each for place in (*virtual, end) for each in around(place)))
    return interpreter


def _head(program: Path) -> bytes | None:
    """Return a program's first bytes; None if it may be run but not read, so it can't be a script."""
    try:
        with program.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except PermissionError:
        return None


def _refused(path: Path, end: Path, who: User) -> str:
    """Return why a program's own mode keeps `who` from running it; raises `OSError` if it can't be looked at."""
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
    """Return the directory on the way that we may not enter, with the cure; "" if there is none."""
    closed = next((each for each in reversed(path.parents) if not os.access(each, os.X_OK)), None)
    if closed is None:
        return ""
    return f"{closed} may not be entered by you, who start the lab: `chmod o+x {closed}`, or put the program elsewhere"


def _interpreter(head: bytes, program: Path) -> str | None:
    """Return the interpreter of a program that begins with `head`, "" if it needs none, None if nothing can run it."""
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
    """Return the dynamic linker that a 64-bit program names (elf(5)), "" if it names none."""
    if head[4:6] != b"\x02\x01":  # 32-bit, or the other byte order
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
