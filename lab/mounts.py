"""A pod's own view of the file system: empty /tmp and /run, its own names in /etc, the rest the sandbox's.

Of directories that only their owner may enter it sees what the lab shows it (`lab.view`). Below /run it finds,
read-only, what is published about the cluster and about itself. Made only for pods in which something sees files.
"""

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.blueprint import PodPlan
from lab.cluster import files
from lab.cluster.podinfo import PODINFO
from lab.cluster.publish import CLUSTER_DIRECTORY
from lab.cluster.state import STATE
from lab.errors import MachineError
from lab.sandbox import RUN
from lab.syscalls import CLONE_NEWNS, MS_BIND, MS_NODEV, MS_NOSUID, MS_REC, make_read_only, mount, setns, unshare
from lab.view import OWN, Cover, View

_TMP_SIZE = "64m"
_PROGRAMS = f"{RUN}/programs"
_COPY_SLACK_BYTES = 1 << 16
_COVER_SIZE = "1m"  # places of what is bound, and links

# File modes let uid 0 write to these without any capability, and what is written there holds for the whole machine.
_KERNEL_SWITCHES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")

_NSSWITCH = Path("/etc/nsswitch.conf")


class PodMounts:
    """The mount namespaces of a lab's pods, each made when first asked for."""

    def __init__(self, podinfo: Callable[[PodPlan], Path], view: View) -> None:
        """`podinfo` has a pod's file about itself written, and returns the directory that holds it."""
        self._podinfo = podinfo
        self._view = view
        self._own = _current()
        self._template: int | None = None
        self._pods: dict[tuple[str, str], int] = {}

    def descriptor(self, plan: PodPlan) -> int:
        """Return the descriptor of a pod's mount namespace; it stays ours. Raises `MachineError` where it can't be."""
        if self._template is None:
            _copy(self._view.copies)
            self._template = self._made_from(self._own, self._make_common)
        if plan.key not in self._pods:
            self._pods[plan.key] = self._made_from(self._template, lambda: self._make_own(plan))
        return self._pods[plan.key]

    def _made_from(self, origin: int, make: Callable[[], None]) -> int:
        """Return a copy of the mount namespace `origin` in which `make` was called."""
        if origin != self._own:
            setns(origin, CLONE_NEWNS)
        try:
            unshare(CLONE_NEWNS)
            make()
            return _current()
        finally:
            setns(self._own, CLONE_NEWNS)

    def _make_common(self) -> None:
        """Mount what all pods have in common, once."""
        with self._copies(own=False):
            reveal([each for each in self._view.covers if not each.own])
        for path in _KERNEL_SWITCHES:
            if Path(path).exists():
                mount(path, path, "", MS_BIND)
                make_read_only(path)

    @contextmanager
    def _copies(self, *, own: bool) -> Iterator[None]:
        """Put copies of programs in their place after the block: those in what each pod has of its `own`, or others."""
        mine = {
            path: copy
            for path, copy in _places(self._view.copies)
            if own == any(path.is_relative_to(each) for each in OWN)
        }
        sources = {path: _opened(copy) for path, copy in mine.items()}
        yield
        for path, source in sources.items():
            mount(f"/proc/self/fd/{source}", str(path), "", MS_BIND)
            os.close(source)

    def _make_own(self, plan: PodPlan) -> None:
        shown = {
            **{f"/etc/{name}": path for name, path in _etc(plan).items()},
            str(Path(STATE).parent): CLUSTER_DIRECTORY,
            str(Path(PODINFO).parent): self._podinfo(plan),
        }
        sources = {target: os.open(path, os.O_PATH | os.O_CLOEXEC) for target, path in shown.items()}
        with self._copies(own=True):
            reveal([each for each in self._view.covers if each.own])
        for where, source in sources.items():
            _show(source, Path(where))
            os.close(source)


def _places(programs: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each program with where its copy is."""
    return ((path, Path(_PROGRAMS, str(number))) for number, path in enumerate(programs))


def _copy(programs: Sequence[Path]) -> None:
    """Copy programs to where everybody may run them, in memory."""
    if not programs:
        return
    Path(_PROGRAMS).mkdir(exist_ok=True)  # from an attempt that failed
    size = sum(path.stat().st_size for path in programs) + _COPY_SLACK_BYTES * len(programs)
    mount("tmpfs", _PROGRAMS, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=755,size={size}")
    for path, copy in _places(programs):
        shutil.copyfile(path, copy)
        copy.chmod(0o755)
    make_read_only(_PROGRAMS)


def reveal(covers: Sequence[Cover]) -> None:
    """Mount `covers`, outer ones first, in the mount namespace that the caller is in, and what is shown in them.

    Everything shown is opened beforehand, by whoever calls: the user of a pod need not be able to get there. Raises
    `MachineError` for what can't be opened.
    """
    sources = {path: _opened(path) for each in covers for path in each.shown}
    for cover in covers:
        private = cover.path in OWN
        mode, size = ("1777", _TMP_SIZE) if private else ("755", _COVER_SIZE)
        mount("tmpfs", str(cover.path), "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode},size={size}")
        for link, target in cover.links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        for path in cover.shown:
            source = sources[path]
            _make_place(source, path)
            mount(f"/proc/self/fd/{source}", str(path), "", MS_BIND | MS_REC)
            os.close(source)
        if not private:
            make_read_only(str(cover.path))


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise MachineError(
            f"{path} can't be shown to pods: {error.strerror}: let the directories on the way be entered by you, not "
            "only by a group of yours, or put it elsewhere"
        ) from error


def _make_place(source: int, target: Path) -> None:
    """Make an empty directory or file for what the descriptor `source` stands for, unless there is one."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(source).st_mode):
        target.mkdir()
    else:
        target.touch()


def _etc(plan: PodPlan) -> dict[str, Path]:
    """Write the pod's own files of /etc; return them by name."""
    texts = {
        "hosts": files.hosts(plan.source, plan.address, plan.hostname),
        "resolv.conf": files.resolv_conf(plan.source),
    }
    if _NSSWITCH.exists():
        texts[_NSSWITCH.name] = files.nsswitch_conf(_NSSWITCH.read_text())
    directory = Path(RUN, "etc", *plan.key)
    directory.mkdir(parents=True, exist_ok=True)  # from an attempt that failed
    for name, text in texts.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
    return {name: directory / name for name in texts}


def _show(source: int, target: Path) -> None:
    """Bind what the descriptor `source` stands for to `target`, read-only; below /run the place is made first.

    A file of /etc that the host has not can't be shown: there is no place for it. One that is a link into /run, as
    systemd-resolved's, gets its place there.
    """
    target = target.resolve()
    if target.is_relative_to("/run"):
        _make_place(source, target)
    if target.exists():
        mount(f"/proc/self/fd/{source}", str(target), "", MS_BIND)
        make_read_only(str(target))


def _current() -> int:
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
