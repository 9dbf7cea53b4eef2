"""The fork server: a small process that has already imported the stand-ins and forks a child for each container.

It is started as a fresh, site-less Python, so that what it forks is small: a fork costs what the parent has mapped. It
imports next to nothing beyond the standard library's lightest modules.

Requests and events are one datagram each on one socket; both ends are the same interpreter, so `marshal` is the format
(and `json` would bring `re` along). A request is a dictionary as made by `lab.runtime.spawner`; events are tuples:
(id, "started", pid) · (id, "ready") · (id, "failed", reason) · (id, "exited", wait status); and once (0, "serving").
If no process can be forked: (id, "unforked", the kernel's reason), and then only "exited".
"""

import errno
import fcntl
import gc
import importlib
import marshal
import os
import select
import signal
import socket
import sys
import termios
import traceback
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NoReturn

from sidelab.lab.base import syscalls
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.processes.parent_death import die_with_parent
from sidelab.lab.errors import SidelabError
from sidelab.lab.sandbox import apart, call_filter

REQUEST_BYTES = 1 << 17
DESCRIPTORS = 9

_ANYBODY = 0o666
"""The mode of a log: nobody else can reach it, and its container opens it again as /dev/stderr."""


class ForkedContext:
    """What a stand-in is called with: its arguments, its environment, and how to report that it serves."""

    def __init__(self, number: int, events: socket.socket, args: tuple[str, ...], env: Mapping[str, str]) -> None:
        self.args = args
        self.env = env
        self._number = number
        self._events = events

    def ready(self) -> None:
        """Tell the supervisor that the container serves; called once."""
        self._events.send(marshal.dumps((self._number, "ready")))
        self._events.close()
        reached("container-ready")


def serve(descriptor: int, preload: tuple[str, ...]) -> None:
    """Serve requests from the socket `descriptor` until the other end closes."""
    os.set_inheritable(descriptor, False)
    for module in preload:
        importlib.import_module(module)
    # Keep imports out of garbage collection: in a child it would write to every page of them, and so copy them all.
    gc.collect()
    gc.freeze()
    requests = socket.socket(fileno=descriptor)
    requests.send(marshal.dumps((0, "serving")))
    wakeup, waker = socket.socketpair()
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(wakeup, select.POLLIN)
    children = _Children(requests, poll)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wakeup.fileno() in ready:
            wakeup.recv(4096)
            children.reap()
        children.take_births(ready)
        if requests.fileno() in ready:
            request, descriptors = _receive(requests)
            if request is None:
                return
            children.fork(request, descriptors, (wakeup, waker))
            for fd in descriptors:
                os.close(fd)


