"""Watches for files renamed into a directory: by inotify, or by dnotify if the user has no inotify instance left.

To the kernel all agents of a lab are one user, which by default may have 128 inotify instances; a lab may have a
thousand meshed pods. dnotify (fcntl(2), F_NOTIFY) has no such limit, and its sparse information suffices here.
"""

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Protocol

from sidelab.lab.base import syscalls
from sidelab.lab.base.inotify import Watch
from sidelab.sidecar.proxy.io.proxy_loop import READ, ProxyLoop

_LIMITS = (errno.EMFILE, errno.ENOSPC)


class Source(Protocol):
    """A source of events."""

    def close(self) -> None:
        """Stop watching."""


def watch(loop: ProxyLoop, directories: Sequence[str], changed: Callable[[], None]) -> Source:
    """Call `changed` in the loop whenever a file is renamed into one of `directories`, until the source is closed.

    Raises `OSError` for a path that is not a directory.
    """
    try:
        return _Inotify(loop, directories, changed)
    except OSError as error:
        if error.errno not in _LIMITS:
            raise
        return by_dnotify(loop, directories, changed)


class _Inotify:
    def __init__(self, loop: ProxyLoop, directories: Sequence[str], changed: Callable[[], None]) -> None:
        first, *others = directories
        self._loop = loop
        self._watch = Watch(first)
        self._changed = changed
        try:
            for each in others:
                syscalls.inotify_watch_moves_to(self._watch.fileno(), each)
        except OSError:
            self._watch.close()
            raise
        loop.watch(self._watch.fileno(), READ, self._told)

    def close(self) -> None:
        self._loop.forget(self._watch.fileno())
        self._watch.close()

    def _told(self, _events: int) -> None:
        self._watch.names()
        self._changed()


def by_dnotify(loop: ProxyLoop, directories: Sequence[str], changed: Callable[[], None]) -> Source:
    """Do the same as `watch`, by SIGIO, which the kernel sends as long as the directories stay open."""
    signal.signal(signal.SIGIO, lambda *_: loop.call_threadsafe(changed))
    with ExitStack() as opened:
        for each in directories:
            directory = os.open(each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, directory)
            fcntl.fcntl(directory, fcntl.F_NOTIFY, fcntl.DN_RENAME | fcntl.DN_CREATE | fcntl.DN_MULTISHOT)
        return opened.pop_all()
