"""What a pod sees of the machine: which directories are covered by empty ones, and what is shown in those.

Of the root directory a pod sees what programs need, and of the rest what the lab's own programs need: what this program
consists of, what the manifest runs, and what the lab's starter exposes. Pods' users are others to every file of the
machine: neither the person who started the lab, nor the machine's root. So a closed directory on the way to what they
need is covered, too. This only looks at modes and links; `lab.runtime.mounts` mounts.
"""

import errno
import os
import stat
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

OWN = (Path("/tmp"), Path("/run"), Path("/dev/shm"))
"""Each pod's own directories, empty and writable: of the machine's it sees only what this program needs."""

IN_PLACE = tuple(map(Path, ("/etc", "/opt", "/usr/local", "/nix", "/gnu")))
"""What programs need, and not only package managers write to: shown, with dead sockets and FIFOs."""

LABS = tuple(map(Path, ("/dev", "/proc", "/sys")))
"""What the lab itself mounts."""

_PACKAGE = Path(__file__).parents[2]
# When installed, its dependencies lie beside the package; in a checkout they do not.
_HOME = _PACKAGE if (_PACKAGE / "sidelab.py").exists() else _PACKAGE.parent

_NEEDED = (Path("/var/lib/ca-certificates"),)  # openSUSE's /etc/ssl leads there
_STANDARD = tuple(
    Path("/", each) for each in ("boot", "home", "lost+found", "media", "mnt", "root", "snap", "srv", "var")
)
"""Users' files and the machine's state: `exec` shows nothing of these."""

_PACKAGED = ("bin", "sbin", "usr", "lib", "lib32", "lib64", "libx32")  # if /usr is separate, so are these
_ROOT, _TMP, _VAR = map(Path, ("/", "/tmp", "/var"))
_VARS_DIRECTORIES = tuple(_VAR / each for each in ("cache", "lib", "log", "spool", "tmp"))
_VARS_LINKS = {_VAR / "run": "/run", _VAR / "lock": "/run/lock"}
_SHARED = (_VAR / "tmp",)  # shared by everybody: for a program there nothing beside it is shown

_MOST_LINKS = 40  # as the kernel (path_resolution(7))
_MOST_NAMED = 64
_BESIDE_BIN = ("lib", "lib64", "libexec", "pyvenv.cfg")


@dataclass(frozen=True)
class Cover:
    """A directory covered by an empty one; what is shown in the latter, and the links and directories made in it."""

    path: Path
    shown: tuple[Path, ...] = ()
    links: Mapping[Path, str] = field(default_factory=dict)
    directories: tuple[Path, ...] = ()

    @property
    def own(self) -> bool:
        """Whether this lies in a directory that each pod has of its own."""
        return any(self.path.is_relative_to(each) for each in OWN)

    @property
    def bare(self) -> bool:
        """Whether this is an empty directory in the root directory, where it needs no mount."""
        return self.path.parent == _ROOT and not (self.own or self.shown or self.links or self.directories)


@dataclass(frozen=True)
class View:
    """What a lab's pods see: covers, outer ones first, and `shown`, which lies in none of them.

    Of the root directory they have what is `taken`, empty directories that are `made`, and `links`. What is shown and
    `optional` is left out where it can't be. A copy is made of a program that only its owner may run or read, and that
    a sidecar runs all the same.
    """

    covers: tuple[Cover, ...] = ()
    shown: tuple[Path, ...] = ()
    optional: frozenset[Path] = frozenset()
    copies: tuple[Path, ...] = ()
    taken: tuple[Path, ...] = ()
    made: tuple[Path, ...] = ()
    links: Mapping[Path, str] = field(default_factory=dict)


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
    """Return whether `path` is a directory that only its owner may enter; false if it can't be looked at."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) and not mode & 0o001


def program_itself() -> tuple[Path, ...]:
    """Return what this program consists of: its files, and the Python that runs it with its environment."""
    return _HOME, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable)


def pods_own(path: Path, exposed: Collection[Path] = ()) -> Path | None:
    """Return the directory of `OWN` that `path` lies in; None if it lies in none, or is shown all the same.

    That is so of this program and of what is `exposed`.
    """
    own = next((each for each in OWN if path.is_relative_to(each)), None)
    if own is None or any(path.is_relative_to(walk(each)[1]) for each in (*program_itself(), *exposed)):
        return None
    return own


def why_absent(path: Path, covers: Iterable[Cover]) -> str:
    """Return why pods can't see what the machine has at `path`, with the cure; "" if they can or it does not exist."""
    if not path.is_absolute() or not os.access(path, os.F_OK):
        return ""
    _, end = walk(path)
    covers = tuple(covers)
    if any(end.is_relative_to(each) for one in covers for each in one.shown):
        return ""
    cure = f"start the lab again with `--expose {path}`"
    own = pods_own(end)
    if own is not None:
        return f"each pod has its own {own} and not the machine's; put it elsewhere, such as into /opt, or {cure}"
    if not any(end.is_relative_to(each.path) for each in covers if each.path not in OWN):
        return ""
    return f"pods are shown nothing of {end.parent} but what their manifest runs: {cure}, or put it into /opt"


