"""Attempts at mounts and namespaces: mounts cover what a pod must not see, and a namespace can be entered."""

import ctypes
import fcntl
import os
import struct

from escapes.attempt import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    NotHereError,
    Targets,
    attempt,
    check,
    exposed,
    first,
    libc,
    mount,
    secret_in,
    setns,
    syscall,
    unshare,
)

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_OPEN_TREE_CLONE, _AT_RECURSIVE, _AT_FDCWD = 1, 0x8000, -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_FD_NSFS_ROOT = -10003
_NS_GET_USERNS, _NS_GET_PARENT = 0xB701, 0xB702
_NS_MNT_GET_NEXT, _NS_MNT_GET_PREV = 0x8010B70B, 0x8010B70C


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        points = [line.split()[4] for line in file]
    return [each for each in points if each != "/"]


def _writable(targets: Targets) -> str | None:
    """Return a file of the host that can now be opened for writing; none is written."""

    def opened(path: object) -> str:
        os.close(os.open(str(path), os.O_WRONLY))
        return f"{path} is open for writing"

    return first(opened, ("/etc/passwd", "/usr/bin/env", *targets.files))


def _remount(targets: Targets) -> str | None:
    refused = None
    for point in ("/", *_mount_points()):
        try:
            mount("", point, "", _MS_REMOUNT | _MS_BIND)
        except OSError as error:
            refused = error
    return _writable(targets) if refused is None else _or(lambda: _writable(targets), refused)


def _or(call: object, refused: OSError) -> str | None:
    try:
        return call()  # type: ignore[operator, no-any-return]
    except OSError:
        raise refused from None


def _set_attributes(targets: Targets) -> str | None:
    attributes = (ctypes.c_uint64 * 4)(0, _MS_RDONLY, 0, 0)
    syscall("mount_setattr", _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, 32)
    return _writable(targets)


def _uncover(targets: Targets) -> str | None:
    refused: OSError = PermissionError(1, "nothing is mounted")
    for point in sorted(_mount_points(), key=len, reverse=True):
        if not point.startswith("/proc"):
            try:
                check(libc.umount2(point.encode(), _MNT_DETACH))
            except OSError as error:
                refused = error
    return _or(lambda: exposed(targets), refused)


def _bind(targets: Targets) -> str | None:
    def bound(path: object) -> str | None:
        mount(str(path), "/tmp", "", _MS_BIND)  # not what is mounted below: it would show what is covered
        below = [f"/tmp{each.removeprefix(str(path).rstrip('/'))}" for each in targets.files]
        return exposed(Targets(files=below))

    return first(bound, ("/", "/usr", "/etc", "/var", "/opt", "/srv", "/root", "/home"))


def _clone(targets: Targets) -> str | None:
    tree = syscall("open_tree", _AT_FDCWD, b"/", _OPEN_TREE_CLONE)
    return exposed(targets, f"/proc/self/fd/{tree}")


def _move(targets: Targets) -> str | None:
    os.makedirs("/tmp/away", exist_ok=True)
    refused: OSError = PermissionError(1, "nothing is mounted")
    for point in _mount_points():
        if not point.startswith(("/proc", "/tmp")):
            try:
                syscall("move_mount", _AT_FDCWD, point.encode(), _AT_FDCWD, b"/tmp/away", 0)
            except OSError as error:
                refused = error
    return _or(lambda: exposed(targets), refused)


def _pivot(targets: Targets) -> str | None:
    mount("none", "/tmp", "tmpfs")
    os.mkdir("/tmp/old")
    syscall("pivot_root", b"/tmp", b"/tmp/old")
    os.chdir("/")
    check(libc.umount2(b"/old", _MNT_DETACH))
    return exposed(targets) or exposed(targets, "/proc/1/root")


def _overlay(targets: Targets) -> str | None:
    """Mount an overlay of what is covered: the lower directory is the file system's own."""
    os.makedirs("/tmp/up", exist_ok=True)
    os.makedirs("/tmp/work", exist_ok=True)
    os.makedirs("/tmp/over", exist_ok=True)
    mount("overlay", "/tmp/over", "overlay", 0, "lowerdir=/,upperdir=/tmp/up,workdir=/tmp/work")
    return exposed(targets, "/tmp/over")


