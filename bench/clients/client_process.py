"""A measuring process of ours that enters client pods: how it is started and told, and how it begins.

It is told over a socket whose descriptor is its argument; with the first message come descriptors of the namespaces.
What is measured, and the messages after the first, are each process's own business.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidelab.lab.base import framing, syscalls
from sidelab.lab.base.exhausted import forking
from sidelab.lab.errors import PodError

if TYPE_CHECKING:
    from sidelab.lab.client.lab import Lab
    from sidelab.lab.keys import PodKey

_CHECKOUT = Path(__file__).parents[2]
_END_S = 2.0
_ANSWER_S = 3600.0  # each of its waits has a deadline of its own; this is for a process that was stopped


@contextmanager
def started(module: str, lab: "Lab", pods: "Sequence[PodKey]", order: Mapping[str, Any]) -> Iterator[socket.socket]:
    """Run `python -m MODULE` for the length of the block, tell it `order`, and yield our end of its socket.

    It is given the network namespaces of `pods`, in their order, and ends when the socket closes.
    """
    namespaces = lab.namespaces(pods)
    descriptors = (namespaces.user, *namespaces.network)
    ours, theirs = socket.socketpair()
    with ours:
        with forking():
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd=_CHECKOUT,
                process_group=0,  # a terminal's Ctrl-C is for us; this one ends with its socket
            )
        theirs.close()
        try:
            framing.send(ours, dict(order), descriptors)
            yield ours
        finally:
            ours.close()
            _end(process)
            for fd in descriptors:
                os.close(fd)


def ask(link: socket.socket, order: Mapping[str, Any], who: str) -> dict[str, Any]:
    """Send an order to a process that was `started` and return its answer.

    Raises `PodError` in its own words where it failed; `who` is what to call it.
    """
    answer: dict[str, Any] = {}
    link.settimeout(_ANSWER_S)
    with suppress(ConnectionError):
        framing.send(link, dict(order))
    try:
        answer, _ = framing.receive(link)
    except TimeoutError:
        raise PodError(f"{who} has not answered for {_ANSWER_S:g} s") from None
    except ConnectionError:
        pass  # it has ended, and may have said why before
    if not answer or "error" in answer:
        raise PodError(f"{who} failed: {answer.get('error', 'it ended without a word')}")
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process whose socket was closed, and insist if it does not notice."""
    try:
        process.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(serve: Callable[[socket.socket], None]) -> None:
    """Be such a process: `serve` the socket that our argument names; send a `PodError` over it, and end.

    Also ends where the other end was closed while it was busy, as a run that is interrupted does.
    """
    with socket.socket(fileno=int(sys.argv[1])) as link:
        try:
            serve(link)
        except PodError as error:
            with suppress(ConnectionError):  # whoever asked may be gone
                framing.send(link, {"error": str(error)})
            raise SystemExit(error.exit_status) from None
        except ConnectionError:
            if not framing.hung_up(link):
                raise
            raise SystemExit(1) from None  # nobody wants the answer any more


def begin(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Take the order, enter the lab's user namespace and keep to the CPU of `order["cpu"]`.

    Returns the order and the descriptors of the pods' network namespaces.
    """
    order, descriptors = framing.receive(link)
    user, *pods = descriptors
    if os.fstat(user).st_ino != Path("/proc/self/ns/user").stat().st_ino:
        syscalls.setns(user, syscalls.CLONE_NEWUSER)
    os.sched_setaffinity(0, {order["cpu"]})
    return order, pods
