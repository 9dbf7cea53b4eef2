"""The fork server: a small process that has the stand-ins imported and forks a child for each container.

It is started as a fresh, site-less Python, so that what it forks is small: a fork costs what the parent has mapped. It
imports next to nothing beyond the standard library's lightest modules, and never pyroute2.

Requests and events are one datagram each on one socket; both ends are the same interpreter, so `marshal` is the format
(and `json` would bring `re` along). A request is a dictionary as made by `lab.spawner`; events are tuples:
(id, "started", pid) · (id, "ready") · (id, "failed", reason) · (id, "exited", wait status); and once (0, "serving").
Where no process can be had: (id, "unforked", the kernel's reason), and then "exited" alone.
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
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from lab import syscalls
from lab.errors import SidelabError
from lab.steps import reached

REQUEST_BYTES = 1 << 17
DESCRIPTORS = 6


class Context:
    """What a stand-in is called with: its arguments, its environment, and how to say that it serves."""

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
    # What is imported stays: a collection in a child would otherwise write to every page of it, and so copy them all.
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
    children: dict[int, tuple[int, bool]] = {}
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wakeup.fileno() in ready:
            wakeup.recv(4096)
            _reap(requests, children)
        if requests.fileno() in ready:
            request, descriptors = _receive(requests)
            if request is None:
                return
            try:
                pid = os.fork()
            except OSError as error:  # the machine's or the user's limit of processes
                requests.send(marshal.dumps((request["id"], "unforked", error.strerror)))
                requests.send(marshal.dumps((request["id"], "exited", 126 << 8)))
            else:
                if pid == 0:
                    wakeup.close()
                    waker.close()
                    _child(request, descriptors, requests)
                children[pid] = request["id"], request["log"]
                requests.send(marshal.dumps((request["id"], "started", pid)))
            for fd in descriptors:
                os.close(fd)


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


def _reap(events: socket.socket, children: dict[int, tuple[int, bool]]) -> None:
    """Tell of each child that has ended; what a container has left in its process group ends with it."""
    while children:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return
        number, is_container = children.pop(ended.si_pid)
        if is_container:
            try:  # noqa: SIM105  # contextlib would be imported for this alone
                os.killpg(ended.si_pid, signal.SIGKILL)  # no other group can have that number before it is waited for
            except ProcessLookupError:
                pass  # it ended before it had a group
        events.send(marshal.dumps((number, "exited", os.waitpid(ended.si_pid, 0)[1])))


def _child(request: dict[str, Any], descriptors: list[int], events: socket.socket) -> NoReturn:
    """Become the container: enter its namespaces, drop to its uid, run its program."""
    end_with(lambda: _run(request, descriptors, events))


def _run(request: dict[str, Any], descriptors: list[int], events: socket.socket) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _enter(request, descriptors)
    reached("container-spawned")
    if request["argv"]:
        _execute(request, events)
    module, _, function = request["entry"].partition(":")
    context = Context(request["id"], events, request["args"], request["env"])
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


def _enter(request: dict[str, Any], descriptors: list[int]) -> None:
    """Take the descriptors in their order: network namespace, [mount namespace], log or standard three."""
    os.setsid()
    if request["log"]:
        null = os.open(os.devnull, os.O_RDONLY)
        standard = [null, descriptors[-1], descriptors[-1]]
    else:
        standard = descriptors[-3:]
    syscalls.setns(descriptors[0], syscalls.CLONE_NEWNET)
    syscalls.unshare(syscalls.CLONE_NEWUTS)
    socket.sethostname(request["hostname"])
    if request["mounts"]:
        syscalls.setns(descriptors[1], syscalls.CLONE_NEWNS)
    for target, fd in enumerate(standard):
        os.dup2(fd, target)
    for fd in {*descriptors, *standard} - {0, 1, 2}:
        os.close(fd)
    if request["terminal"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    parent = os.getppid()
    if request["argv"]:  # a stand-in runs our code; what a manifest or a person brings meets one wall more
        syscalls.cut_bounding_set(request["capabilities"])
    syscalls.drop_to(request["uid"], request["gid"], request["capabilities"])
    syscalls.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _execute(request: dict[str, Any], events: socket.socket) -> NoReturn:
    """Replace the child by a program; an exec that succeeds says nothing, so what can be known is checked before."""
    argv, env = request["argv"], request["env"]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and a program would inherit that
    try:
        if request["cwd"]:
            os.chdir(request["cwd"])
        program = _found(argv[0], env.get("PATH", ""))
        events.send(marshal.dumps((request["id"], "ready")))
        os.execve(program, argv, env)  # noqa: S606  # no shell is wanted
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
    """Return the file to execute, as a shell finds it; raises what executing it would."""
    candidates = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path.split(":")]
    problem = errno.ENOENT
    for candidate in candidates:
        is_directory = os.access(f"{candidate}/.", os.F_OK)
        if os.access(candidate, os.X_OK) and not is_directory:
            return candidate
        if is_directory or os.access(candidate, os.F_OK):
            problem = errno.EACCES
    raise OSError(problem, os.strerror(problem), name)