def _disk(_: Targets) -> str | None:
    with open("/proc/partitions", encoding="ascii") as file:
        disks = [line.split() for line in file.readlines()[2:]]
    if not disks:
        raise NotHereError("the machine has no disk")

    def mounted(disk: object) -> str:
        major, minor, _, name = disk  # type: ignore[misc]
        path = f"/tmp/{name}-{os.getpid()}"
        os.mknod(path, 0o60600, os.makedev(int(major), int(minor)))
        for kind in ("ext4", "xfs", "btrfs", "vfat"):
            try:
                mount(path, "/tmp", kind, _MS_RDONLY)
            except PermissionError:
                raise
            except OSError:
                continue
            return f"{name} is mounted"
        raise PermissionError(1, "no file system")

    return first(mounted, disks)


def _tricks() -> dict[str, tuple[object, str]]:
    return {
        "remount_writable": (_remount, "Take read-only off the mounts of the host's files, one by one."),
        "set_mounts_writable": (_set_attributes, "Take read-only off all mounts at once (mount_setattr(2))."),
        "unmount_covers": (_uncover, "Unmount what covers directories of the host."),
        "bind_below_covers": (_bind, "Bind the host's directories elsewhere without what covers them."),
        "clone_below_covers": (_clone, "Open the host's root without what covers directories (open_tree(2))."),
        "move_covers": (_move, "Move away what covers directories of the host."),
        "change_root": (_pivot, "Change the root and unmounts the old one (pivot_root(2))."),
        "overlay_what_is_covered": (_overlay, "Lay an overlay over the host's root, below what is covered."),
        "mount_disks": (_disk, "Mount the host's disk."),
    }


def _with_new_mounts(trick: object, spaces: int) -> object:
    def tried(targets: Targets) -> str | None:
        unshare(spaces)
        mount("none", "/", "", _MS_REC | _MS_PRIVATE)
        return trick(targets)  # type: ignore[operator, no-any-return]

    return tried


for _name, (_trick, _what) in _tricks().items():
    for _how, _spaces, _as in (
        ("", CLONE_NEWNS, ""),
        ("_as_new_root", CLONE_NEWUSER | CLONE_NEWNS, " As root of a new user namespace, where every capability is."),
    ):
        _made = _with_new_mounts(_trick, _spaces)
        _made.__name__, _made.__doc__ = f"{_name}{_how}", f"{_what}{_as}"  # type: ignore[attr-defined]
        attempt(_made)  # type: ignore[arg-type]


@attempt
def unmount_covers_where_they_are(targets: Targets) -> str | None:
    """Unmount what covers directories of the host in the pod's own mount namespace."""
    return _uncover(targets) if targets.pids is None else _with_new_mounts(_uncover, CLONE_NEWNS)(targets)  # type: ignore[operator, no-any-return]


@attempt
def see_processes_in_a_new_proc(targets: Targets) -> str | None:
    """Mount a /proc and looks for processes that its own does not show."""
    seen = {each for each in os.listdir("/proc") if each.isdigit()}
    unshare(CLONE_NEWNS)
    mount("none", "/tmp", "proc")
    new = {each for each in os.listdir("/tmp") if each.isdigit()} - seen
    started = {each for each in new if os.path.exists(f"/tmp/{each}") and b"escapes" not in _cmdline(each)}
    return f"processes {sorted(started)}" if started and targets.pids is None else None


def _cmdline(pid: str) -> bytes:
    try:
        with open(f"/tmp/{pid}/cmdline", "rb") as file:
            return file.read() or b"escapes"  # it has ended
    except OSError:
        return b"escapes"


@attempt
def enter_the_user_namespace_above(_: Targets) -> str | None:
    """Ask for the user namespace above its own, and enters it."""
    return _entered(_NS_GET_PARENT, "user")


@attempt
def enter_the_pid_namespace_above(_: Targets) -> str | None:
    """Ask for the pid namespace above its own, and enters it."""
    return _entered(_NS_GET_PARENT, "pid")


