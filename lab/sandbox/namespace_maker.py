"""The pods' user namespace, and the process that makes their other namespaces in it.

A namespace belongs to the user namespace of the process that made it, and no process can return from a user namespace:
so a process of ours stays in that of the pods, makes namespaces on request, and hands over their descriptors. The
supervisor, in the user namespace above, has full control over all of them (user_namespaces(7)).
"""

import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from sidelab.lab.base import privileges, syscalls
from sidelab.lab.base.exhausted import fork_linked
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.framing import hung_up, receive_with_descriptors
from sidelab.lab.base.processes.parent_death import die_with_linked_parent
from sidelab.lab.errors import MachineError, PodError
from sidelab.lab.sandbox import pod_ids
from sidelab.lab.sandbox.sandbox import close_all_but

MOST_AT_ONCE = 100
"""How many network namespaces one request may ask for: each comes as two descriptors, and SCM_MAX_FD is 253."""

# A server with an ordinary uid may listen on port 80, as in container runtimes.
_POD_SYSCTLS = {"net/ipv4/ip_unprivileged_port_start": "0"}

_WORD_BYTES = 64
_ANSWER_BYTES = 4096


class PodSpaces:
    """The supervisor's end: asks for namespaces of pods, and gets descriptors.

    `user` is the descriptor of the pods' user namespace, `first_uid` the id, here, that is a pod's 0; with `host_ids`
    there is none, and the ids are the same.
    """

    def __init__(self, *, host_ids: bool) -> None:
        """Start the process. Raises `MachineError` if no user namespace can be made or mapped."""
        self.first_uid = 0
        self.user: int | None = None
        self._host_ids = host_ids
        self._link = self._start()
        reached("pods-user-made")

    def _start(self) -> socket.socket:
        """Fork the process; return our end of its socket. A second one enters the user namespace of the first."""
        pid, ours, theirs = fork_linked()
        if pid == 0:
            ours.close()
            _run(theirs, self.user, host_ids=self._host_ids)
        theirs.close()
        if not self._host_ids and self.user is None:
            self.user = self._mapped(ours, pid)
        return ours

    def _mapped(self, link: socket.socket, pid: int) -> int:
        """Write the id maps of the process, once it is in its new user namespace; return the descriptor of that."""
        _receive(link, privileges.refused_pod_users)
        number = Path("/proc/self/ns/pid").stat().st_ino
        try:
            for name in ("gid_map", "uid_map"):
                first = pod_ids.first_id(Path("/proc/self", name).read_text(), number)
                Path("/proc", str(pid), name).write_text(f"0 {first} {pod_ids.COUNT}\n")
        except OSError as error:
            raise MachineError(f"the ids of pods can't be mapped: {error}: {privileges.FORBIDDEN}") from error
        self.first_uid = first
        link.send(b"mapped")
        [user] = _receive(link, privileges.refused_pod_users)
        return user

    def networks(self, count: int) -> list[tuple[int, socket.socket]]:
        """Make network namespaces; return each with a netlink socket that was opened inside it. See `MOST_AT_ONCE`."""
        self.order_networks(count)
        return self.take_networks()

    def order_networks(self, count: int) -> None:
        """Order network namespaces for `take_networks`: they are made in the meantime."""
        self._link.send(f"net {count}".encode())

    def take_networks(self) -> list[tuple[int, socket.socket]]:
        """Return the namespaces of the oldest order, as `networks` does."""
        descriptors = _receive(self._link)
        half = len(descriptors) // 2
        links = (socket.socket(fileno=fd) for fd in descriptors[half:])
        return list(zip(descriptors[:half], links, strict=True))

    def ipc(self) -> int:
        """Make an IPC namespace; return its descriptor."""
        return self._ask("ipc")[0]

    def processes(self) -> tuple[int, socket.socket]:
        """Make a pid namespace whose first process only waits for orphans; return its descriptor.

        The other end of the socket that is returned closes when that process ends, and the namespace with it.
        """
        space, link = self._ask("pid")
        return space, socket.socket(fileno=link)

    def _ask(self, word: str) -> list[int]:
        """Return what the process hands over for `word`; one that was killed is started again first."""
        if hung_up(self._link):
            self._link.close()
            self._link = self._start()
        self._link.send(word.encode())
        return _receive(self._link)