def named(words: Iterable[str], covers: Collection[Cover]) -> tuple[Cover, ...]:
    """Return replacements for some of `covers`, which also show what a command line names and `covers` do not show.

    Those are files to which anybody on the machine gets, and what lies beside them, in directories at the top that are
    of somebody's own making, where checkouts and data are. Of more than 64 words the rest is left out.
    """
    paths = [word for word in words if word.startswith("/") and "\0" not in word][:_MOST_NAMED]
    if not paths:
        return ()
    places = {each.path: each for each in covers if not each.own and each.path not in _STANDARD}
    found: dict[Path, Cover] = {}
    for word in paths:
        path = Path(word)
        place = _deepest(path, places)
        if place is None or not os.access(path, os.F_OK):
            continue
        links, end = walk(path)
        is_shown = any(end.is_relative_to(each) for one in covers for each in one.shown)
        if is_shown or pods_own(end) or not _is_everybodys(end) or not end.is_relative_to(place):
            continue
        cover = found.get(place, places[place])
        shown = dict.fromkeys((*cover.shown, *around(end)))
        found[place] = replace(cover, shown=tuple(shown), links={**cover.links, **links})
    return tuple(found.values())


def _is_everybodys(file: Path) -> bool:
    """Return whether this is a file that everybody may read and can reach."""
    facts = file.stat()
    return stat.S_ISREG(facts.st_mode) and bool(facts.st_mode & 0o004) and not any(map(is_closed, file.parents))


def around(program: Path) -> list[Path]:
    """Return a program and what lies beside it, which it may need: its directory, and beside a `bin` its libraries.

    In a directory that holds all sorts of things, it is only the program.
    """
    directory = program.parent
    if holds_everything(directory):
        return [program]
    if directory.name not in ("bin", "sbin"):
        return [directory]
    return [directory, *(each for name in _BESIDE_BIN if os.access(each := directory.parent / name, os.F_OK))]


def holds_everything(directory: Path) -> bool:
    """Return whether `directory` is a user's home, the root directory or directly in it, or shared by everybody."""
    home = Path(os.environ.get("HOME", "/root"))
    return directory == home or Path("/home") in (directory, directory.parent) or is_top(directory)


def is_top(directory: Path) -> bool:
    """Return whether `directory` is the root directory, directly in it, or shared by everybody."""
    return directory.parent == Path("/") or directory in _SHARED


def is_packaged(path: Path) -> bool:
    """Return whether `path` is where package managers install, which pods see directly, not through overlayfs."""
    return path.parts[1:2] != () and path.parts[1] in _PACKAGED and not path.is_relative_to(Path("/usr/local"))


class Tops(NamedTuple):
    """What is in the root directory: directories that programs need, the others, and links with their targets."""

    needed: tuple[Path, ...]
    others: tuple[Path, ...]
    links: Mapping[Path, str]


def tops(root: Path = _ROOT) -> Tops:
    """Return what is in the `root` directory."""
    entries = sorted(_entries(root), key=lambda each: each.name)
    links = {root / each.name: str(Path(each.path).readlink()) for each in entries if each.is_symlink()}
    directories = [each.name for each in entries if each.is_dir() and not each.is_symlink()]
    needed = {*_PACKAGED, *(each.name for each in (*IN_PLACE, *LABS, *OWN) if each.parent == _ROOT)}
    return Tops(
        tuple(root / each for each in directories if each in needed),
        tuple(root / each for each in directories if each not in needed),
        links,
    )


def mount_points(mountinfo: str) -> tuple[Path, ...]:
    r"""Return the mount points of a text like /proc/self/mountinfo (proc(5)), in which a space is \040.

    Mount points of what the lab itself mounts are left out.
    """
    words = dict.fromkeys(line.split(" ", 5)[4] for line in mountinfo.splitlines())
    return tuple(Path(_unescaped(word)) for word in words if not word.startswith(("/proc/", "/sys/", "/dev/")))


def _unescaped(word: str) -> str:
    return word.encode().decode("unicode_escape").encode("latin-1").decode() if "\\" in word else word


def machine(wanted: Iterable[Path], exposed: Collection[Path] = (), copies: Iterable[Path] = ()) -> View:
    """Return what pods see of this machine if they need `wanted` and the lab's starter exposes `exposed`."""
    bare = {walk(each)[1] for each in exposed}
    root = tops()
    view = plan(
        (*_NEEDED, *wanted),
        covered=[each for each in root.others if each not in bare],
        placed=(*IN_PLACE, *exposed),
        mounted=mount_points(Path("/proc/self/mountinfo").read_text()),
    )
    mounted = (each.path for each in view.covers if not (each.bare or each.own))
    taken = dict.fromkeys((*(each for each in root.needed if each != _TMP), *mounted, *view.shown))
    return replace(
        view,
        copies=tuple(sorted(copies)),
        taken=tuple(each for each in taken if each.parent == _ROOT),
        made=(_TMP, *(each.path for each in view.covers if each.bare)),
        links=root.links,
    )


