"""Stop a lab from outside: ask its supervisor to stop, and kill it if it does not answer or does not end."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from sidelab.lab.client.lab import Lab, NotAnsweringError, OverloadedError, find
from sidelab.lab.client.lab_names import inodes, running
from sidelab.lab.errors import InputError, PodError

_LOOK_AGAIN_S = 0.02
_STARTING_TIMEOUT_S = 10.0
_GONE_TIMEOUT_S = 60.0
_KILLED_TIMEOUT_S = 10.0


def end(name: str | None, choose: str = "--lab {}", *, seen: bool = False) -> None:
    """End the lab called `name`, or the only one running, in any state; return when its last process is gone.

    A lab that is starting gets ten seconds to start answering, then it is killed. Raises what `find` raises, except
    that a lab that was `seen` (by the caller, or here) and is now gone counts as ended. Raises `PodError` if it does
    not end.
    """
    deadline_s = time.monotonic() + _STARTING_TIMEOUT_S
    seen = seen or name in running()
    while True:
        try:
            stop(find(name, choose))
        except NotAnsweringError as error:
            seen = True
            if time.monotonic() > deadline_s and not _kill_holders(error.lab):
                raise
            time.sleep(_LOOK_AGAIN_S)
        except OverloadedError:  # it accepts no connection in time
            if name is None or not _kill_holders(name):
                raise
            return
        except InputError:
            if not seen:
                raise
            return
        else:
            return


def stop(lab: Lab) -> None:
    """End a lab and close the connection to it; return when its last process is gone.

    Ask its supervisor to stop, and kill it if it does not answer or does not end within a minute. Raises `PodError` if
    it does not end even then.
    """
    if not lab.pid:
        raise InputError(
            f"lab {lab.name!r} runs in another pid namespace, such as another container's: end it from there"
        )
    try:
        pidfd = os.pidfd_open(lab.pid)
    except ProcessLookupError:
        lab.close()
        return
    try:
        # As long as its end is open, the descriptor refers to the supervisor, so killing it is safe. Otherwise it has
        # ended, and the pid may belong to another process by now.
        if not lab.hung_up and not (lab.asked_to_stop() and _ends(pidfd, _GONE_TIMEOUT_S)):
            _kill(pidfd, f"lab {lab.name!r}: its supervisor (pid {lab.pid})")
    finally:
        os.close(pidfd)
        lab.close()


def _kill(pidfd: int, what: str) -> None:
    """Kill a process and wait until it ends. Raises `PodError` if it does not, as in a frozen control group."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    if not _ends(pidfd, _KILLED_TIMEOUT_S):
        raise PodError(
            f"{what} does not end, even killed: it waits for the kernel (`ps` says D), or its control group is frozen"
        )


def _kill_holders(name: str) -> bool:
    """Kill the processes of this user that hold the socket of a lab that never listened; return whether any did."""
    held = inodes(name)
    found = False
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        if pid == os.getpid() or held.isdisjoint(_sockets(process)):
            continue
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                if not held.isdisjoint(_sockets(process)):  # still so: the descriptor refers to that process
                    found = True
                    _kill(pidfd, f"lab {name!r}: the process that starts it (pid {pid})")
            finally:
                os.close(pidfd)
    return found


def _sockets(process: Path) -> Iterator[str]:
    """Yield the inodes of the sockets that a process of this user has open."""
    try:
        if process.stat().st_uid != os.getuid():
            return
        for each in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(each).removeprefix("socket:[").removesuffix("]")  # noqa: PTH115  # it is not a path
    except OSError:
        return  # it has ended


def _ends(pidfd: int, timeout_s: float) -> bool:
    return bool(select.select([pidfd], [], [], timeout_s)[0])
