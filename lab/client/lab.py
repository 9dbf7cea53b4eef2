"""A running lab from outside: find it by its name, and send requests to its supervisor."""

import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sidelab.lab import errors
from sidelab.lab.base import framing
from sidelab.lab.client import lab_names, meeting
from sidelab.lab.errors import InputError, PodError
from sidelab.lab.keys import PodKey

if TYPE_CHECKING:
    from sidelab.lab.manifest import Manifest

_CONNECT_S = 5
_ANSWER_TIMEOUT_S = 15.0  # for every request, but not for the run time of a program
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Namespaces:
    """Descriptors of a lab's user namespace and of pods' network namespaces; the caller closes them."""

    user: int
    network: tuple[int, ...]


class Lab:
    """A running lab: a connection to its supervisor, which has the process id `pid` here."""

    def __init__(self, name: str) -> None:
        """Connect; raises `InputError` if no lab of this user has that name, `PodError` if it does not answer."""
        self.name = name
        for address in lab_names.addresses(name):
            self._link = meeting.open_socket()
            try:
                self.pid, uid = _connected(self._link, address)
            except ConnectionRefusedError:
                self._link.close()
                continue
            except BlockingIOError:
                self._link.close()
                raise OverloadedError(
                    f"lab {name!r} has taken no connection for {_CONNECT_S} s: its supervisor is stopped or "
                    f"overloaded: `sidelab down {name}` ends it in any case"
                ) from None
            if uid == os.getuid():
                self._link.settimeout(_ANSWER_TIMEOUT_S)
                return
            self._link.close()
        raise _not_found(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the lab keeps running."""
        self._link.close()

    def ask(self, verb: str, descriptors: Sequence[int] = (), **arguments: Any) -> tuple[dict[str, Any], list[int]]:
        """Send a request of `control_requests`; return the supervisor's answer and the descriptors that come with it.

        Raises `PodError` if there is no answer, and any error that the supervisor reports.
        """
        with self._while_it_lives():
            framing.send(self._link, {"verb": verb, **arguments}, descriptors)
        return self._hear()

    @contextmanager
    def _while_it_lives(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError:
            raise PodError(f"lab {self.name!r} ended: its supervisor (pid {self.pid}) hung up") from None
        except TimeoutError:
            raise PodError(
                f"lab {self.name!r} does not answer within {_ANSWER_TIMEOUT_S:g} s: its supervisor (pid {self.pid}) is "
                f"stopped or overloaded: `sidelab down {self.name}` ends it in any case"
            ) from None

    def _hear(self) -> tuple[dict[str, Any], list[int]]:
        with self._while_it_lives():
            answer, handed = framing.receive(self._link)
            if not answer:
                raise ConnectionResetError
        errors.raise_reported(answer)
        return answer, handed

    def status(self) -> dict[str, Any]:
        """Return what `sidelab status --json` prints: name, pods with addresses, containers, caveats."""
        return self.ask("status")[0]

    def pod(self, name: str) -> PodKey:
        """Return the key of the pod called `name` or `namespace/name`.

        Raises `InputError` if there is none, or if several namespaces have one but `default` has not.
        """
        keys = [(pod["namespace"], pod["name"]) for pod in self.status()["pods"]]
        namespace, slash, rest = name.partition("/")
        if slash:
            matches = [key for key in keys if key == (namespace, rest)]
        else:
            matches = [key for key in keys if key[1] == name]
            if ("default", name) in matches:
                matches = [("default", name)]
        if len(matches) == 1:
            return matches[0]
        shown = ", ".join("/".join(key) for key in (matches or keys)[:20])
        problem = "several pods are called" if matches else "no pod is called"
        raise InputError(f"{problem} {name!r} in lab {self.name!r}: choose one of {shown}")

    def addresses(self, pod: PodKey) -> tuple[str, ...]:
        """Return the pod's addresses, IPv4 before IPv6."""
        found = next(each for each in self.status()["pods"] if (each["namespace"], each["name"]) == pod)
        return found["ipv4"], found["ipv6"]

    def manifest(self, pod: PodKey) -> "Manifest":
        """Return what the pod was built from, including what was injected, as a manifest of this one pod."""
        from sidelab.lab.manifest import decode  # noqa: PLC0415  # few callers need it, and importing it is slow

        return decode([("the lab's own manifest", self.ask("manifest", pod=pod)[0]["manifest"])])

    def log(self, pod: PodKey, container: str | None = None) -> int:
        """Return a descriptor of the container's log, from its beginning; the caller closes it."""
        return self.ask("log", pod=pod, container=container)[1][0]

    def open_socket(self, pod: PodKey | None, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a socket opened in the pod's network namespace (None: the node's); it stays in that namespace."""
        handed = self.ask("socket", pod=pod, family=family, type=kind, protocol=protocol)[1]
        return socket.socket(fileno=handed[0])

    def namespaces(self, pods: Sequence[PodKey]) -> Namespaces:
        """Return descriptors to enter the pods' network namespaces with."""
        user, *network = self.ask("namespaces", pods=list(pods))[1]
        return Namespaces(user, tuple(network))

    def execute(
        self,
        pod: PodKey,
        argv: Sequence[str],
        standard: tuple[int, int, int],
        container: str | None = None,
        env: Mapping[str, str] | None = None,
        *,
        terminal: bool = False,
        meanwhile: Callable[[socket.socket], None] | None = None,
    ) -> int:
        """Run `argv` in a pod with the descriptors `standard` as its input, output and error; return its exit status.

        A negative status is the signal that ended it. With `terminal`, `standard` is the far end of a terminal that
        becomes the program's controlling terminal; `meanwhile(link)` serves its near end until `link` is readable.
        """
        self.ask(
            "exec",
            standard,
            pod=pod,
            argv=list(argv),
            container=container,
            env=dict(env or {}),
            terminal=terminal,
        )
        self._link.settimeout(None)  # a program may run for any length of time
        try:
            if meanwhile is not None:
                meanwhile(self._link)
            return int(self._hear()[0]["exited"])
        finally:
            self._link.settimeout(_ANSWER_TIMEOUT_S)

    def asked_to_stop(self) -> bool:
        """Ask the supervisor to end; return whether it does, or has already begun to: false if it does not answer."""
        self._link.settimeout(_STOP_TIMEOUT_S)
        try:
            framing.send(self._link, {"verb": "stop"})
            framing.receive(self._link)
        except TimeoutError:
            return False
        except OSError:  # it hung up: it was already asked to stop
            return True
        return True

    @property
    def hung_up(self) -> bool:
        """Whether the supervisor's end of the connection is closed; while it is not, `pid` is the supervisor's."""
        return framing.hung_up(self._link)


def _connected(link: socket.socket, address: bytes) -> tuple[int, int]:
    """Connect, and return the listener's pid and uid; raises `BlockingIOError` if it does not accept in time."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", _CONNECT_S, 0))
    link.connect(address)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", 0, 0))
    pid, uid, _ = struct.unpack("=iII", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid, uid


class OverloadedError(PodError):
    """The supervisor's queue of connections to accept is full."""


class NotAnsweringError(InputError):
    """The lab called `lab` exists, but nothing accepts connections to it: it is just starting, or just ending."""

    def __init__(self, lab: str) -> None:
        super().__init__(f"lab {lab!r} does not answer: it is still starting, or ends just now: try again")
        self.lab = lab


def _not_found(name: str) -> InputError:
    labs = lab_names.running()
    if name in labs and meeting.reachable():
        return NotAnsweringError(name)
    if name in labs:
        return InputError(
            f"lab {name!r} can't be reached from this network namespace: leave it (`ip netns exec`, `unshare -n`), or "
            "try as root"
        )
    others = f"labs: {', '.join(labs)}" if labs else "nor is any other"
    return InputError(f"no lab named {name!r} is running; {others} (`sidelab up` starts one)")


def find(name: str | None, choose: str = "--lab {}") -> Lab:
    """Connect to the lab called `name`, or to the only one running; `choose` shows how to name one of several.

    Raises `InputError` if there is no such lab, or if there are several to choose from.
    """
    if name is not None:
        return Lab(name)
    labs = lab_names.running()
    if len(labs) == 1:
        return Lab(labs[0])
    if not labs:
        raise InputError("no lab is running: `sidelab up MANIFEST` starts one")
    raise InputError(f"several labs are running ({', '.join(labs)}): say which, as in {choose.format(labs[0])}")