def plan(
    wanted: Iterable[Path],
    own: Collection[Path] = OWN,
    covered: Collection[Path] = (),
    placed: Iterable[Path] = (),
    mounted: Collection[Path] = (),
) -> View:
    """Return the covers with which each path of `wanted` is got at, though some directories are closed.

    Those of `own` and `covered` are there in any case. A path that is got at anyway is shown only where a cover hides
    it; those of `placed` are in any case. A directory that is closed itself is shown entry by entry, and so is one with
    any of the mount points `mounted` below it: overlayfs shows no mounts, and in a user namespace refuses to hide some.
    What does not exist is passed over, and what is below /run and not `placed`: in a sandbox it is not the machine's.
    """
    links: dict[Path, str] = {}
    ends = _ends(wanted, placed, links)
    empty = {each for each in (*own, *covered) if each.is_dir()}
    above = {parent for each in mounted for parent in each.parents}
    covers = set(empty)
    split: set[Path] = set()
    shown: set[Path] = set()
    known = -1
    while known < len(covers):  # a cover may hide what was visible without it
        known = len(covers)
        shown = {entry for each in split for entry in _kept(each, links)}
        for path, is_placed in ends.items():
            if path in covers:
                shown.update(() if path in empty else _kept(path, links))
                continue
            base = _deepest(path, covers | shown)
            if base not in covers:
                between = [each for each in path.parents if base is None or each.is_relative_to(base)]
                outermost = next((each for each in reversed(between) if is_closed(each)), None)
                if outermost is not None:
                    covers.add(outermost)
                elif not is_placed:
                    continue
            shown.add(path)
        split |= shown & above - covers
        covers |= split
    view = _sorted_in(covers, shown - split, links)
    return replace(view, optional=frozenset(shown & {*mounted}) - ends.keys())


def _ends(wanted: Iterable[Path], placed: Iterable[Path], links: dict[Path, str]) -> dict[Path, bool]:
    """Return where the paths lead, short ones first, and whether each is placed; add to `links`.

    A closed directory is replaced by its entries.
    """
    found: dict[Path, bool] = {}
    for path, is_placed in (*((each, True) for each in placed), *((each, False) for each in wanted)):
        try:
            met, end = walk(path)
        except OSError:  # a loop of links fails for everybody
            continue
        if not is_placed and end.is_relative_to("/run"):
            continue
        links |= met
        for each in _kept(end, links) if is_closed(end) else [end]:
            found[each] = found.get(each, False) or is_placed
    there = {each: is_placed for each, is_placed in found.items() if os.access(each, os.F_OK)}
    return dict(sorted(there.items(), key=lambda each: len(each[0].parts)))


def _kept(directory: Path, links: dict[Path, str]) -> list[Path]:
    """Return what is shown of a directory that is shown entry by entry; add its links to `links`.

    Sockets, FIFOs and devices are not, nor files that others may neither read nor run.
    """
    kept = []
    for entry in _entries(directory):
        path = Path(entry.path)
        if entry.is_symlink():
            links[path] = str(path.readlink())
        elif entry.is_dir() or (entry.is_file() and entry.stat().st_mode & 0o005):
            kept.append(path)
    return kept


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError:  # another user's
        return []


def _deepest(path: Path, among: Collection[Path]) -> Path | None:
    return next((each for each in (path, *path.parents) if each in among), None)


def _sorted_in(covers: set[Path], shown: set[Path], links: Mapping[Path, str]) -> View:
    # Within another cover, directories are created anew and open, so they need no cover.
    covers = {each for each in covers if each in shown or _deepest(each.parent, covers | shown) not in covers}
    contents: dict[Path | None, list[Path]] = {None: [], **{each: [] for each in covers}}
    made: dict[Path, dict[Path, str]] = {each: {} for each in covers}
    for path in sorted(shown - covers, key=lambda each: (len(each.parts), each)):
        contents[_deepest(path, covers)].append(path)
    for link, target in links.items():
        base = _deepest(link, covers | shown)
        if base in covers:
            made[base][link] = target
    if _VAR in covers:
        made[_VAR] = {**_VARS_LINKS, **made[_VAR]}
    return View(
        tuple(
            Cover(path, tuple(contents[path]), made[path], _VARS_DIRECTORIES if path == _VAR else ())
            for path in sorted(covers, key=lambda each: (len(each.parts), each))
        ),
        tuple(contents[None]),
    )
