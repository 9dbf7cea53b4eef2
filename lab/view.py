"""What a pod is shown of the machine: which directories are covered by empty ones, and what is bound below those.

A pod's users are not the person who started the lab, and a home that only its owner may enter would keep them from
programs in it. So what they need there is opened by the lab and bound at its own path; the closed directory on the way
is covered by an empty, open one, in which nothing else is. This only looks at modes and links; `lab.mounts` mounts.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

OWN = (Path("/tmp"), Path("/run"), Path("/dev/shm"))
"""What each pod has of its own, empty and writable: of the machine's it sees what this program needs, and no more."""

Closed = Callable[[Path], bool]
"""Whether a directory is closed to somebody."""

_MOST_LINKS = 40  # as the kernel (path_resolution(7))
_BESIDE_BIN = ("lib", "lib64", "libexec", "pyvenv.cfg")


@dataclass(frozen=True)
class View:
    """What a lab's pods are shown: covers, outer ones first, and programs whose copies stand in their place.

    A copy is made of a program that only its owner may run or read, and that a sidecar runs all the same.
    """

    covers: tuple["Cover", ...] = ()
    copies: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Cover:
    """A directory that is covered by an empty one, what is bound in that, and the symbolic links made in it."""

    path: Path
    shown: tuple[Path, ...] = ()
    links: Mapping[Path, str] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether this lies in a directory that each pod has of its own."""
        return any(self.path.is_relative_to(each) for each in OWN)


def walk(path: Path) -> tuple[dict[Path, str], Path]:
    """Return the symbolic links on the way to `path`, each with its target, and where the way ends.

    The end need not exist. Raises `OSError` (ELOOP) for too many links.
    """
    links: dict[Path, str] = {}
    followed = 0
    at, ahead = Path("/"), [part for part in path.parts if part != "/"]
    while ahead:
        part = ahead.pop(0)
        if part == "..":
            at = at.parent
            continue
        target = _target(at / part)
        if target is None:
            at /= part
            continue
        followed += 1
        if followed > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        links[at / part] = target
        ahead[:0] = [each for each in Path(target).parts if each != "/"]
        at = Path("/") if target.startswith("/") else at
    return links, at


def _target(path: Path) -> str | None:
    try:
        return str(path.readlink())
    except OSError:
        return None


def is_closed(path: Path) -> bool:
    """Tell whether `path` is a directory that not everybody may enter; what can't be seen is not."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and not mode & 0o001


def program_itself() -> tuple[Path, ...]:
    """Return what this program consists of: its files, and the Python that runs it with its environment."""
    return Path(__file__).parents[1], Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable)


def pods_own(path: Path) -> Path | None:
    """Return the directory of `OWN` that `path` lies in; None where it lies in none, or belongs to this program."""
    own = next((each for each in OWN if path.is_relative_to(each)), None)
    if own is None or any(path.is_relative_to(walk(each)[1]) for each in program_itself()):
        return None
    return own


def why_absent(path: Path, covers: Iterable[Cover]) -> str:
    """Return why pods are not shown what the machine has at `path`, with the cure; "" where that is not the reason."""
    if not path.is_absolute() or not os.access(path, os.F_OK):
        return ""
    _, end = walk(path)
    own = pods_own(end)
    if own is not None:
        return f"each pod has its own {own} and not the machine's; put it elsewhere, such as into /opt or /var/tmp"
    cover = next((each for each in covers if end.is_relative_to(each.path) and each.path not in OWN), None)
    if cover is None or any(end.is_relative_to(each) for one in covers for each in one.shown):
        return ""
    return (
        f"pods are shown nothing of {cover.path} but what their manifest runs, because not everybody may enter it: "
        f"put it elsewhere, such as into /opt or /var/tmp, or `chmod o+x {cover.path}` and start the lab again"
    )


