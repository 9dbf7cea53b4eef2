"""A process that is asked to end, and killed when it does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidelab.lab.base.loop import Loop
from sidelab.lab.base.processes import stop

GRACE_S = 0.2


@contextmanager
def started(program: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Have a process run a program that says when it is ready."""
    program = f"import signal, sys, time\n{program}\nsys.stdout.write('.')\nsys.stdout.flush()\ntime.sleep(60)\n"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process


def stopped(process: "subprocess.Popen[bytes]", first: signal.Signals = signal.SIGTERM) -> int:
    """Stop a process by means of an event loop; return what it ended with."""
    loop = Loop()
    pidfd = os.pidfd_open(process.pid)
    loop.watch(pidfd, loop.stop)
    stop.ask_then_kill(process.send_signal, loop.after, GRACE_S, first)
    loop.run()
    loop.close()
    os.close(pidfd)
    return process.wait()


def test_who_hears_ends_by_the_first_signal():
    """That is SIGTERM, or another one that is asked for."""
    with started("") as process:
        assert -signal.SIGTERM == stopped(process)
    with started("") as process:
        assert -signal.SIGHUP == stopped(process, signal.SIGHUP)


def test_who_does_not_hear_is_killed():
    """When the grace period is over."""
    with started("signal.signal(signal.SIGTERM, signal.SIG_IGN)") as process:
        assert -signal.SIGKILL == stopped(process)


def test_a_cancelled_timer_kills_nobody():
    """It is for the owner to cancel when the process has ended, or has been reprieved."""
    sent: list[int] = []
    loop = Loop()
    stop.ask_then_kill(sent.append, loop.after, GRACE_S).cancel()
    loop.after(2 * GRACE_S, loop.stop)
    loop.run()
    loop.close()
    assert [signal.SIGTERM] == sent


def test_a_killed_child_is_waited_for():
    """Nothing of it is left, not even a zombie."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    stop.kill(pid)
    assert not Path("/proc", str(pid)).exists()
