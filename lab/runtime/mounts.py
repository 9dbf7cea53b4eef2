"""A pod's own view of the file system: empty /tmp and /run, its own names in /etc, the rest the sandbox's.

Of directories that programs don't need it sees what the lab shows it (`lab.plan.machine_view`, `lab.sandbox.overlay`).
Below /run it finds, read-only, what is published about the cluster and about itself. Made only for pods in which some
program sees files.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sidelab.lab.base.syscalls import (
    CLONE_NEWNS,
    MS_BIND,
    MS_NODEV,
    MS_NOSUID,
    make_read_only,
    mount,
    own_namespace,
    setns,
    unshare,
)
from sidelab.lab.cluster import etc_files
from sidelab.lab.cluster.podinfo import PODINFO
from sidelab.lab.cluster.publish import CLUSTER_DIRECTORY
from sidelab.lab.cluster.state import STATE
from sidelab.lab.plan.blueprint import PodPlan
from sidelab.lab.plan.machine_view import OWN, Cover, View, named
from sidelab.lab.sandbox.overlay import DetachedMounts, make_place, take_root
from sidelab.lab.sandbox.sandbox import RUN

if TYPE_CHECKING:
    from sidelab.lab.keys import PodKey

_TMP_SIZE = "64m"
_PROGRAMS = f"{RUN}/programs"
_SHOWN = f"{RUN}/shown"
_EMPTY, _NEW_ROOT = Path(RUN, "empty"), Path(RUN, "root")
_COPY_SLACK_BYTES = 1 << 16
_REFRESH_EVERY_S = 0.05  # so that many programs that start together pay for it once
_REFRESH_FACTOR = 10  # at most a tenth of the supervisor's time goes into it: the kernel waits for all CPUs
_COVER_SIZE = "1m"  # places of what is bound, and links

_NSSWITCH = Path("/etc/nsswitch.conf")


class PodMounts:
    """The mount namespaces of a lab's pods, each made when first needed."""

    def __init__(self, podinfo: Callable[[PodPlan], Path], view: View, shown: DetachedMounts) -> None:
        """`podinfo` writes a pod's file about itself, and returns the directory that holds it.

        `shown` has what is shown of the machine's /run, which `make_mounts` puts out of reach.
        """
        self._podinfo = podinfo
        self._view = view
        self._own_covers = [each for each in view.covers if each.own]
        self._shown = shown
        self._latest: int | None = None  # a copy
        self._refresh_from_s = 0.0
        self._kept: dict[Path, Path] = {}  # what is shown in what each pod has of its own, and where it is until then
        self._own = own_namespace("mnt")
        self._template: int | None = None
        self._pods: dict[PodKey, int] = {}

    def descriptor(self, plan: PodPlan, words: Sequence[str] = ()) -> int:
        """Return the descriptor of a pod's mount namespace; it stays ours.

        Where a command line's `words` name files that the pod is not shown, it is that of a copy in which they are, and
        stays until the next one. Raises `MachineError` where it can't be.
        """
        if self._template is None:
            _copy(self._view.copies)
            self._template = self._made_from(self._own, self._make_common)
        if plan.key in self._pods:
            self._refresh()
        else:  # the lab is starting, and has looked up next to nothing yet
            self._pods[plan.key] = self._made_from(self._template, lambda: self._make_own(plan))
        covers = named(words, self._view.covers)
        return self._extended(self._pods[plan.key], covers) if covers else self._pods[plan.key]

    def _refresh(self) -> None:
        """Make replaced files visible to pods, unless the last refresh is too recent (each one is slow)."""
        begun_s = time.monotonic()
        if begun_s < self._refresh_from_s:
            return
        self._shown.refresh()
        now_s = time.monotonic()
        self._refresh_from_s = now_s + max(_REFRESH_EVERY_S, _REFRESH_FACTOR * (now_s - begun_s))

    def lacks(self, words: Sequence[str]) -> bool:
        """Tell whether pods are not shown all that a command line's `words` name."""
        return bool(named(words, self._view.covers))

    def _extended(self, origin: int, covers: Sequence[Cover]) -> int:
        """Return the descriptor of a copy of a pod's mount namespace, with `covers` for some that it has."""
        before = {path for each in self._view.covers for path in each.shown}
        more = {path for each in covers for path in each.shown} - before
        shown = DetachedMounts()
        shown.open(more, _EMPTY, optional=more)

        def make() -> None:
            shown.clone({path: path for each in covers for path in each.shown if path in before})
            reveal(shown, covers)

        if self._latest is not None:
            os.close(self._latest)
        self._latest = self._made_from(origin, make)
        return self._latest

    def _made_from(self, origin: int, make: Callable[[], None]) -> int:
        """Return a copy of the mount namespace `origin` in which `make` was called."""
        if origin != self._own:
            setns(origin, CLONE_NEWNS)
        try:
            unshare(CLONE_NEWNS)
            make()
            return own_namespace("mnt")
        finally:
            setns(self._own, CLONE_NEWNS)

    def _make_common(self) -> None:
        """Mount what all pods have in common, once."""
        _EMPTY.mkdir(exist_ok=True)
        covers = [each for each in self._view.covers if not each.own]
        kept = [path for each in self._own_covers for path in each.shown]
        self._kept = {path: Path(_SHOWN, str(number)) for number, path in enumerate(kept)}
        paths = [*self._view.shown, *(path for each in covers for path in each.shown), *kept]
        self._shown.open(paths, _EMPTY, self._view.optional)
        for each, place in self._kept.items():
            self._shown.attach(each, place)
            make_read_only(str(place))
        with self._copies(own=False):
            reveal(self._shown, [each for each in covers if not each.bare], self._view.shown)
        _NEW_ROOT.mkdir()
        take_root(_NEW_ROOT, self._view.taken, self._view.made, self._view.links)

    @contextmanager
    def _copies(self, *, own: bool) -> Iterator[None]:
        """Put copies of programs in their place after the block: those in what each pod has of its `own`, or others."""
        mine = {
            path: copy
            for path, copy in _places(self._view.copies)
            if own == any(path.is_relative_to(each) for each in OWN)
        }
        sources = {path: os.open(copy, os.O_PATH | os.O_CLOEXEC) for path, copy in mine.items()}
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
        own = DetachedMounts()
        own.clone(self._kept)
        with self._copies(own=True):
            reveal(own, self._own_covers)
        for where, source in sources.items():
            _show(source, Path(where))
            os.close(source)


