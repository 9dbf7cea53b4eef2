"""Attach the user's terminal to a program in a pod, through a pseudo-terminal whose far end goes into the sandbox.

This process relays the near end, so the program has a controlling terminal of its own: job control, window sizes and
Ctrl-C work as on a real one, and nothing in the pod holds the user's terminal.
"""

import fcntl
import os
import select
import signal
import socket
import struct
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sidelab.lab.client.lab import Lab
from sidelab.lab.keys import PodKey


def attach(lab: Lab, pod: PodKey, argv: Sequence[str], container: str | None) -> int:
    """Run `argv` in a pod on this process's terminal (standard input); return its exit status as `Lab.execute` does."""
    near, far = os.openpty()
    try:
        with _raw(near):
            return lab.execute(
                pod,
                argv,
                (far, far, far),
                container,
                {"TERM": os.environ.get("TERM", "dumb")},
                terminal=True,
                meanwhile=lambda link: _relay(near, far, link),
            )
    finally:
        os.close(near)


@contextmanager
def _raw(near: int) -> Iterator[None]:
    """Put the user's terminal into raw mode, and keep the pseudo-terminal the same size."""

    def resize(*_: object) -> None:
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        fcntl.ioctl(near, termios.TIOCSWINSZ, size)

    before = termios.tcgetattr(0)
    handler = signal.signal(signal.SIGWINCH, resize)
    resize()
    tty.setraw(0, termios.TCSADRAIN)  # keeps what was typed in the meantime
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, handler)


def _relay(near: int, far: int, link: socket.socket) -> None:
    """Copy both ways until the supervisor sends something; from here on only the program holds the far end."""
    os.close(far)
    sources = [0, near, link.fileno()]
    while True:
        ready = select.select(sources, [], [])[0]
        if near in ready and not _copy(near, 1):
            sources.remove(near)  # EIO: the last process at the far end has closed it
        if link.fileno() in ready and near not in ready:
            return
        if 0 in ready and not _copy(0, near):
            sources.remove(0)


def _copy(source: int, target: int) -> bool:
    try:
        data = os.read(source, 65536)
    except OSError:
        return False
    while data:
        data = data[os.write(target, data) :]
        if not data:
            return True
    return False
