"""The supervisor's side of the control socket: looking, changing, running programs, handing out descriptors, stopping.

What needs the kernel's view of a pod (its rules, its sockets) is not done here: the client gets a socket opened inside
the pod, and then talks to the kernel itself.
"""

import errno
import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sidelab.lab import errors
from sidelab.lab.base import framing
from sidelab.lab.base.exhausted import as_refusal, cannot_fork
from sidelab.lab.base.incidents import reason_of
from sidelab.lab.base.processes.stop import ask_then_kill
from sidelab.lab.errors import InputError, PodError, SidelabError
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import Manifest, Object, encode
from sidelab.lab.manifest.object_table import tables
from sidelab.lab.manifest.registered import KnownKinds
from sidelab.lab.plan.blueprint import Process
from sidelab.lab.runtime.live_pod import LiveContainer, LivePod
from sidelab.lab.runtime.supervision.control_requests import (
    ApplyRequest,
    DeleteRequest,
    ExecRequest,
    GetRequest,
    LogRequest,
    ManifestRequest,
    NamespacesRequest,
    Request,
    SocketRequest,
    StatusRequest,
    StopRequest,
)
from sidelab.lab.runtime.supervision.status import shown_of, status

if TYPE_CHECKING:
    from sidelab.lab.cluster.change import Change
    from sidelab.lab.runtime.spawner import Handle
    from sidelab.lab.runtime.supervision.running_lab import RunningLab

_HANGUP_GRACE_S = 1.0
_DEFAULT = "kubectl.kubernetes.io/default-container"  # names the container to use if none is named, as in kubectl
_MOST_CONNECTIONS = 512
_ACCEPT_AGAIN_S = 0.25

CONNECTIONS_INCLUDED = 24
"""How many connections there is room for among the files that every supervisor needs."""


