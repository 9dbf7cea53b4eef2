"""Attempts at the machine's kernel: its switches, clock, log, modules, power, memory, and programs inside it."""

import ctypes
import os
import platform
import socket
import struct
import time

from escapes.attempt import (
    CLONE_NEWCGROUP,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    NotHereError,
    Targets,
    attempt,
    check,
    first,
    libc,
    mount,
    others,
    syscall,
    unshare,
)

_SYSCTLS = ("vm/stat_interval", "kernel/core_pattern", "kernel/modprobe", "fs/file-max", "kernel/panic", "kernel/sysrq")
_SWITCHES = (
    "sysrq-trigger irq/default_smp_affinity mtrr acpi/wakeup scsi/scsi bus/pci/00/00.0 fs/nfsd/threads"
).split()
_SECRETS = "kcore kmsg kpagecount kpageflags slabinfo vmallocinfo sched_debug".split()
_SYSFS = (
    "power/state power/wake_lock kernel/mm/ksm/run kernel/mm/transparent_hugepage/enabled kernel/uevent_helper "
    "kernel/profiling module/printk/parameters/time block/vda/queue/scheduler class/net/lo/mtu kernel/uevent_seqnum "
    "devices/system/cpu/cpu1/online bus/pci/rescan kernel/cpu_byteorder fs/ext4/features kernel/mm/swap/vma_ra_enabled"
).split()
_KERNEL_FILES = "debugfs tracefs securityfs configfs pstore efivarfs selinuxfs smackfs".split()


def _set_same(path: object) -> str:
    """Write a switch's current value into it."""
    fd = os.open(str(path), os.O_WRONLY)
    try:
        with open(str(path), "rb", buffering=0) as file:
            os.write(fd, file.read(4096))
    except PermissionError:
        raise
    except OSError:
        pass  # it is open for writing: that is enough
    return f"{path} is written"


def _openable(path: object) -> str:
    os.close(os.open(str(path), os.O_WRONLY | os.O_NONBLOCK))
    return f"{path} is open for writing"


@attempt
def write_switches_of_the_kernel(_: Targets) -> str | None:
    """Write the machine's sysctls, among them the program that the kernel starts as root when one crashes."""
    return first(_set_same, [f"/proc/sys/{each}" for each in _SYSCTLS])


@attempt
def write_switches_through_processes(targets: Targets) -> str | None:
    """Write them through the root of another process, which may have another /proc."""
    roots = [f"/proc/{pid}/root" for pid in others(targets, pause=True)]
    return first(_set_same, [f"{root}/proc/sys/{each}" for root in roots for each in _SYSCTLS])


@attempt
def write_switches_of_a_new_proc(_: Targets) -> str | None:
    """Mount a /proc of its own, whose switches nothing covers."""
    return _below("proc", "", lambda: first(_set_same, [f"/tmp/sys/{each}" for each in _SYSCTLS]), CLONE_NEWPID)


@attempt
def write_switches_of_a_new_proc_as_new_root(_: Targets) -> str | None:
    """Do the same as root of a new user namespace."""
    unshare(CLONE_NEWUSER)
    return _below("proc", "", lambda: first(_set_same, [f"/tmp/sys/{each}" for each in _SYSCTLS]), CLONE_NEWPID)


def _below(kind: str, options: str, use: object, spaces: int = 0) -> str | None:
    """Mount a file system at /tmp, in a mount namespace of its own, and use it there; see also `spaces`."""
    unshare(CLONE_NEWNS | spaces)
    child = os.fork()  # a new pid namespace is that of children
    if child:
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            raise PermissionError(1, "refused")
        return f"{kind} is mounted, and usable"
    done = 1
    try:
        mount("none", "/tmp", kind, 0, options)
        done = 0 if use() else 1  # type: ignore[operator]
    finally:
        os._exit(done)


@attempt
def write_other_switches(_: Targets) -> str | None:
    """Open other files of /proc for writing that uid 0 may write: interrupts, buses, the magic key."""
    return first(_openable, [f"/proc/{each}" for each in _SWITCHES])


@attempt
def read_memory_of_the_kernel(_: Targets) -> str | None:
    """Read files of /proc that show the kernel's memory, log and tables."""

    def read(name: object) -> str | None:
        fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_NONBLOCK)
        return f"/proc/{name}" if os.read(fd, 8) else None

    return first(read, _SECRETS)


@attempt
def read_addresses_of_the_kernel(_: Targets) -> str | None:
    """Read where the kernel's functions are."""
    with open("/proc/kallsyms", encoding="ascii") as file:
        line = file.readline()
    return None if int(line.split()[0] or "0", 16) == 0 else line.strip()


@attempt
def write_sysfs(_: Targets) -> str | None:
    """Write switches of /sys: power, devices, memory."""
    return first(_openable, [f"/sys/{each}" for each in _SYSFS])