def _receive(
    link: socket.socket, explained: Callable[[OSError], MachineError] = privileges.refused_namespaces
) -> list[int]:
    """Return the descriptors of the next answer. Raises the process's error, `explained`, or that it has ended."""
    try:
        data, descriptors, _ = receive_with_descriptors(link, _ANSWER_BYTES, 2 * MOST_AT_ONCE)
    except ConnectionResetError:
        data, descriptors = b"", []
    if not data:
        raise PodError("the process that makes the namespaces of pods has ended: did memory run out? see `dmesg`")
    if data.startswith(b"refused "):
        _, number, text = data.decode(errors="replace").split(" ", 2)
        raise explained(OSError(int(number), text))
    return descriptors


def _run(link: socket.socket, user: int | None, *, host_ids: bool) -> NoReturn:
    """Run the process, a forked child, which must never return into its parent's code."""
    try:
        close_all_but({0, 1, 2, link.fileno(), *([] if user is None else [user])})
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        syscalls.name_process("sidelab-spaces")
        die_with_linked_parent(link)
        if user is not None:
            syscalls.setns(user, syscalls.CLONE_NEWUSER)
        elif not host_ids:
            _enter_user_namespace(link)
            _hand(link, [syscalls.own_namespace("user")])
        os.setresgid(0, 0, 0)
        os.setgroups([])
        os.setresuid(0, 0, 0)
        die_with_linked_parent(link)  # again: the new credentials cleared it
        _serve(link)
    except OSError as error:
        link.send(f"refused {error.errno} {error.strerror or error}".encode())
    finally:
        os._exit(0)


def _serve(link: socket.socket) -> None:
    while word := link.recv(_WORD_BYTES).decode():
        kind, _, count = word.partition(" ")
        try:
            if kind == "net":
                _hand(link, _networks(int(count)))
            elif kind == "ipc":
                syscalls.unshare(syscalls.CLONE_NEWIPC)
                _hand(link, [syscalls.own_namespace("ipc")])
            else:
                _hand(link, _processes())
        except OSError as error:
            link.send(f"refused {error.errno} {error.strerror or error}".encode())


def _hand(link: socket.socket, descriptors: Sequence[int]) -> None:
    socket.send_fds(link, [b"made"], descriptors)
    for fd in descriptors:
        os.close(fd)


def _enter_user_namespace(link: socket.socket) -> None:
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    syscalls.set_dumpable(True)  # else the machine's root owns the /proc files that set our id maps
    link.send(b"map")
    if link.recv(_WORD_BYTES) != b"mapped":
        raise SystemExit(1)


def _networks(count: int) -> list[int]:
    """Return the descriptors of new network namespaces, then those of their netlink sockets.

    This process is then in the last one: it can't return to those of the user namespace above.
    """
    spaces: list[int] = []
    links: list[int] = []
    for _ in range(count):
        syscalls.unshare(syscalls.CLONE_NEWNET)
        spaces.append(syscalls.own_namespace("net"))
        for name, value in _POD_SYSCTLS.items():
            Path("/proc/sys", name).write_text(value)
        links.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE).detach())
    return spaces + links


def _processes() -> list[int]:
    """Fork the first process of a new pid namespace; return the namespace's descriptor, and that process's socket."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        _fork_first(theirs)
    theirs.close()
    _, descriptors, _ = receive_with_descriptors(ours, _WORD_BYTES, 1)
    os.waitpid(child, 0)
    if not descriptors:
        ours.close()
        raise OSError(errno.ENOSPC, "no pid namespace can be made")
    return [*descriptors, ours.detach()]


def _fork_first(link: socket.socket) -> NoReturn:
    try:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        if syscalls.fork_sibling() == 0:
            _wait_for_orphans(link)
    finally:
        os._exit(0)


def _wait_for_orphans(link: socket.socket) -> NoReturn:
    """Run as the first process of a pid namespace, like a pod's pause container."""
    try:
        syscalls.name_process("pause")
        syscalls.set_dumpable(True)  # who is not may not write to its own memory either
        syscalls.set_command_line("pause")
        syscalls.set_dumpable(False)
        die_with_linked_parent(link)
        own = syscalls.own_namespace("pid")
        socket.send_fds(link, [b"made"], [own])
        close_all_but({0, 1, 2, link.fileno()})
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then waits for them
        while True:
            signal.pause()
    finally:
        os._exit(1)
