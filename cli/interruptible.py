"""What long commands have in common: they can be interrupted, and report on standard error what they do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible(line: str) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the block with one line, `line` unless there is one already."""
    from sidelab.bench.base.interruption import Interrupted, raised

    with raised():
        try:
            yield
        except Interrupted as stop:
            raise Interrupted(stop.number, str(stop) or line) from None


def say(line: str, *, leading: bool = True) -> None:
    """Print a line on standard error, with our name `leading` as in an error."""
    sys.stderr.write(f"{'sidelab: ' if leading else ''}{line}\n")