@attempt
def write_a_new_sysfs(_: Targets) -> str | None:
    """Mount a /sys of its own, with a network namespace of its own, and writes into it."""
    wanted = [f"/tmp/{each}" for each in _SYSFS if not each.startswith("class/net")]
    return _below("sysfs", "", lambda: first(_openable, wanted), CLONE_NEWNET)


@attempt
def write_a_new_sysfs_as_new_root(_: Targets) -> str | None:
    """Do the same as root of a new user namespace."""
    unshare(CLONE_NEWUSER)
    return write_a_new_sysfs(_)


@attempt
def mount_files_of_the_kernel(_: Targets) -> str | None:
    """Mount file systems of which the machine has one only: debugfs, tracefs, securityfs and the like."""

    def mounted(kind: object) -> str:
        unshare(CLONE_NEWNS)
        mount("none", "/tmp", str(kind))
        return f"{kind}"

    return first(mounted, _KERNEL_FILES)


@attempt
def register_programs_for_formats(targets: Targets) -> str | None:
    """Register an interpreter for a format of files: whether it then runs for others is seen at the victim."""
    if targets.pids is not None:
        raise NotHereError("outside of a lab that is everybody's business")

    def registered() -> None:
        name = f"escape-{os.getpid()}"
        with open("/tmp/register", "w", encoding="ascii") as file:
            file.write(f":{name}:M::ESCAPED::/bin/true:F")
        time.sleep(1)  # the victim tries again and again
        with open(f"/tmp/{name}", "w", encoding="ascii") as file:
            file.write("-1")

    _below("binfmt_misc", "", registered)
    return None


@attempt
def leave_its_control_group(_: Targets) -> str | None:
    """Move itself into another control group by the files that it sees."""
    found = []
    for directory, _directories, names in os.walk("/sys/fs/cgroup"):
        found += [os.path.join(directory, each) for each in names if each in {"cgroup.procs", "release_agent", "tasks"}]
        if len(found) > 60:
            break
    return first(_openable, found)


@attempt
def mount_control_groups(_: Targets) -> str | None:
    """Mount the control groups, the old kind and the new, and opens what moves processes or starts programs."""
    wanted = [f"/tmp/{each}" for each in ("release_agent", "cgroup.procs", "cgroup.subtree_control")]

    def mounted(how: object) -> str | None:
        kind, options = how  # type: ignore[misc]
        return _below(kind, options, lambda: first(_openable, wanted), CLONE_NEWCGROUP)

    return first(mounted, [("cgroup2", ""), ("cgroup", "memory"), ("cgroup", "pids"), ("cgroup", "none,name=escape")])


@attempt
def mount_control_groups_as_new_root(_: Targets) -> str | None:
    """Do the same as root of a new user namespace."""
    unshare(CLONE_NEWUSER)
    return mount_control_groups(_)


@attempt
def set_the_clock(_: Targets) -> str | None:
    """Set the machine's clock to the time that it is."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
    return "clock_settime"


@attempt
def adjust_the_clock(_: Targets) -> str | None:
    """Set the status bits of the machine's clock to what they are (adjtimex(2))."""
    buffer = ctypes.create_string_buffer(208)
    check(libc.adjtimex(buffer) and 0)
    struct.pack_into("I", buffer, 0, 0x0010)  # ADJ_STATUS
    if libc.adjtimex(buffer) == -1:
        check(-1)
    return "adjtimex"


@attempt
def wake_the_machine(_: Targets) -> str | None:
    """Set an alarm that would wake a sleeping machine."""
    check(libc.timerfd_create(8, 0))  # CLOCK_REALTIME_ALARM
    return "an alarm timer"


@attempt
def rename_the_machine(_: Targets) -> str | None:
    """Set the host name and the domain; whose they are is seen outside."""
    socket.sethostname(f"escaped-{os.getpid()}")
    check(libc.setdomainname(b"escaped", 7))
    return None


@attempt
def load_modules(_: Targets) -> str | None:
    """Load something as a kernel module: whoever may is told that it is not one."""
    return _allowed(lambda: syscall("init_module", b"nonsense", 8, b""))


@attempt
def load_modules_of_files(_: Targets) -> str | None:
    """Load a file as a kernel module."""
    fd = os.memfd_create("module")
    os.write(fd, b"nonsense")
    return _allowed(lambda: syscall("finit_module", fd, b"", 0))


@attempt
def unload_modules(_: Targets) -> str | None:
    """Unload a kernel module that there is not."""
    return _allowed(lambda: syscall("delete_module", b"sidelab_escape", os.O_NONBLOCK))


@attempt
def start_another_kernel(_: Targets) -> str | None:
    """Load another kernel, with arguments that can't be right."""
    return _allowed(lambda: syscall("kexec_load", 0, 99, 0, 0xFFFFFFFF))


@attempt
def change_the_power_key(_: Targets) -> str | None:
    """Say what Ctrl-Alt-Del does: what it does already (reboot(2) without rebooting)."""
    syscall("reboot", 0xFEE1DEAD, 672274793, 0x89ABCDEF if _number("kernel/ctrl-alt-del") else 0, 0)
    return "reboot"