def around(program: Path) -> list[Path]:
    """Return a program and what lies beside it, which it may need: its directory, and beside a `bin` its libraries.

    Of a home it is the program alone: the rest there is private.
    """
    directory = program.parent
    if is_home(directory) or directory == directory.parent:
        return [program]
    if directory.name not in ("bin", "sbin"):
        return [directory]
    return [directory, *(each for name in _BESIDE_BIN if os.access(each := directory.parent / name, os.F_OK))]


def is_home(directory: Path) -> bool:
    """Tell whether `directory` is where a person keeps everything."""
    return directory in (Path("/root"), Path(os.environ.get("HOME", "/root"))) or directory.parent == Path("/home")


def plan(wanted: Iterable[tuple[Path, Closed]], own: Iterable[Path] = OWN) -> tuple[Cover, ...]:
    """Return the covers with which each path of `wanted` is got at by those to whom some directories are closed.

    A path that they get at anyway is bound only where a cover for another hides it. A directory that is closed itself
    is shown entry by entry. What does not exist is passed over, and what lies below /run, which is not the machine's in
    a sandbox. Outer covers come first; those of `own` are there in any case.
    """
    links: dict[Path, str] = {}
    ends = _ends(wanted, links)
    covers = {each for each in own if each.is_dir()}
    kept: set[Path] = set()  # entries of a covered directory that is itself in something shown
    shown: set[Path] = set()
    known = -1
    while known < len(covers):  # a cover may hide what was to be seen without it
        known = len(covers)
        shown = set(kept)
        for path, closed in ends:
            base = _deepest(path, covers | shown)
            if path in covers:
                shown.update(_files(path) if path not in own else ())
                continue
            if base not in covers:
                between = [each for each in path.parents if base is None or each.is_relative_to(base)]
                outermost = next((each for each in reversed(between) if closed(each)), None)
                if outermost is None:
                    continue
                covers.add(outermost)
                kept.update(_files(outermost) if base is not None else ())
            shown.add(path)
    return _sorted_in(covers, shown, links)


def _ends(wanted: Iterable[tuple[Path, Closed]], links: dict[Path, str]) -> list[tuple[Path, Closed]]:
    """Return where the paths lead, short ones first, the entries of a closed directory in its place; add to `links`."""
    found: dict[tuple[Path, Closed], None] = {}
    for path, closed in wanted:
        try:
            met, end = walk(path)
        except OSError:  # a circle of links is as it is for everybody
            continue
        links |= met
        if not closed(end):
            found[end, closed] = None
            continue
        for entry in _entries(end):
            target = _target(entry)
            if target is None:
                found[entry, closed] = None
            else:
                links[entry] = target
    there = [each for each in found if os.access(each[0], os.F_OK) and not each[0].is_relative_to("/run")]
    return sorted(there, key=lambda each: len(each[0].parts))


def _files(directory: Path) -> list[Path]:
    """Return the entries of a directory that are not links."""
    return [each for each in _entries(directory) if _target(each) is None]


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # another user's
        return []


def _deepest(path: Path, among: Iterable[Path]) -> Path | None:
    return max((each for each in among if path.is_relative_to(each)), key=lambda each: len(each.parts), default=None)


def _sorted_in(covers: set[Path], shown: set[Path], links: Mapping[Path, str]) -> tuple[Cover, ...]:
    # In another cover directories are made anew, open ones.
    covers = {each for each in covers if each in shown or _deepest(each.parent, covers | shown) not in covers}
    contents: dict[Path, list[Path]] = {each: [] for each in covers}
    made: dict[Path, dict[Path, str]] = {each: {} for each in covers}
    for path in shown:
        contents[max((each for each in path.parents if each in covers), key=lambda each: len(each.parts))].append(path)
    for link, target in links.items():
        base = _deepest(link, covers | shown)
        if base in covers:
            made[base][link] = target
    return tuple(
        Cover(path, tuple(sorted(contents[path], key=lambda each: len(each.parts))), made[path])
        for path in sorted(covers, key=lambda each: len(each.parts))
    )