def _places(programs: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each program with where its copy is."""
    return ((path, Path(_PROGRAMS, str(number))) for number, path in enumerate(programs))


def _copy(programs: Sequence[Path]) -> None:
    """Copy programs to a place in memory where everybody may run them."""
    if not programs:
        return
    Path(_PROGRAMS).mkdir(exist_ok=True)  # from an attempt that failed
    size = sum(path.stat().st_size for path in programs) + _COPY_SLACK_BYTES * len(programs)
    mount("tmpfs", _PROGRAMS, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=755,size={size}")
    for path, copy in _places(programs):
        shutil.copyfile(path, copy)
        copy.chmod(0o755)
    make_read_only(_PROGRAMS)


def reveal(mounts: DetachedMounts, covers: Sequence[Cover], shown: Sequence[Path] = ()) -> None:
    """Mount `shown`, then `covers`, outer ones first, in the caller's mount namespace, and what is shown in them.

    All of that is already open in `mounts`: behind a cover nothing could be opened.
    """
    for path in shown:
        mounts.attach(path)
    for cover in covers:
        private = cover.path in OWN
        mode, size = ("1777", _TMP_SIZE) if private else ("755", _COVER_SIZE)
        mount("tmpfs", str(cover.path), "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode},size={size}")
        for directory in cover.directories:
            directory.mkdir()
        for link, target in cover.links.items():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        for path in cover.shown:
            mounts.attach(path)
        if not private:
            make_read_only(str(cover.path))


def _etc(plan: PodPlan) -> dict[str, Path]:
    """Write the pod's own files of /etc; return them by name."""
    texts = {
        "hosts": etc_files.hosts(plan.source, plan.address, plan.hostname),
        "resolv.conf": etc_files.resolv_conf(plan.source),
    }
    if _NSSWITCH.exists():
        texts[_NSSWITCH.name] = etc_files.nsswitch_conf(_NSSWITCH.read_text())
    directory = Path(RUN, "etc", *plan.key)
    directory.mkdir(parents=True, exist_ok=True)  # from an attempt that failed
    for name, text in texts.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
    return {name: directory / name for name in texts}


def _show(source: int, target: Path) -> None:
    """Bind the file of the descriptor `source` to `target`, read-only; below /run the target is made first.

    A file of /etc that the host does not have can't be shown: there is nowhere to mount it. A link into /run, such as
    systemd-resolved's, is mounted there.
    """
    target = target.resolve()
    if target.is_relative_to("/run"):
        make_place(source, target)
    if target.exists():
        mount(f"/proc/self/fd/{source}", str(target), "", MS_BIND)
        make_read_only(str(target))
