"""The supervisor's end of the fork servers: spawn a process in a pod, and report what becomes of it.

A server is started per set of preloaded modules, before anything heavy is imported here, so that its imports run on
another core meanwhile.
"""

import marshal
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from sidelab.lab.base.exhausted import fork_linked
from sidelab.lab.base.fault_points import FAULT
from sidelab.lab.base.loop import Loop
from sidelab.lab.base.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER
from sidelab.lab.errors import MachineError, PodError
from sidelab.lab.plan.blueprint import Process
from sidelab.lab.plan.registry import Command, Standin
from sidelab.lab.runtime.forkserver import REQUEST_BYTES
from sidelab.lab.runtime.logfile import tail

_START = (
    "import sys; sys.path[:] = {path!r}; from sidelab.lab.runtime.forkserver import serve; serve({fd}, {preload!r})"
)

_PATH = [str(Path(each).absolute()) for each in sys.path]  # now, because the supervisor will leave this directory
_LOG_TAIL = 2000
_STDERR = 2
_AGAIN_S = 0.5


@dataclass(frozen=True)
class ProcessPlace:
    """Where a process runs: descriptors of the namespaces that it enters; None where it stays in the lab's.

    `user` is None where the pods' ids are the lab's. A process that is `alone` is the first in a pid namespace of its
    own. With `copied` its mounts are a copy, in which those of `mounts` are locked and /proc shows its pid namespace.
    """

    hostname: str
    network: int
    user: int | None
    mounts: int | None = None
    ipc: int | None = None
    processes: int | None = None
    alone: bool = False
    copied: bool = False

    @property
    def entered(self) -> list[tuple[int, int]]:
        """Return kind and descriptor of each, in their order: the mounts above the user namespace can be entered first.

        Nobody in it may do that.
        """
        every = (
            (CLONE_NEWNS, self.mounts),
            (CLONE_NEWUSER, self.user),
            (CLONE_NEWNET, self.network),
            (CLONE_NEWIPC, self.ipc),
            (CLONE_NEWPID, self.processes),
        )
        return [(kind, fd) for kind, fd in every if fd is not None]


@dataclass(eq=False)
class Handle:
    """A spawned process: `pid` is 0 until the fork server has reported it."""

    number: int
    on_event: Callable[[str, int | str], None]
    pid: int = 0
    wanted: list[int] = field(default_factory=list)
    ended: bool = False

    def signal(self, number: int) -> None:
        """Send a signal to the process and its group, now or as soon as it has a pid; never after its end."""
        if self.ended:
            return
        if not self.pid:
            self.wanted.append(number)
            return
        for target in (-self.pid, self.pid):  # its group once it has called setsid, before that the process alone
            try:
                os.kill(target, number)
            except ProcessLookupError:
                continue
            return