class ControlServer:
    """Accepts connections of this lab's user and serves their requests, one at a time per connection.

    There are never more than `most` connections: to make room for a new one, it closes the connection without a running
    program that has been silent for longest, preferably one that has never sent a request.
    """

    def __init__(self, lab: "RunningLab", listener: socket.socket, most: int) -> None:
        self._lab = lab
        self._listener = listener
        self._most = min(most, _MOST_CONNECTIONS)
        self._connections: dict[_Connection, None] = {}  # the one that was served last is the last
        listener.listen(64)  # here and not by the owner: the peer that clients see is then this process
        listener.setblocking(False)
        self._watch()

    def _watch(self) -> None:
        self._lab.loop.watch(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            link, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # the peer is already gone
        except OSError as error:  # the peer keeps waiting, and the listener stays ready
            self._lab.incidents.note(f"a command could not be answered at once: {reason_of(error)}")
            self._lab.loop.forget(self._listener)
            self._lab.loop.after(_ACCEPT_AGAIN_S, self._watch)
            return
        credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("=iII", credentials)
        if uid != os.getuid() or not self._has_room():
            link.close()
            return
        link.setblocking(False)
        self._connections[_Connection(self._lab, link, self._served, self._closed)] = None

    def say_last(self, report: dict[str, Any]) -> None:
        """Tell all connected peers why the lab ends, if they can take the message at once."""
        for each in list(self._connections):
            each.send(report)

    def _has_room(self) -> bool:
        """Make room for one more connection if there is none; return whether there is room."""
        if len(self._connections) < self._most:
            return True
        idle = [each for each in self._connections if not each.busy]
        oldest = next((each for each in idle if not each.asked), idle[0] if idle else None)
        if oldest is not None:
            oldest.close()
        return oldest is not None

    def _served(self, connection: "_Connection") -> None:
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def _closed(self, connection: "_Connection") -> None:
        self._connections.pop(connection, None)


_Answer = tuple[dict[str, Any], list[int]]


class _Connection:
    """One peer; nothing that it sends, leaves out or does not read delays the others."""

    def __init__(
        self,
        lab: "RunningLab",
        link: socket.socket,
        on_request: Callable[["_Connection"], None],
        on_close: Callable[["_Connection"], None],
    ) -> None:
        self.asked = False
        self._lab = lab
        self._link = link
        self._on_request = on_request
        self._on_close = on_close
        self._inbox = framing.Inbox(link)
        self._outbox = framing.Outbox(link)
        self._events = selectors.EVENT_READ
        self._running: set[Handle] = set()
        self._closed = False
        lab.loop.watch(link, self._serve)

    @property
    def busy(self) -> bool:
        """Whether a program runs for it."""
        return bool(self._running)

    def _serve(self) -> None:
        """Send what waits to be sent; if nothing does, read the next request."""
        try:
            self._outbox.flush()
            received = None if self._outbox else self._inbox.read()
        except (OSError, framing.MalformedError):
            self.close()  # the peer is gone, or is not a client of this version
            return
        if received is not None:
            request, descriptors = received
            self.asked = True
            self._on_request(self)
            try:
                self._answer(request, descriptors)
            finally:
                for fd in descriptors:
                    os.close(fd)
        self._wait()

    def _wait(self) -> None:
        events = selectors.EVENT_WRITE if self._outbox else selectors.EVENT_READ
        if not self._closed and events != self._events:
            self._events = events
            self._lab.loop.change(self._link, self._serve, events)

    def _answer(self, request: dict[str, Any], descriptors: list[int]) -> None:
        if not request:
            self.close()
            return
        handed: list[int] = []
        try:
            answer, handed = self._carried_out(msgspec.convert(request, Request), descriptors)
        except SidelabError as error:
            answer = errors.report(error)
        except msgspec.ValidationError as error:
            answer = errors.report(InputError(f"the lab's supervisor, of another version, can't read that: {error}"))
        except OSError as error:
            refusal = as_refusal(error) or PodError(f"the lab's supervisor can't do that: {error}")
            answer = errors.report(refusal)
        try:
            self.send(answer, handed)
        finally:
            for fd in handed:
                os.close(fd)

    def send(self, answer: dict[str, Any], handed: Sequence[int] = ()) -> None:
        """Send a message, now or as soon as the peer takes it; the caller still closes `handed`."""
        try:
            self._outbox.add(answer, handed)
            self._outbox.flush()
        except OSError:
            self.close()

    def close(self) -> None:
        """Hang up; what runs for it is ended."""
        if self._closed:
            return
        self._closed = True
        self._on_close(self)
        self._lab.loop.forget(self._link)
        self._inbox.close()
        self._outbox.close()
        self._link.close()
        for handle in self._running:
            ask_then_kill(handle.signal, self._lab.loop.after, _HANGUP_GRACE_S, first=signal.SIGHUP)

    def _carried_out(self, request: Request, descriptors: list[int]) -> _Answer:
        match request:
            case StatusRequest():
                lab = self._lab
                return status(lab.order, lab.pods, lab.cluster, lab.incidents), []
            case StopRequest():
                self._lab.stop()
                return {"stopping": True}, []
            case ManifestRequest():
                return {"manifest": encode(Manifest(pods=(self._pod(request.pod).plan.source,)))}, []
            case LogRequest() | SocketRequest() | NamespacesRequest():
                return {"handed": True}, self._handed_out(request)
            case ExecRequest():
                self._execute(request, descriptors)
                return {"starting": True}, []
            case ApplyRequest() | DeleteRequest() | GetRequest():
                return self._about_objects(request), []

    def _handed_out(self, request: LogRequest | SocketRequest | NamespacesRequest) -> list[int]:
        match request:
            case LogRequest():
                return [self._container(request.pod, request.container).log.opened()]
            case SocketRequest():
                return [self._open_socket(request)]
            case NamespacesRequest():
                return self._namespaces(request)

    def _pod(self, key: PodKey) -> LivePod:
        pod = self._lab.pods.get(key)
        if pod is None:
            raise InputError(f"no pod {'/'.join(key)} in this lab")
        return pod

    def _container(self, key: PodKey, name: str | None) -> LiveContainer:
        pod = self._pod(key)
        name = name or pod.plan.source.metadata.annotations.get(_DEFAULT) or pod.containers[0].plan.name
        for container in (*pod.containers, *pod.init):
            if container.plan.name == name:
                return container
        known = ", ".join(each.plan.name for each in (*pod.containers, *pod.init))
        raise InputError(f"pod {'/'.join(key)} has no container {name!r}; it has: {known}")

    def _open_socket(self, request: SocketRequest) -> int:
        key = self._pod(request.pod).plan.key if request.pod else None
        with self._lab.network.inside(key):
            return socket.socket(request.family, request.type, request.protocol).detach()

    def _namespaces(self, request: NamespacesRequest) -> list[int]:
        """Hand out the user namespace of these pods, ours where they are in several, then their network namespaces."""
        keys = [self._pod(key).plan.key for key in request.pods]
        user = self._lab.spaces.user(keys)
        handed = [os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC) if user is None else os.dup(user)]
        try:
            handed.extend(os.dup(self._lab.network.descriptor(key)) for key in keys)
        except OSError:
            for fd in handed:
                os.close(fd)
            raise
        return handed

    @property
    def _kinds(self) -> KnownKinds:
        return self._lab.order.blueprint.kinds

    def _live(self, value: Object) -> Mapping[str, str]:
        """Return what a table shows of an object besides its own fields."""
        if value.kind == "Pod":
            return shown_of(self._lab.pods[value.key])
        return self._lab.cluster.live(value)

    def _about_objects(self, request: ApplyRequest | DeleteRequest | GetRequest) -> dict[str, Any]:
        if not isinstance(request, GetRequest):
            change = self._changed(request)
            return {"outcomes": list(change.outcomes), "warnings": list(change.doubts)}
        objects = self._lab.manifest().objects
        return {"tables": tables(request, self._kinds, objects, self._live)}

    def _changed(self, request: ApplyRequest | DeleteRequest) -> "Change":
        """Change the running lab: carry out all of the request or, if any part of it is not possible, nothing."""
        from sidelab.lab.cluster.change import compare, without  # noqa: PLC0415  # few labs are changed, and it is slow to import

        lab, kinds = self._lab, self._kinds
        running, name = lab.manifest(), lab.order.name
        if isinstance(request, DeleteRequest):
            change = without(running, request.objects, name, kinds=kinds, ignore_not_found=request.ignore_not_found)
        else:
            wanted = Manifest.of(kinds.decoded(each) for each in request.objects)
            change = compare(running, wanted, request.live, name, kinds=kinds, prune=request.prune)
        lab.apply(change)
        return change

    def _execute(self, request: ExecRequest, standard: list[int]) -> None:
        """Run a program as the container would run it, and report its end; end it if the peer hangs up."""
        pod = self._pod(request.pod)
        container = self._container(request.pod, request.container)
        run = container.plan.run
        if not isinstance(run, Process):
            raise InputError("that container has no process of its own to run a command beside")
        if self._inbox.lost_descriptors:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if len(standard) != 3:
            raise InputError(f"a program needs three descriptors for its input, output and error, not {len(standard)}")
        env = (*run.env, *request.env.items())
        process = Process(run.program.runs(tuple(request.argv)), run.uid, run.gid, env, run.capabilities, run.cwd)
        failure: list[str] = []
        unforked: list[str] = []

        def heard(what: str, value: int | str) -> None:
            if what == "failed":
                failure.append(str(value))
            elif what == "unforked":
                unforked.append(str(value))
            elif what == "exited":
                self._running.discard(handle)
                if not self._closed:
                    ended = {"exited": os.waitstatus_to_exitcode(int(value)), "failure": failure}
                    self.send(errors.report(cannot_fork(unforked[0])) if unforked else ended)
                    self._wait()

        host = self._lab.host
        handle = host.spawn(
            pod.plan, process, heard, container.beside, request.argv, output=standard, terminal=request.terminal
        )
        self._running.add(handle)