class _Children:
    """What was forked: by pid, the request's number and whether it is a container.

    One that is to be apart from the lab is not the child that was forked, but the sibling that this one leaves its
    place to (`lab.sandbox.apart`): it is known when its pid comes from a socket of `_births`.
    """

    def __init__(self, events: socket.socket, poll: select.poll) -> None:
        self._events = events
        self._poll = poll
        self._known: dict[int, tuple[int, bool]] = {}
        self._births: dict[int, tuple[socket.socket, int]] = {}

    def fork(self, request: dict[str, Any], descriptors: list[int], ours: Sequence[socket.socket]) -> None:
        """Fork a child for `request`, which closes the sockets `ours`."""
        birth, told = socket.socketpair()
        with told:
            try:
                pid = os.fork()
            except OSError as error:  # the machine's or the user's limit of processes
                self._events.send(marshal.dumps((request["id"], "unforked", error.strerror)))
                self._events.send(marshal.dumps((request["id"], "exited", 126 << 8)))
                birth.close()
                return
            if pid == 0:
                for link in (*ours, birth):
                    link.close()
                _child(request, descriptors, self._events, told)
            self._add(pid, request, birth)

    def _add(self, pid: int, request: Mapping[str, Any], birth: socket.socket) -> None:
        self._known[pid] = request["id"], request["log"]
        if request["apart"]:
            self._births[birth.fileno()] = birth, pid
            self._poll.register(birth, select.POLLIN)
        else:
            birth.close()
            self._events.send(marshal.dumps((request["id"], "started", pid)))

    def take_births(self, ready: Container[int]) -> None:
        """Put siblings in their places, of those sockets that are `ready`."""
        for descriptor in [each for each in self._births if each in ready]:
            birth, pid = self._births.pop(descriptor)
            self._poll.unregister(birth)
            with birth:
                sibling = birth.recv(16)
                if not sibling:
                    continue  # it has failed, and ends as what it was
                number, is_container = self._known.pop(pid)
                self._known[int(sibling)] = number, is_container
                self._events.send(marshal.dumps((number, "started", int(sibling))))
                try:  # noqa: SIM105  # contextlib would be imported for this alone
                    birth.send(b"+")
                except BrokenPipeError:
                    pass  # somebody has killed it
        if not self._births:
            self.reap()

    def reap(self) -> None:
        """Report each child that has ended; what a container has left in its process group ends with it."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            known = self._known.pop(ended.si_pid, None)
            if known is None:
                if self._births:
                    return  # it may be a sibling whose pid is still to come: reap it then
                os.waitpid(ended.si_pid, 0)
                continue
            number, is_container = known
            if is_container:
                try:  # noqa: SIM105  # contextlib would be imported for this alone
                    os.killpg(ended.si_pid, signal.SIGKILL)  # no other group can have this id before it is waited for
                except ProcessLookupError:
                    pass  # it ended before it had a group
            self._events.send(marshal.dumps((number, "exited", os.waitpid(ended.si_pid, 0)[1])))


def _receive(requests: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    data, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES, DESCRIPTORS)
    if not data:
        return None, []
    request = marshal.loads(data)  # noqa: S302  # from our own parent, over a socket pair
    if request is None:  # it is too large for a datagram, and came as a file
        with os.fdopen(descriptors.pop(0), "rb") as file:
            file.seek(0)
            request = marshal.load(file)  # noqa: S302  # the same
    return request, list(descriptors)


def _child(request: dict[str, Any], descriptors: list[int], events: socket.socket, birth: socket.socket) -> NoReturn:
    """Become the container: enter its namespaces, drop to its uid, run its program."""
    end_with(lambda: _run(request, descriptors, events, birth))


def _run(request: dict[str, Any], descriptors: list[int], events: socket.socket, birth: socket.socket) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _take_standard(request, descriptors)
    parent = os.getppid()
    _enter(request, descriptors)
    link = apart.leave_to_sibling(birth) if request["apart"] else None
    birth.close()
    if request["copied"]:
        apart.mount_proc()
    if link is not None:
        os.setsid()
        apart.bound_processes()
    if request["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    _drop(request)
    if link is None:
        die_with_parent(parent)
    else:
        syscalls.set_parent_death_signal(signal.SIGKILL)
        apart.go_on(link)
    reached("container-spawned")
    if request["argv"]:
        _execute(request, events)
    module, _, function = request["entry"].partition(":")
    context = ForkedContext(request["id"], events, request["args"], request["env"])
    getattr(importlib.import_module(module), function)(context)


def end_with(call: Callable[[], None]) -> NoReturn:
    """Make `call`, then end this process, a forked child, with the status that its outcome stands for."""
    status = 1
    try:
        call()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except SidelabError as error:
        sys.stderr.write(f"sidelab: {error}\n")
        status = error.exit_status
    except BaseException:  # noqa: BLE001  # it goes to the container's log, and its status says that it failed
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _take_standard(request: dict[str, Any], descriptors: list[int]) -> None:
    """Set up the standard three from the last of `descriptors` (only one for a log), and remove these from the list."""
    os.setsid()
    if request["log"]:
        log = descriptors.pop()
        standard = [os.open(os.devnull, os.O_RDONLY), log, log]
    else:
        standard = [descriptors.pop() for _ in range(3)][::-1]
    for target, fd in enumerate(standard):
        os.dup2(fd, target)
    for fd in {*standard} - {0, 1, 2}:
        os.close(fd)


def _enter(request: dict[str, Any], descriptors: list[int]) -> None:
    """Enter the namespaces of `descriptors` in their order, and make the container's own."""
    for kind, fd in zip(request["kinds"], descriptors, strict=True):
        syscalls.setns(fd, kind)
        os.close(fd)
    syscalls.unshare(syscalls.CLONE_NEWUTS | request["made"])
    socket.sethostname(request["hostname"])


def _drop(request: dict[str, Any]) -> None:
    """Become the container's user, with its capabilities."""
    if request["argv"]:  # a stand-in runs our code; a program of a manifest or a user is restricted further
        syscalls.cut_bounding_set(request["capabilities"])
    syscalls.drop_to(request["uid"], request["gid"], request["capabilities"])
    if request["argv"]:
        call_filter.forbid()
    syscalls.set_dumpable(False)  # until it executes a program


def _execute(request: dict[str, Any], events: socket.socket) -> NoReturn:
    """Replace the child by a program; a successful exec reports nothing, so what can be checked is checked before."""
    argv, env = request["argv"], request["env"]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a program would inherit that
    try:
        if request["cwd"]:
            os.chdir(request["cwd"])
        program = _found(argv[0], env.get("PATH", ""))
        events.send(marshal.dumps((request["id"], "ready")))
        os.execve(program, argv, env)  # noqa: S606  # without a shell on purpose
    except (OSError, ValueError) as error:
        reason = f"{argv[0]}: {error.strerror if isinstance(error, OSError) else error}"
        if isinstance(error, FileNotFoundError) and error.filename == request["cwd"]:
            reason = f"working directory {request['cwd']}: {error.strerror}"
        elif isinstance(error, FileNotFoundError) and request["absent"]:
            reason += f": {request['absent']}"
        events.send(marshal.dumps((request["id"], "failed", reason)))
        sys.stderr.write(f"sidelab: {reason}\n")
        sys.stderr.flush()
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _found(name: str, path: str) -> str:
    """Return the file to execute, as a shell finds it; raises the error that executing it would."""
    candidates = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path.split(":")]
    problem = errno.ENOENT
    for candidate in candidates:
        is_directory = os.access(f"{candidate}/.", os.F_OK)
        if os.access(candidate, os.X_OK) and not is_directory:
            return candidate
        if is_directory or os.access(candidate, os.F_OK):
            problem = errno.EACCES
    raise OSError(problem, os.strerror(problem), name)