class Spawner:
    """One fork server; its events are served by `loop`."""

    def __init__(self, loop: Loop, preload: tuple[str, ...]) -> None:
        self._loop = loop
        self._preload = preload
        self._numbers = count(1)
        self._handles: dict[int, Handle] = {}
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._ever_served = False
        self.pid = 0
        self._start()

    def _start(self) -> None:
        pid, ours, theirs = fork_linked()
        if pid == 0:
            os.set_inheritable(theirs.fileno(), True)
            source = _START.format(path=_PATH, fd=theirs.fileno(), preload=self._preload)
            os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", source], _environment())  # noqa: S606  # the same
        theirs.close()
        self.pid = pid
        self._serves = False
        ours.setblocking(False)
        self._socket = ours
        self._events = selectors.EVENT_READ
        self._loop.watch(ours, self._serve)
        self._flush()

    def _start_again(self) -> None:
        """Start another server; if the machine refuses now, what is to be spawned waits until it does not."""
        try:
            self._start()
        except (OSError, MachineError):
            self._loop.after(_AGAIN_S, self._start_again)

    def spawn(
        self,
        process: Process,
        place: ProcessPlace,
        on_event: Callable[[str, int | str], None],
        output: int | Sequence[int],
        *,
        terminal: bool = False,
        absent: str = "",
    ) -> Handle:
        """Start `process` in `place`; `output` is the descriptor of its log, or its standard three.

        `absent`, added to the reason if its program is not found, explains why a pod may not be shown it.
        `on_event` is called with ("started", pid), ("ready", 0), ("failed", reason) and last ("exited", wait status);
        with ("unforked", reason) before that if no process could be forked.
        Raises `OSError` where a descriptor is missing for it; then nothing is heard.
        """
        program = process.program
        handle = Handle(next(self._numbers), on_event)
        request = {
            "id": handle.number,
            "argv": program.argv if isinstance(program, Command) else (),
            "entry": program.entry if isinstance(program, Standin) else "",
            "args": program.args if isinstance(program, Standin) else (),
            "env": dict((*process.env, *program.env)),
            "uid": process.uid,
            "gid": process.gid,
            "capabilities": process.capabilities,
            "cwd": process.cwd,
            "hostname": place.hostname,
            "log": isinstance(output, int),
            "kinds": [kind for kind, _ in place.entered],
            "made": (CLONE_NEWNS if place.copied else 0) | (CLONE_NEWPID if place.alone else 0),
            "apart": place.alone or place.processes is not None,
            "copied": place.copied,
            "terminal": terminal,
            "absent": absent,
        }
        descriptors = [fd for _, fd in place.entered]
        descriptors += [output] if isinstance(output, int) else output
        self._outbox.append(_packed(request, descriptors))
        self._handles[handle.number] = handle
        self._flush()
        return handle

    def _flush(self) -> None:
        """Send what fits; never wait, because the server may itself be waiting for us to take its events."""
        if not self.pid:
            return  # another one is still to be started
        while self._outbox:
            data, descriptors = self._outbox[0]
            try:
                socket.send_fds(self._socket, [data], descriptors)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                break  # it is busy, or it has ended: then so do its events
            except OSError:  # ETOOMANYREFS, ENOBUFS, ENOMEM: whether there is room again is not to be polled for
                self._loop.after(_AGAIN_S, self._flush)
                return
            self._outbox.popleft()
            for fd in descriptors:
                os.close(fd)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        if events != self._events:
            self._events = events
            self._loop.change(self._socket, self._serve, events)

    def _serve(self) -> None:
        if self._receive():
            self._flush()

    def _receive(self) -> bool:
        """Serve one event, if there is one; return whether the server still lives."""
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        if not data:
            self._lost()
            return False
        number, what, *rest = marshal.loads(data)  # noqa: S302  # from our own child, over a socket pair
        if what == "serving":
            self._ever_served = self._serves = True
            return True
        handle = self._handles[number]
        value = rest[0] if rest else 0
        if what == "started":
            handle.pid = value
            for wanted in handle.wanted:
                handle.signal(wanted)
        if what == "exited":
            handle.ended = True
            del self._handles[number]
        handle.on_event(what, value)
        return True

    def _lost(self) -> None:
        """Start another server: this one has ended, and its children with it, since they die with their parent."""
        self._loop.forget(self._socket)
        self._socket.close()
        self.pid = 0
        for _, descriptors in self._outbox:
            for fd in descriptors:
                os.close(fd)
        self._outbox.clear()
        if not self._ever_served:
            modules = ", ".join(self._preload) or "nothing"
            last = tail(_STDERR, _LOG_TAIL).decode(errors="replace").strip()  # we and the servers write to one log
            ending = f"; its log ends:\n{last}" if last else ""
            raise PodError(f"the fork server that imports {modules} ended before it could serve{ending}")
        lost, self._handles = self._handles, {}
        if self._serves:
            self._start_again()
        else:
            self._loop.after(_AGAIN_S, self._start_again)
        for handle in lost.values():
            handle.ended = True
            handle.on_event("exited", signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Return a fork server's environment, without that of the lab's starter, which every container would see."""
    fault = os.environ.get(FAULT)
    return {"LANG": "C.UTF-8", **({} if fault is None else {FAULT: fault})}


def _packed(request: dict[str, object], descriptors: list[int]) -> tuple[bytes, list[int]]:
    """Return a request as a datagram with duplicates of `descriptors`; what is too large for one comes as a file first.

    Raises `OSError`, with nothing left open.
    """
    data = marshal.dumps(request)
    made: list[int] = []
    try:
        if len(data) > REQUEST_BYTES:
            made.append(os.memfd_create("request"))
            with os.fdopen(made[0], "wb", closefd=False) as writer:
                writer.write(data)
            data = marshal.dumps(None)
        for fd in descriptors:
            made.append(os.dup(fd))  # noqa: PERF401  # those already made must be closed if one fails
    except OSError:
        for fd in made:
            os.close(fd)
        raise
    return data, made
