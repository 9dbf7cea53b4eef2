"""Attempts at processes: those of the host, of other pods, of other containers of the pod, and of the lab itself."""

import ctypes
import os
import signal
import struct

from escapes.attempt import (
    NotHereError,
    Targets,
    attempt,
    check,
    exposed,
    first,
    libc,
    others,
    secret_in,
    setns,
    syscall,
)

_PTRACE_SEIZE, _PTRACE_DETACH = 0x4206, 17
_SIGNAL = signal.SIGURG  # does nothing to a process that has not asked for it; the victims have
_NAMESPACES = ("mnt", "net", "pid", "ipc", "uts", "user", "cgroup", "time")


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(1 << 16)


@attempt
def see_processes(targets: Targets) -> str | None:
    """See a process that is not of its own container in /proc."""
    return first(lambda pid: f"process {pid}: {_read(f'/proc/{pid}/cmdline')[:60]!r}", others(targets))


@attempt
def read_variables_of_processes(targets: Targets) -> str | None:
    """Read the variables that another process was started with, and its own for what the starter's had."""
    numbers = ["self", *others(targets, pause=True)]
    return first(lambda pid: secret_in(_read(f"/proc/{pid}/environ"), f"environment of {pid}"), numbers)


@attempt
def read_arguments_of_processes(targets: Targets) -> str | None:
    """Read a secret among the arguments of another process."""
    return first(lambda pid: secret_in(_read(f"/proc/{pid}/cmdline"), f"arguments of {pid}"), others(targets))


@attempt
def reach_roots_of_processes(targets: Targets) -> str | None:
    """Reach other files through the root of another process."""

    def reached(pid: object) -> str | None:
        try:
            return secret_in(_read(f"/proc/{pid}/root{targets.inside}"), f"root of {pid}")
        except OSError:
            return exposed(targets, f"/proc/{pid}/root") or f"root of {pid}: {os.listdir(f'/proc/{pid}/root')[:3]}"

    return first(reached, others(targets, pause=True))


@attempt
def reach_directories_of_processes(targets: Targets) -> str | None:
    """Reach other files through the working directory of another process."""
    return first(lambda pid: f"directory of {pid}: {os.listdir(f'/proc/{pid}/cwd')[:3]}", others(targets, pause=True))


@attempt
def open_descriptors_of_processes(targets: Targets) -> str | None:
    """List and opens again what another process has open."""
    return first(lambda pid: f"of {pid}: {os.listdir(f'/proc/{pid}/fd')}", others(targets, pause=True))


@attempt
def map_files_of_processes(targets: Targets) -> str | None:
    """Open what another process has mapped."""
    return first(lambda pid: f"of {pid}: {os.listdir(f'/proc/{pid}/map_files')[:1]}", others(targets, pause=True))


@attempt
def read_layout_of_processes(targets: Targets) -> str | None:
    """Read where things are in the memory of another process."""
    return first(lambda pid: f"maps of {pid}" if _read(f"/proc/{pid}/maps") else None, others(targets, pause=True))


@attempt
def open_memory_of_processes(targets: Targets) -> str | None:
    """Open the memory of another process for writing."""

    def opened(pid: object) -> str:
        os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
        return f"memory of {pid}"

    return first(opened, others(targets, pause=True))


@attempt
def trace_processes(targets: Targets) -> str | None:
    """Attach to another process as a debugger."""

    def traced(pid: object) -> str:
        zero = ctypes.c_void_p(0)
        check(libc.ptrace(ctypes.c_long(_PTRACE_SEIZE), ctypes.c_long(int(str(pid))), zero, zero))
        return f"attached to {pid}"  # it is let go when this process ends

    return first(traced, others(targets, pause=True))


