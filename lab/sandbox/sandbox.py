"""A sandbox: private namespaces under one process that is pid 1 of its own pid namespace.

Kill that process and the kernel removes everything inside: processes, network namespaces, links, rules, mounts.
Nothing is cleaned up by name, because nothing is left to clean.

    command line ─ keeper ─ supervisor (pid 1)

The keeper exists because a pid namespace holds the children of the process that made it, never that process itself.
Each of the three dies with the one before it until `release`; after that the supervisor runs alone and the keeper is
gone.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from sidelab.lab import errors
from sidelab.lab.base import identity, privileges, syscalls
from sidelab.lab.base.exhausted import as_refusal, fork, forking
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.framing import receive_with_descriptors
from sidelab.lab.base.processes import stop
from sidelab.lab.base.processes.parent_death import die_with_linked_parent
from sidelab.lab.errors import MachineError, PodError

_NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET
)

RUN = "/run/sidelab"  # on the sandbox's own tmpfs
RUN_SIZE = "256m"  # for the files that pods read about themselves and the cluster; logs have file systems of their own
REPORT_BYTES = 1 << 17  # of one message on the channel; the kernel takes 200 kB at once (net.core.wmem_default)

# Who may not trace a process does not see that it is there: this /proc lies below those of containers.
_HIDING = "hidepid=2"

_MESSAGE_BYTES = 1 << 18
_HEARING_S = 0.5
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


@dataclass
class Sandbox:
    """The owner's end: a channel to the supervisor, and the keeper's pid until `release` or `kill`.

    `supervisor` is a descriptor of the supervisor's process (pidfd_open(2)), once it is born.
    """

    channel: socket.socket
    keeper: int
    supervisor: int | None = None

    def release(self) -> None:
        """Wait for the keeper to end, once the supervisor has called `detach`."""
        os.waitpid(self.keeper, 0)
        self._close()

    def kill(self) -> None:
        """End everything at once; return when the supervisor, and with it every process inside, is gone."""
        stop.kill(self.keeper)
        if self.supervisor is not None:
            _await(self.supervisor)  # it dies with the keeper, but after it
        self._close()

    def raise_last_words(self) -> None:
        """Raise what the supervisor has reported since the last `hear`; return if that is not a failure."""
        with contextlib.suppress(OSError):
            while data := self.channel.recv(_MESSAGE_BYTES, socket.MSG_DONTWAIT):
                errors.raise_reported(json.loads(data))

    def tell(self, word: bytes) -> None:
        """Send one word to the keeper or the supervisor; if it has ended, the next `hear` notices."""
        with contextlib.suppress(OSError):
            self.channel.send(word)

    def _close(self) -> None:
        self.channel.close()
        if self.supervisor is not None:
            os.close(self.supervisor)
            self.supervisor = None

    def hear(self) -> tuple[bytes, list[int]]:
        """Return the next message of the keeper or the supervisor, and the descriptors that came with it.

        Raises what they report as a failure, and `PodError` when they ended without a word.
        """
        _await(self.channel.fileno())
        try:
            data, descriptors, _ = receive_with_descriptors(self.channel, _MESSAGE_BYTES, 1)
        except ConnectionResetError:
            data, descriptors = b"", []
        if not data:
            raise PodError(
                "the lab's supervisor was killed while the lab was starting, and nothing of it is left: "
                "where memory ran out, the kernel's log says so (`journalctl -k`, `dmesg`)"
            )
        if data.startswith(b"{"):
            errors.raise_reported(json.loads(data))
        return data, descriptors


def _await(descriptor: int) -> None:
    """Wait without limit until something can be read; a signal's handler runs within `_HEARING_S`.

    Python runs handlers between two of its instructions. A signal that arrives after the last of these and before the
    system call begins is not seen until the call returns, which may be never.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(_HEARING_S * 1000):
        pass


@dataclass
class Inside:
    """The supervisor's end: its channel to the owner, and how to outlive it."""

    channel: socket.socket
    rootless: bool
    keeper: socket.socket

    def detach(self) -> None:
        """Outlive the owner from now on, and end the keeper."""
        syscalls.outlive_parent()
        self.keeper.send(b"detach")
        self.keeper.close()


def start(main: Callable[[Inside], None], keep: tuple[int, ...] = ()) -> Sandbox:
    """Run `main` as pid 1 of a new sandbox, with no descriptors but its channel, `keep` and the standard three.

    The sandbox has no mounts of its own yet: see `make_mounts`. Raises `MachineError` if this machine can't make one.
    """
    who = identity.decide(identity.read())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        keeper = fork()
    except MachineError:
        ours.close()
        theirs.close()
        raise
    if keeper == 0:
        _run(lambda: _keep(main, theirs, who, keep), theirs)
    theirs.close()
    sandbox = Sandbox(ours, keeper)
    try:
        if isinstance(who, identity.Subordinate):
            _map_ids(sandbox, who)
        _, [sandbox.supervisor] = sandbox.hear()
    except BaseException:
        sandbox.kill()
        raise
    return sandbox


