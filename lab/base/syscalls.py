"""The Linux system calls that Python 3.11 has no function for, each raising `OSError` with its arguments.

Sources: unshare(2), setns(2), mount(2), mount_setattr(2), prctl(2), capset(2), capabilities(7), setfsuid(2),
inotify_init(2), inotify_add_watch(2), fallocate(2).
"""

import ctypes
import os
from collections.abc import Collection
from pathlib import Path

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18

CLONE_PARENT = 0x00008000

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2

# The same on every architecture: they are younger than the common table.
_SYS_CLONE3 = 435
_SYS_MOUNT_SETATTR = 442
_FALLOC_FL_KEEP_SIZE, _FALLOC_FL_PUNCH_HOLE = 1, 2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1
_IN_MOVED_TO = 0x80
_IN_ONLYDIR = 0x1000000
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

# include/uapi/linux/capability.h, in the order of their numbers.
CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE "
    "NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT "
    "SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
    "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split()

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result == -1:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{call}: {os.strerror(errno)}")


def call(number: int, name: str, *arguments: int | bytes | None) -> int:
    """Make the system call `number`, which libc may have no function for; `name` is how an error speaks of it."""
    words = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *words))
    _check(result, name)
    return result


def unshare(flags: int) -> None:
    """Move the caller into new namespaces, `CLONE_NEW…` ored together; `CLONE_FS` gives it directories of its own."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace that `fd` refers to; `kind` is its `CLONE_NEW…`."""
    _check(_libc.setns(fd, kind), f"setns({fd}, {kind:#x})")


def own_namespace(kind: str) -> int:
    """Open a namespace of the calling thread, such as `net` (/proc/self would be the thread group leader's)."""
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Attach a file system; the arguments are the system call's (see its manual page)."""
    result = _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())
    _check(result, f"mount({target}, {kind or hex(flags)})")


def make_read_only(path: str) -> None:
    """Make the mount at `path` and everything mounted below it read-only (Linux 5.12)."""
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(path),
        _AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    _check(result, f"mount_setattr({path}, read-only)")


def punch_hole(fd: int, begin: int, end: int) -> None:
    """Free what a file holds from offset `begin` to `end`; its size stays, and reading there gives zeros."""
    mode, length = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE, end - begin
    _check(_libc.fallocate(fd, mode, ctypes.c_int64(begin), ctypes.c_int64(length)), "fallocate(punch hole)")


def replace_root(path: str) -> None:
    """Make the mount at `path` the root of the caller's mount namespace, without the one that was (pivot_root(2))."""
    os.chdir(path)
    _check(_libc.pivot_root(b".", b"."), f"pivot_root({path})")  # the old root is now on top of the new one
    _check(_libc.umount2(b".", _MNT_DETACH), "umount2(old root)")
    os.chdir("/")


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *padded), f"prctl({option})")


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send `signal` when the parent ends; a change of credentials clears it.

    `lab.base.processes.parent_death` also notices a parent that has ended before.
    """
    _prctl(_PR_SET_PDEATHSIG, signal)


def set_dumpable(dumpable: bool) -> None:
    """Let others of the same user trace the calling process and look into it by /proc, or not, until the next execve.

    A change of credentials takes it away as well. What belongs to it below /proc is then the machine's root's.
    """
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def fork_sibling() -> int:
    """Fork a child of the calling process's parent: 0 is returned in it, and its pid in the caller (clone(2)).

    It is the first process of the pid namespace that the caller has made or entered. The caller has one thread.
    """
    arguments = (ctypes.c_uint64 * 8)(CLONE_PARENT)  # its end is signalled as the caller's is
    pid = int(_libc.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments))))
    _check(pid, "clone3(CLONE_PARENT)")
    return pid


def outlive_parent() -> None:
    """Take `set_parent_death_signal` back."""
    _prctl(_PR_SET_PDEATHSIG, 0)


def set_file_ids(uid: int, gid: int) -> None:
    """Have file modes judge the calling thread as `uid`:`gid`, and without the capabilities that overrule modes.

    capabilities(7), "Effect of user ID changes on capabilities". The whole process is no longer dumpable then.
    """
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)


def is_dumpable() -> bool:
    """Tell whether others of the same user may trace the calling process; see `set_dumpable`."""
    return int(_libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)) == 1


def name_process(name: str) -> None:
    """Set what /proc/PID/comm says of the calling process: up to 15 bytes."""
    _check(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0), "prctl(PR_SET_NAME)")


def set_command_line(text: str) -> None:
    """Overwrite what /proc/PID/cmdline says of the calling process, as far as there is room (proc_pid_stat(5))."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, the 48th and the 49th of all
    with open("/proc/self/mem", "r+b", buffering=0) as memory:  # noqa: PTH123  # a Path's would be the same
        memory.seek(start)
        memory.write(text.encode()[: end - start - 1].ljust(end - start, b"\0"))


def inotify_init() -> int:
    """Return a descriptor for watches, which does not block and is closed by execve."""
    fd = int(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    _check(fd, "inotify_init1")
    return fd


def inotify_watch_moves_to(fd: int, directory: str) -> None:
    """Have the watches of `fd` tell what is renamed into `directory`."""
    result = _libc.inotify_add_watch(fd, os.fsencode(directory), ctypes.c_uint32(_IN_MOVED_TO | _IN_ONLYDIR))
    _check(result, f"inotify_add_watch({directory})")


def drop_to(uid: int, gid: int, capabilities: Collection[str]) -> None:
    """Become `uid`:`gid` with no more than `capabilities` (names without CAP_), now and after any execve.

    no_new_privs sees to the latter: under it neither root nor a set-uid program gains what was not permitted before
    (security/commoncap.c, cap_bprm_creds_from_file). Cutting the bounding set as well is `cut_bounding_set`.
    """
    numbers = [CAPABILITIES.index(name) for name in capabilities]
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    if uid and numbers:
        _prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(uid, uid, uid)
    _capset(sum(1 << number for number in numbers))
    if uid:
        for number in numbers:
            _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def cut_bounding_set(capabilities: Collection[str]) -> None:
    """Leave only `capabilities` (names without CAP_) in the bounding set, as a container runtime does."""
    for number, name in enumerate(CAPABILITIES):
        if name not in capabilities and _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) == -1:
            return  # EINVAL: the kernel is older than this capability, and knows none after it


def _capset(mask: int) -> None:
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # effective, permitted, inheritable: the low words first, then the high ones.
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    _check(_libc.capset(header, data), f"capset({mask:#x})")