@attempt
def copy_memory_of_processes(targets: Targets) -> str | None:
    """Read the memory of another process by process_vm_readv(2): whether it may is asked with nothing to read."""

    def copied(pid: object) -> str:
        buffer = ctypes.create_string_buffer(8)
        pair = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
        count = ctypes.c_ulong(1)
        result = libc.process_vm_readv(int(str(pid)), pair, count, pair, count, ctypes.c_ulong(0))
        if result == -1 and ctypes.get_errno() != 14:  # EFAULT: allowed, but there is nothing at that address
            check(result)
        return f"memory of {pid}"

    return first(copied, others(targets, pause=True))


@attempt
def take_descriptors_of_processes(targets: Targets) -> str | None:
    """Take a descriptor out of another process by pidfd_getfd(2)."""

    def taken(pid: object) -> str:
        process = syscall("pidfd_open", pid, 0)
        return f"descriptor 0 of {pid} is here {syscall('pidfd_getfd', process, 0, 0)}"

    return first(taken, others(targets, pause=True))


@attempt
def signal_processes(targets: Targets) -> str | None:
    """Send a signal to every process that is seen."""

    def signalled(pid: object) -> str:
        os.kill(int(str(pid)), _SIGNAL)
        return f"signal to {pid}"

    return first(signalled, others(targets))


@attempt
def signal_everybody(targets: Targets) -> str | None:
    """Send a signal to all that it may, and to low numbers one by one; whether a victim got it is seen outside."""
    if targets.pids is not None:
        raise NotHereError("outside of a lab that is everybody's business")
    signal.signal(_SIGNAL, signal.SIG_IGN)
    for number in (-1, *range(2, 400)):
        try:
            os.kill(number, _SIGNAL)
        except OSError:
            continue
    return None


@attempt
def signal_processes_by_descriptor(targets: Targets) -> str | None:
    """Send a signal through a pidfd."""

    def signalled(pid: object) -> str:
        syscall("pidfd_send_signal", syscall("pidfd_open", pid, 0), int(_SIGNAL), 0, 0)
        return f"signal to {pid}"

    return first(signalled, others(targets))


@attempt
def queue_signals_to_processes(targets: Targets) -> str | None:
    """Queue a signal with a forged sender."""

    def queued(pid: object) -> str:
        info = ctypes.create_string_buffer(struct.pack("iii", int(_SIGNAL), 0, -1), 128)  # SI_QUEUE
        syscall("rt_tgsigqueueinfo", pid, pid, int(_SIGNAL), info)
        return f"signal to {pid}"

    return first(queued, others(targets))


@attempt
def compare_processes(targets: Targets) -> str | None:
    """Compare what two processes share (kcmp(2)), which orders the kernel's addresses."""

    def compared(pid: object) -> str:
        syscall("kcmp", pid, os.getpid(), 1, 0, 0)
        return f"compared with {pid}"

    return first(compared, others(targets, pause=True))


@attempt
def limit_processes(targets: Targets) -> str | None:
    """Read and sets another process's limits (prlimit(2))."""

    def limited(pid: object) -> str:
        limits = (ctypes.c_uint64 * 2)()
        check(libc.prlimit64(int(str(pid)), 7, None, limits))
        check(libc.prlimit64(int(str(pid)), 7, limits, None))
        return f"limits of {pid}"

    return first(limited, others(targets))


@attempt
def pin_processes(targets: Targets) -> str | None:
    """Set which CPUs another process may run on to what they are."""

    def pinned(pid: object) -> str:
        number = int(str(pid))
        os.sched_setaffinity(number, os.sched_getaffinity(number))
        return f"CPUs of {pid}"

    return first(pinned, others(targets))


@attempt
def renice_processes(targets: Targets) -> str | None:
    """Set another process's priority to what it is."""

    def set_same(pid: object) -> str:
        number = int(str(pid))
        os.setpriority(os.PRIO_PROCESS, number, os.getpriority(os.PRIO_PROCESS, number))
        return f"priority of {pid}"

    return first(set_same, others(targets))


@attempt
def schedule_processes(targets: Targets) -> str | None:
    """Set another process's scheduling policy to the ordinary one."""

    def scheduled(pid: object) -> str:
        os.sched_setscheduler(int(str(pid)), os.SCHED_OTHER, os.sched_param(0))
        return f"policy of {pid}"

    return first(scheduled, others(targets))


