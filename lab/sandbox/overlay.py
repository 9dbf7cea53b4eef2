"""Directories of the machine as pods may see them: read-only, with dead sockets and FIFOs, with only others' rights.

A read-only mount stops neither connect(2) to a socket nor a write into a FIFO. Through overlayfs each has an inode of
its own, with nothing at the other end (net/unix/af_unix.c, unix_find_bsd; fs/overlayfs/inode.c, ovl_fill_inode); so
does one made later. And overlayfs checks access twice: for the caller, and for the thread that mounted it
(Documentation/filesystems/overlayfs.rst, "Permission model"). Here that thread is the user nobody: what others may not
read, no user of a pod can read, even as the machine's root.

It does not look up a file again that it already has, though that may have been replaced: see `DetachedMounts.refresh`.
"""

import errno
import os
import stat
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from sidelab.lab.base import mount_calls, syscalls
from sidelab.lab.base.exhausted import cannot_fork
from sidelab.lab.errors import MachineError
from sidelab.lab.plan.machine_view import Cover, View

_NOBODY = 65534
_ROOT_SIZE = "64k"


class DetachedMounts:
    """Mounts to be shown in a mount namespace: one for each path, not yet attached anywhere."""

    def __init__(self) -> None:
        self._mounts: dict[Path, int] = {}
        self._contexts: list[int] = []

    def open_early(self, view: View) -> None:
        """Make mounts of what is shown below /run while that is still the machine's: only of files and sockets."""
        run = next((each for each in view.covers if each.path == Path("/run")), Cover(Path("/run")))
        self._mounts |= {path: mount_calls.cloned(str(path)) for path in run.shown}

    def open(self, paths: Iterable[Path], empty: Path, optional: Collection[Path] = ()) -> None:
        """Make a mount of each path: an overlayfs of a directory, a plain mount of anything else.

        `empty` is an empty directory: overlayfs wants two. Raises `MachineError` for what can't be shown, and leaves
        out what is `optional`.
        """
        directories: dict[Path, int] = {}
        for path in paths:
            if path in self._mounts:
                continue
            try:
                if path.is_dir():
                    directories[path] = os.open(path, os.O_PATH | os.O_CLOEXEC)
                else:
                    self._mounts[path] = mount_calls.cloned(str(path))
            except OSError as error:
                if path not in optional:
                    raise _unopened(path, error) from error
        nothing = os.open(empty, os.O_PATH | os.O_CLOEXEC)
        for path, made in _overlays(directories, nothing).items():
            os.close(directories[path])
            if not isinstance(made, OSError):
                self._mounts[path] = made
                self._contexts.append(mount_calls.picked(made))
            elif path not in optional:
                raise _refused(path, made)
        os.close(nothing)

    def clone(self, paths: Mapping[Path, Path]) -> None:
        """Use what is mounted at the values of `paths` as what is shown at its keys."""
        for path, place in paths.items():
            self._mounts[path] = mount_calls.cloned(str(place))

    def attach(self, path: Path, target: Path | None = None) -> None:
        """Attach the mount of `path`, if there is one, at `target` (None: `path`); the place is made if need be."""
        mount = self._mounts.pop(path, None)
        if mount is not None:
            make_place(mount, target or path)
            mount_calls.attach(mount, str(target or path))

    def refresh(self) -> None:
        """Make pods see the present files and directories, if any were replaced, removed or added since."""
        for context in self._contexts:
            mount_calls.refresh(context)


def take_root(place: Path, taken: Collection[Path], made: Collection[Path], links: Mapping[Path, str]) -> None:
    """Give the caller's mount namespace a root directory with nothing in it but what is named here.

    Everything else in the machine's is then out of reach, and so is what is put there later. `taken` is mounted in it,
    with what is mounted below; `made` are empty directories. It is mounted at the directory `place` first.
    """
    mounts = {path: mount_calls.cloned(str(path)) for path in taken}
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", str(place), "tmpfs", flags, f"mode=755,size={_ROOT_SIZE}")
    for each in made:
        (place / each.name).mkdir()
    for link, target in links.items():
        (place / link.name).symlink_to(target)
    for path, mount in mounts.items():
        make_place(mount, place / path.name)
        mount_calls.attach(mount, str(place / path.name))
    # Only the root itself: what is in it is read-only already, or must be writable.
    syscalls.mount("", str(place), "", syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY | flags)
    syscalls.replace_root(str(place))


def make_place(source: int, target: Path) -> None:
    """Make an empty directory or file for what the descriptor `source` stands for, unless there is one."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(source).st_mode):
        target.mkdir()
    else:
        target.touch()


def _overlays(directories: Mapping[Path, int], empty: int) -> dict[Path, int | OSError]:
    """Return an overlayfs for each directory, all by descriptors; or why there can't be one.

    Credentials belong to a thread, so these are made in another one, with the rights of the user nobody.
    """
    made: dict[Path, int | OSError] = {}

    def make() -> None:
        # A thread may take a while to exit after join, and setns refuses a caller that shares directories with another.
        syscalls.unshare(syscalls.CLONE_FS)
        syscalls.set_file_ids(_NOBODY, _NOBODY)
        for path, directory in directories.items():
            try:
                made[path] = mount_calls.overlaid(directory, empty)
            except OSError as error:
                made[path] = error

    if directories:
        os.setgroups([])  # of the whole process: there is no call of a thread's own
        before = syscalls.is_dumpable()
        thread = threading.Thread(target=make)
        try:
            thread.start()
        except RuntimeError as error:  # which is all that Python says about it
            raise cannot_fork(str(error)) from error
        thread.join()
        syscalls.set_dumpable(before)
    return made


def _unopened(path: Path, error: OSError) -> MachineError:
    return MachineError(
        f"{path} can't be shown to pods: {error.strerror}: let the directories on the way be entered by you, not "
        "only by a group of yours, or put it elsewhere"
    )


def _refused(path: Path, error: OSError) -> MachineError:
    if error.errno == errno.ENODEV:
        return MachineError("this kernel has no overlayfs, through which pods are shown files: `sudo modprobe overlay`")
    return MachineError(
        f"{path} can't be shown to pods: {error.strerror}: overlayfs takes no such file system, or not on top of two "
        "others: put what is there on a local one, such as ext4 or xfs"
    )