@attempt
def enter_the_owner_of_namespaces(_: Targets) -> str | None:
    """Ask who owns each of its namespaces, and enters that user namespace."""
    return first(
        lambda name: _entered(_NS_GET_USERNS, str(name)), ("net", "mnt", "uts", "ipc", "pid", "cgroup", "time")
    )


def _entered(question: int, name: str) -> str | None:
    fd = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
    found = fcntl.ioctl(fd, question)
    if os.fstat(found).st_ino == os.stat("/proc/self/ns/user").st_ino:
        return None
    setns(found)
    return f"that of {name}"


@attempt
def walk_mount_namespaces(targets: Targets) -> str | None:
    """Ask for the mount namespace next to its own, and the next to that (ioctl_nsfs(2)), and reads files there."""

    def walked(step: object) -> str | None:
        at = os.open("/proc/self/ns/mnt", os.O_RDONLY)
        own = os.fstat(at).st_ino
        for _ in range(500):
            at = _next(at, int(str(step)))
            if os.fstat(at).st_ino != own and (got := _read_in(at, targets)):
                return got
        return None

    return first(walked, (_NS_MNT_GET_NEXT, _NS_MNT_GET_PREV))


def _next(fd: int, step: int) -> int:
    info = ctypes.create_string_buffer(struct.pack("IIQ", 16, 0, 0), 16)
    return check(libc.ioctl(fd, ctypes.c_ulong(step), info))


def _read_in(fd: int, targets: Targets) -> str | None:
    """Return a secret found in the mount namespace `fd`, by a child, as no process can come back from it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            setns(fd, CLONE_NEWNS)
            try:
                with open(targets.inside, "rb") as file:
                    got = secret_in(file.read(100), "another mount namespace")
            except OSError:
                got = exposed(targets)
            os.write(write, (got or "").encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as reader:
        got = reader.read()
    os.waitpid(child, 0)
    return got or None


@attempt
def open_namespaces_by_handle(_: Targets) -> str | None:
    """Open network namespaces near its own by their handles, which are numbers in a row, and enters them."""

    class Handle(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 64))

    handle, mount_id = Handle(64, 0), ctypes.c_int()
    words = (_AT_FDCWD, b"/proc/self/ns/net", ctypes.byref(handle), ctypes.byref(mount_id), 0x400)
    check(libc.name_to_handle_at(*words))
    if handle.size != 16:
        raise NotHereError("namespaces have no handles")
    number, kind, own = struct.unpack("=QII", bytes(handle.data[:16]))
    for near in range(max(0, number - 200), number + 200):
        for inode in (0, *range(own - 40, own + 40)) if abs(near - number) < 5 else (0,):
            ctypes.memmove(handle.data, struct.pack("=QII", near, kind, inode & 0xFFFFFFFF), 16)
            fd = libc.open_by_handle_at(_FD_NSFS_ROOT, ctypes.byref(handle), os.O_RDONLY)
            if fd >= 0 and os.fstat(fd).st_ino != own:
                setns(fd, CLONE_NEWNET)
                return f"network namespace {near}"
    return None


@attempt
def list_mounts_of_others(_: Targets) -> str | None:
    """List the mounts of mount namespaces near its own by their numbers (listmount(2))."""
    at = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    own = ctypes.c_uint64()
    check(libc.ioctl(at, ctypes.c_ulong(0x8008B705), ctypes.byref(own)))  # NS_GET_MNTNS_ID
    ids = (ctypes.c_uint64 * 8)()

    def listed(number: object) -> str | None:
        request = ctypes.create_string_buffer(struct.pack("IIQQQ", 32, 0, 0xFFFFFFFFFFFFFFFF, 0, int(str(number))), 32)
        return f"mounts of namespace {number}" if syscall("listmount", request, ids, 8, 0) else None

    return first(listed, [own.value + step for step in range(-min(300, own.value), 300) if step])


@attempt
def fake_a_new_world(targets: Targets) -> str | None:
    """Make every namespace anew at once, as a container runtime does, and reads the host's files from in there."""
    unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)
    return exposed(targets)