@attempt
def order_input_of_processes(targets: Targets) -> str | None:
    """Set another process's priority for disks to what it is."""

    def ordered(pid: object) -> str:
        syscall("ioprio_set", 1, pid, syscall("ioprio_get", 1, pid))
        return f"input priority of {pid}"

    return first(ordered, others(targets))


@attempt
def offer_processes_when_memory_ends(targets: Targets) -> str | None:
    """Write which process the kernel kills first when memory ends."""

    def offered(pid: object) -> str:
        with open(f"/proc/{pid}/oom_score_adj", "r+", encoding="ascii") as file:
            was = file.read()
            file.seek(0)
            file.write(was)
        return f"oom_score_adj of {pid}"

    return first(offered, others(targets))


@attempt
def write_files_of_processes(targets: Targets) -> str | None:
    """Write other files that /proc has of a process."""
    paths = [f"/proc/{pid}/{name}" for pid in others(targets) for name in ("coredump_filter", "timerslack_ns", "comm")]

    def written(path: object) -> str:
        os.close(os.open(str(path), os.O_WRONLY))
        return str(path)

    return first(written, paths)


@attempt
def move_memory_of_processes(targets: Targets) -> str | None:
    """Move another process's memory to another node of the machine."""

    def moved(pid: object) -> str:
        node = ctypes.c_ulong(1)
        syscall("migrate_pages", pid, 2, ctypes.byref(node), ctypes.byref(node))
        return f"memory of {pid}"

    return first(moved, others(targets))


@attempt
def advise_memory_of_processes(targets: Targets) -> str | None:
    """Have another process's memory swapped out (process_madvise(2)), of no range at all."""

    def advised(pid: object) -> str:
        pair = (ctypes.c_void_p * 2)(0, 0)
        syscall("process_madvise", syscall("pidfd_open", pid, 0), pair, 1, 20, 0)  # MADV_COLD
        return f"memory of {pid}"

    return first(advised, others(targets))


@attempt
def find_locks_of_processes(targets: Targets) -> str | None:
    """Ask where another process keeps its locks (get_robust_list(2))."""

    def found(pid: object) -> str:
        head, size = ctypes.c_void_p(), ctypes.c_size_t()
        syscall("get_robust_list", pid, ctypes.byref(head), ctypes.byref(size))
        return f"locks of {pid}"

    return first(found, others(targets, pause=True))


@attempt
def enter_namespaces_of_processes(targets: Targets) -> str | None:
    """Enter a namespace of another process by its file in /proc."""

    def entered(path: object) -> str | None:
        name = str(path).rpartition("/")[2]
        fd = os.open(str(path), os.O_RDONLY)
        if os.fstat(fd).st_ino == os.stat(f"/proc/self/ns/{name}").st_ino:
            return None
        setns(fd)
        return str(path)

    return first(entered, [f"/proc/{pid}/ns/{name}" for pid in others(targets, pause=True) for name in _NAMESPACES])


@attempt
def enter_namespaces_by_descriptor(targets: Targets) -> str | None:
    """Enter the namespaces of another process by its pidfd."""

    def entered(pid: object) -> str | None:
        if os.readlink(f"/proc/{pid}/ns/mnt") == os.readlink("/proc/self/ns/mnt"):
            return None
        setns(syscall("pidfd_open", pid, 0), 0x00020000)
        return f"mounts of {pid}"

    return first(entered, others(targets, pause=True))


@attempt
def run_before_everybody(_: Targets) -> str | None:
    """Take a real-time priority, before which no other program of the machine runs."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "real-time priority"


@attempt
def run_more_than_others(_: Targets) -> str | None:
    """Take a higher priority than the machine's other programs have."""
    os.setpriority(os.PRIO_PROCESS, 0, -1)
    return "priority -1"


@attempt
def survive_when_memory_ends(_: Targets) -> str | None:
    """Have the kernel kill others first when memory ends."""
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("-1000")
    return "oom_score_adj -1000"
