"""What an attempt to get out of a pod is, how one is carried out, and the system calls that Python has no function for.

It runs inside a pod with only the machine's Python, or outside of any to check that attempts work where nothing stops
them. It knows nothing about sidelab.

An attempt is a function of `Targets` whose docstring says what it tries. It returns what it got, which is a success;
None, or an `OSError`, is a refusal; `NotHereError` says why this machine has nothing to try it on. No attempt does
harm: what it can change, it sets to the current value.
"""

import ctypes
import errno
import os
import platform
import re
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

SECRET = re.compile(rb"canary-[0-9a-f]{32}")
"""What only the owner of a target knows: having read it proves an escape."""

_LIMIT_S = 5

# Numbers of system calls without a function in libc, x86_64 and the generic table (include/uapi/asm-generic/unistd.h).
_NUMBERS = {
    "add_key": (248, 217),
    "bpf": (321, 280),
    "finit_module": (313, 273),
    "get_robust_list": (274, 100),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "ioprio_get": (252, 31),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "mq_open": (240, 180),
    "mq_timedreceive": (243, 183),
    "perf_event_open": (298, 241),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "rt_tgsigqueueinfo": (297, 240),
    "userfaultfd": (323, 282),
    # Newer than the common table, so the same on all machines.
    "pidfd_send_signal": (424, 424),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
}
_COLUMN = 0 if platform.machine() == "x86_64" else 1

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


class NotHereError(Exception):
    """This machine has nothing to try an attempt on."""


@dataclass(frozen=True)
class Targets:
    """Where the things are that must stay out of reach: made by the observer outside, and sent along as JSON.

    Network targets have an address and a port. `inside` is the path of a secret in a victim pod's own /tmp, `pids` are
    the processes to attack if not all that are seen.
    """

    files: list[str] = field(default_factory=list)
    fifos: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    abstract: list[str] = field(default_factory=list)
    tcp: list[tuple[str, int]] = field(default_factory=list)
    udp: list[tuple[str, int]] = field(default_factory=list)
    vsock: tuple[int, int] | None = None
    peers: list[tuple[str, int]] = field(default_factory=list)
    ipc_key: int = 0
    queue: str = ""
    key: str = ""
    inside: str = ""
    pids: list[int] | None = None
    starter: int = 0


Attempt = Callable[[Targets], str | None]
ATTEMPTS: dict[str, Attempt] = {}


def attempt(function: Attempt) -> Attempt:
    """Register an attempt by its function's name."""
    ATTEMPTS[function.__name__] = function
    return function


def carried_out(function: Attempt, targets: Targets) -> tuple[str, str]:
    """Make an attempt in a child process, so that it cannot disturb others; return the verdict and its reason.

    Verdicts are `refused`, `succeeded`, `not here`, and `broken` for an attempt that is wrong itself.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LIMIT_S)
        try:
            os.close(read)
            verdict, reason = _tried(function, targets)
            os.write(write, f"{verdict}\0{reason[:300]}".encode(errors="replace"))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as reader:
        verdict, _, reason = reader.read().decode(errors="replace").partition("\0")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return (verdict, reason) if verdict else ("refused", f"ended by signal {-status}")


def _tried(function: Attempt, targets: Targets) -> tuple[str, str]:
    try:
        got = function(targets)
    except NotHereError as reason:
        return "not here", str(reason)
    except OSError as error:
        return "refused", errno.errorcode.get(error.errno or 0, str(error))
    except Exception:  # noqa: BLE001  # a mistake of the attempt's own must not pass for a refusal
        return "broken", " | ".join(traceback.format_exception(*sys.exc_info())[-3:])
    return ("succeeded", got) if got else ("refused", "nothing was got hold of")


def check(result: int) -> int:
    """Return the result of a system call; raise `OSError` if it is -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(name: str, *arguments: object) -> int:
    """Make a system call that libc has no function for."""
    words = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return check(libc.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *words))


def secret_in(data: bytes, where: str) -> str | None:
    """Return the secret in `data` and where it was, or None."""
    found = SECRET.search(data)
    return f"{found[0].decode()} of {where}" if found else None


def first(tries: Callable[[object], str | None], of: object) -> str | None:
    """Return the result of the first try that gets something; if none does, raise the last refusal, if any."""
    refusal = None
    for each in of:  # type: ignore[attr-defined]
        try:
            if got := tries(each):
                return got
        except OSError as error:
            refusal = error
    if refusal is not None:
        raise refusal
    return None


def exposed(targets: Targets, root: str = "") -> str | None:
    """Return a secret of the host's files, found below `root`."""

    def read(path: object) -> str | None:
        with open(f"{root}{path}", "rb", buffering=0) as file:
            return secret_in(file.read(1 << 16), f"{root}{path}")

    return first(read, targets.files)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Call mount(2)."""
    words = [each.encode() for each in (source, target, kind)]
    check(libc.mount(*words, ctypes.c_ulong(flags), options.encode()))


def unshare(flags: int) -> None:
    """Call unshare(2); for a user namespace, the caller becomes its root."""
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(flags))
    if flags & CLONE_NEWUSER:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)


def setns(fd: int, kind: int = 0) -> None:
    """Call setns(2)."""
    check(libc.setns(fd, kind))


def others(targets: Targets, *, pause: bool = False) -> list[int]:
    """Return the visible processes that are not ours.

    The pod's first process, which only waits for orphans, counts as ours, unless `pause` includes it because of what
    it may hold of the lab's.
    """
    if targets.pids is not None:
        return targets.pids
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    head, _, rest = file.read().rpartition(") ")
            except OSError:
                continue
            if rest[0] != "Z":
                parents[int(entry)] = (int(rest.split()[1]), head.partition(" (")[2])
    ours = {os.getpid(), os.getppid()}
    if not pause and parents.get(1, (0, ""))[1] == "pause":
        ours.add(1)
    grown = True
    while grown:
        found = {pid for pid, (parent, _) in parents.items() if parent in ours - {1}} - ours
        ours |= found
        grown = bool(found)
    return sorted(set(parents) - ours)


def pack_attribute(kind: int, value: bytes) -> bytes:
    """Return a netlink attribute (include/uapi/linux/netlink.h)."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)