def _map_ids(sandbox: Sandbox, who: identity.Subordinate) -> None:
    """Write the keeper's id maps with the set-uid helpers (newuidmap(1)), once it is in its user namespace."""
    sandbox.hear()
    for tool, own, extra in (("newuidmap", who.uid, who.uids), ("newgidmap", who.gid, who.gids)):
        numbers = (sandbox.keeper, 0, own, 1, 1, extra.start, identity.IDS_NEEDED)
        with forking():
            done = subprocess.run(
                [tool, *map(str, numbers)], capture_output=True, encoding="utf-8", errors="replace", check=False
            )
        if done.returncode:
            raise MachineError(
                f"{tool} refused the map: {done.stderr.strip()}: is {tool} set-uid root, and the range in "
                f"/etc/{'subuid' if tool == 'newuidmap' else 'subgid'} yours?"
            )
    sandbox.tell(b"mapped")


def _run(body: Callable[[], None], owner: socket.socket) -> NoReturn:
    """Run `body` in a forked child, which must never return into its parent's code; tell `owner` how it failed."""
    status = 70
    try:
        body()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:  # noqa: BLE001  # any error is reported and ends this process
        if not _reported(error, owner):
            traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _reported(error: BaseException, owner: socket.socket) -> bool:
    try:
        refusal = as_refusal(error) if isinstance(error, Exception) else None
        owner.send(errors.encoded(errors.report(refusal or error), REPORT_BYTES))
    except OSError:
        return False  # it has ended, or has closed this channel
    return True


def _keep(
    main: Callable[[Inside], None],
    channel: socket.socket,
    who: identity.Identity,
    keep: tuple[int, ...],
) -> None:
    os.setsid()  # a Ctrl-C is for the command line, which then takes us along
    # Otherwise they are the command line's handlers, and a container, being in pid 1, could call them.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    close_all_but({0, 1, 2, channel.fileno(), *keep})
    die_with_linked_parent(channel)
    reached("keeper-forked")
    rootless = isinstance(who, identity.Subordinate)
    try:
        if rootless:
            _enter_user_namespace(channel)
            die_with_linked_parent(channel)  # again: the new credentials cleared it
        syscalls.unshare(_NAMESPACES)
    except OSError as error:
        raise _refusal(error, rootless) from error
    reached("namespaces-unshared")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor = fork()
    if supervisor == 0:
        ours.close()
        _run(lambda: _supervise(main, Inside(channel, rootless, theirs)), channel)
    theirs.close()
    channel.close()
    for fd in keep:
        os.close(fd)
    _wait_for(supervisor, ours)


def _enter_user_namespace(channel: socket.socket) -> None:
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    channel.send(b"map")
    if channel.recv(64) != b"mapped":
        raise SystemExit(3)
    reached("user-mapped")
    os.setresgid(0, 0, 0)
    os.setgroups([])
    os.setresuid(0, 0, 0)


def _refusal(error: OSError, rootless: bool) -> MachineError:
    if rootless and identity.read().apparmor_restricts_userns == "1\n":
        return identity.apparmor_refusal()
    return privileges.refused_namespaces(error)


def _supervise(main: Callable[[Inside], None], inside: Inside) -> None:
    die_with_linked_parent(inside.keeper)
    itself = os.pidfd_open(os.getpid())
    socket.send_fds(inside.channel, [b"born"], [itself])
    os.close(itself)
    reached("supervisor-forked")
    main(inside)


def _wait_for(supervisor: int, link: socket.socket) -> None:
    """Wait until the supervisor detaches, or ends with a status that becomes ours."""
    if link.recv(16) != b"detach":
        status = os.waitpid(supervisor, 0)[1]
        raise SystemExit(os.waitstatus_to_exitcode(status) & 0xFF)


def close_all_but(wanted: set[int]) -> None:
    """Close every descriptor that is not in `wanted`, and not one of the standard three."""
    last = 2
    for fd in sorted(wanted | {2}):
        if fd > 2:
            os.closerange(last + 1, fd)
        last = fd
    os.closerange(last + 1, 1 << 30)


def make_mounts() -> None:
    """Give the sandbox its own view: the host's file system read-only, its own /proc and an empty /run.

    Raises `MachineError` naming the mount that failed.
    """
    try:
        syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.make_read_only("/")
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
        syscalls.mount("proc", "/proc", "proc", flags | syscalls.MS_NOEXEC, _HIDING)
        _make_devices()
        syscalls.mount("tmpfs", "/run", "tmpfs", flags, f"mode=755,size={RUN_SIZE}")
    except OSError as error:
        raise privileges.refused_mount(error) from error
    os.mkdir(RUN, 0o755)  # noqa: PTH102  # a Path is made nowhere else here


def _make_devices() -> None:
    """Mount a /dev with what programs rely on, as container runtimes do: in ours a container's root could open disks.

    Its terminals are its own, too; the one that `shell` uses comes as a descriptor and needs no name.
    """
    flags = syscalls.MS_NOSUID | syscalls.MS_NOEXEC
    ours = {name: os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC) for name in _DEVICES}
    syscalls.mount("tmpfs", "/dev", "tmpfs", flags, "mode=755,size=64k")
    for name, fd in ours.items():
        os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
        syscalls.mount(f"/proc/self/fd/{fd}", f"/dev/{name}", "", syscalls.MS_BIND)
        os.close(fd)
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")  # noqa: PTH211  # as below
    for name in ("pts", "shm"):
        os.mkdir(f"/dev/{name}", 0o755)  # noqa: PTH102  # as below
    syscalls.make_read_only("/dev")
    syscalls.mount("devpts", "/dev/pts", "devpts", flags, "newinstance,ptmxmode=0666,mode=0620")
