"""The supervisor's part of the cluster's DNS: its sockets, and a process to serve them from the first query on.

The sockets are bound when the lab is built, so a query is never lost; the process takes the start of a Python, which a
lab whose pods look nothing up need not wait for. If there are Services, it is started with the pods.
"""

import os
import signal
import socket
import sys
from pathlib import Path

from sidelab.lab.base.exhausted import forking
from sidelab.lab.base.fault_points import reached
from sidelab.lab.base.incidents import FAILURES, Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.addresses import DNS_IPV4, DNS_IPV6

PORT = 53

_START = (
    "import sys; sys.path[:] = {path!r}; from sidelab.lab.cluster.dns.nameserver_process import serve; "
    "serve({fds!r}, {directory!r}, {file!r})"
)
_PATH = [str(Path(each).absolute()) for each in sys.path]  # now, because the supervisor will leave this directory
_BACKLOG = 128
_AGAIN_S = 0.1


class NameServer:
    """The name server of a lab; made inside the node's network namespace, which has the two addresses by then."""

    def __init__(self, loop: Loop, incidents: Incidents, state: Path) -> None:
        """Bind the sockets; `state` is the file that the process will read."""
        self._loop = loop
        self._incidents = incidents
        self._state = state
        self._sockets = [
            _bound(family, kind, address)
            for family, address in ((socket.AF_INET, DNS_IPV4), (socket.AF_INET6, DNS_IPV6))
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        ]
        self._running = False
        self._await_question()

    def start(self) -> None:
        """Start the process, if it is not running."""
        if self._running:
            return
        self._running = True
        for sock in self._sockets:
            self._loop.forget(sock)
        try:
            process = self._spawned()
        except FAILURES as error:
            self._incidents.survived("the cluster's name server can't be started, and is tried again", error)
            self._loop.after(_AGAIN_S, self._await_question)
            return
        self._loop.watch(process, lambda: self._ended(process))
        reached("name-server-started")

    def _spawned(self) -> int:
        """Start the process; return its pidfd."""
        fds = [sock.fileno() for sock in self._sockets]
        source = _START.format(path=_PATH, fds=fds, directory=str(self._state.parent), file=self._state.name)
        for fd in fds:
            os.set_inheritable(fd, True)
        try:
            with forking():
                pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", source], {"LANG": "C.UTF-8"})
        finally:
            for fd in fds:
                os.set_inheritable(fd, False)
        try:
            return os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # or it would run beside the next one
            raise

    def _ended(self, process: int) -> None:
        """Start again at the next query; the process that ended has already read the previous one."""
        self._loop.forget(process)
        os.close(process)
        self._loop.after(_AGAIN_S, self._await_question)

    def _await_question(self) -> None:
        self._running = False
        for sock in self._sockets:
            self._loop.watch(sock, self.start)


def _bound(family: int, kind: int, address: str) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, PORT))
    if kind == socket.SOCK_STREAM:
        sock.listen(_BACKLOG)
    return sock