@attempt
def swap_to_files(_: Targets) -> str | None:
    """Turn a file that there is not into swap space."""
    return _allowed(lambda: check(libc.swapon(b"/tmp/no-such-file", 0)))


@attempt
def stop_swapping(_: Targets) -> str | None:
    """Turn swapping to a file that there is not off."""
    return _allowed(lambda: check(libc.swapoff(b"/tmp/no-such-file")))


@attempt
def account_processes(_: Targets) -> str | None:
    """Have the kernel write every process that ends to a file that there is not."""
    return _allowed(lambda: check(libc.acct(b"/tmp/no-such-file")))


@attempt
def set_quotas(_: Targets) -> str | None:
    """Turn on quotas of every file system at once, which is never right but asked last."""
    return _allowed(
        lambda: syscall("quotactl", (0x800002 << 8) & 0x7FFFFFFF, b"/dev/no-such-disk", 0, 0), (1, 13, 2, 38)
    )


def _allowed(call: object, refusals: tuple[int, ...] = (1, 13, 38)) -> str | None:
    """Return what a call that can't be right answers, where that is not a refusal (EPERM, EACCES, ENOSYS)."""
    try:
        call()  # type: ignore[operator]
    except OSError as error:
        if error.errno in refusals:
            raise
        return f"was not refused, but answered: {error.strerror}"
    return "it was done"


@attempt
def read_the_log_of_the_kernel(_: Targets) -> str | None:
    """Read the kernel's log, where the machine does not let everybody."""
    if platform.system() and _number("kernel/dmesg_restrict") == 0:
        raise NotHereError("kernel.dmesg_restrict is 0: everybody on this machine may")
    buffer = ctypes.create_string_buffer(64)
    check(libc.klogctl(3, buffer, 64))
    return f"{buffer.raw[:20]!r}"


@attempt
def ask_the_log_of_the_kernel(_: Targets) -> str | None:
    """Ask how much of the kernel's log is unread, which who controls it may."""
    check(libc.klogctl(9, None, 0))
    return "klogctl"


def _number(name: str) -> int:
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as file:
            return int(file.read())
    except OSError:
        return -1


@attempt
def make_maps_for_programs_in_the_kernel(_: Targets) -> str | None:
    """Make a BPF map."""
    if _number("kernel/unprivileged_bpf_disabled") == 0:
        raise NotHereError("kernel.unprivileged_bpf_disabled is 0: everybody on this machine may")
    attributes = ctypes.create_string_buffer(struct.pack("IIIII", 2, 4, 8, 1, 0), 72)
    return f"map {syscall('bpf', 0, attributes, 72)}"


@attempt
def load_programs_into_the_kernel(_: Targets) -> str | None:
    """Load a BPF program that would see all packets, processes or control groups."""

    def loaded(kind: object) -> str:
        code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0), 16)
        text = ctypes.create_string_buffer(b"GPL")
        words = struct.pack("IIQQ", int(str(kind)), 2, ctypes.addressof(code), ctypes.addressof(text))
        attributes = ctypes.create_string_buffer(words, 72)
        return f"program {syscall('bpf', 5, attributes, 72)} of kind {kind}"

    return first(loaded, (2, 5, 6, 8, 17))  # KPROBE, TRACEPOINT, XDP, CGROUP_SKB, RAW_TRACEPOINT


@attempt
def list_programs_in_the_kernel(_: Targets) -> str | None:
    """Ask for the first BPF program that anybody has loaded."""
    return _allowed(lambda: syscall("bpf", 11, ctypes.create_string_buffer(72), 72))


@attempt
def observe_the_machine(_: Targets) -> str | None:
    """Count what a whole CPU does, whoever's it is (perf_event_open(2))."""
    return _observed([-1])


@attempt
def observe_processes(targets: Targets) -> str | None:
    """Count what another process does."""
    return _observed(others(targets, pause=True))


def _observed(pids: object) -> str | None:
    def observed(pid: object) -> str:
        attributes = ctypes.create_string_buffer(struct.pack("IIQ", 1, 128, 0), 128)  # PERF_TYPE_SOFTWARE, CPU_CLOCK
        return f"events of {pid}: {syscall('perf_event_open', attributes, pid, 0 if pid == -1 else -1, -1, 0)}"

    return first(observed, pids)


@attempt
def hold_up_the_kernel(_: Targets) -> str | None:
    """Have page faults of the kernel's own wait for it (userfaultfd(2)), the help of many exploits."""
    if _number("vm/unprivileged_userfaultfd") == 1:
        raise NotHereError("vm.unprivileged_userfaultfd is 1: everybody on this machine may")
    return f"userfaultfd {syscall('userfaultfd', 0)}"


@attempt
def drive_hardware(_: Targets) -> str | None:
    """Take the right to speak to hardware by its ports."""
    if platform.machine() != "x86_64":
        raise NotHereError("this machine has no ports")
    check(libc.ioperm(ctypes.c_ulong(0x80), ctypes.c_ulong(1), 1))
    return "ioperm"
