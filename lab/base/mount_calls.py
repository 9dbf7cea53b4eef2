"""The mount system calls that work on descriptors, each raising `OSError` with its arguments: Linux 5.2.

Sources: Linux's include/uapi/linux/mount.h, fs/fsopen.c and fs/namespace.c; fsopen(2) and the others in man-pages 6.16.
"""

import os

from sidelab.lab.base.syscalls import call

# The same on every architecture: they are younger than the common table.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT, _SYS_FSPICK = range(428, 434)

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_CLOEXEC = 1  # of fsopen, fsmount and fspick
_FSPICK_EMPTY_PATH = 8
_SET_FLAG, _SET_STRING, _CREATE, _RECONFIGURE = 0, 1, 6, 7
_RDONLY_NOSUID_NODEV = 1 | 2 | 4


def cloned(path: str) -> int:
    """Return a descriptor of a copy of what is mounted at `path` and below, not attached anywhere (open_tree(2))."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    return call(_SYS_OPEN_TREE, f"open_tree({path})", _AT_FDCWD, os.fsencode(path), flags)


def attach(mount: int, path: str) -> None:
    """Attach the mount of a descriptor of `cloned` or `overlaid` at `path` (move_mount(2)), and close it."""
    try:
        call(_SYS_MOVE_MOUNT, f"move_mount({path})", mount, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(mount)


def overlaid(upper: int, lower: int) -> int:
    """Return a descriptor of an overlayfs of two directories, given by descriptors: read-only and not attached."""
    context = call(_SYS_FSOPEN, "fsopen(overlay)", b"overlay", _CLOEXEC)
    try:
        directories = f"/proc/self/fd/{upper}:/proc/self/fd/{lower}".encode()
        call(_SYS_FSCONFIG, "fsconfig(lowerdir)", context, _SET_STRING, b"lowerdir", directories, 0)
        call(_SYS_FSCONFIG, "fsconfig(create overlay)", context, _CREATE, None, None, 0)
        return call(_SYS_FSMOUNT, "fsmount(overlay)", context, _CLOEXEC, _RDONLY_NOSUID_NODEV)
    finally:
        os.close(context)


def picked(mount: int) -> int:
    """Return a descriptor for `refresh` of the file system that is mounted by the descriptor `mount` (fspick(2))."""
    return call(_SYS_FSPICK, "fspick", mount, b"", _FSPICK_EMPTY_PATH | _CLOEXEC)


def refresh(context: int) -> None:
    """Make a read-only file system forget which names it has looked up, and which it has not found.

    Reconfigured, it drops what is cached of its directories, whatever changes (fs/super.c, reconfigure_super).
    """
    call(_SYS_FSCONFIG, "fsconfig(ro)", context, _SET_FLAG, b"ro", None, 0)  # else it would be made writable
    call(_SYS_FSCONFIG, "fsconfig(reconfigure)", context, _RECONFIGURE, None, None, 0)
