"""Verbs that work inside a pod: its logs, programs, a shell."""

import os
import stat
import sys

from sidelab.cli.command import (
    LAB,
    POD,
    Argument,
    Given,
    Verb,
    leave_as,
)
from sidelab.lab.base.text.escaping_stream import LogText
from sidelab.lab.errors import InputError


def logs(given: Given) -> None:
    """Print a container's log, escaped at a terminal and in CI."""
    from sidelab.lab.client.lab import find
    from sidelab.lab.client.logs import Output, copy

    if given.tail is not None and given.tail < -1:
        raise InputError(f"logs: --tail {given.tail}: give a number of lines; -1 means all")
    tail = None if given.tail == -1 else given.tail
    with find(given.lab) as found:
        output: Output = LogText(sys.stdout) if _is_looked_at() and not given.raw else sys.stdout.buffer
        copy(found, found.pod(given.pod), given.container, output, follow=given.follow, tail=tail)


def _is_looked_at() -> bool:
    """Return whether standard output goes to a terminal, or to a CI system, which obeys commands in its lines."""
    in_ci = any(os.environ.get(name) for name in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION"))
    return sys.stdout.isatty() or (in_ci and not stat.S_ISREG(os.fstat(1).st_mode))


def exec_(given: Given) -> None:
    """Run a program of this machine inside a pod, as the container's user, and return its exit status."""
    from sidelab.lab.client.lab import find

    if not given.command:
        raise InputError(
            f"exec: no command given: name what to run in pod {given.pod}, as in `sidelab exec {given.pod} -- ls -l`; "
            f"`sidelab shell {given.pod}` opens a shell"
        )
    terminal = given.tty and sys.stdin.isatty()
    if given.tty and not terminal:
        sys.stderr.write("warning: -t: standard input is not a terminal, so the command gets no terminal\n")
    with find(given.lab) as found:
        pod = found.pod(given.pod)
        if terminal:
            from sidelab.lab.client.attach import attach

            leave_as(attach(found, pod, given.command, given.container))
        leave_as(found.execute(pod, given.command, (0, 1, 2), given.container))


def shell(given: Given) -> None:
    """Open a shell inside a pod, on this terminal."""
    from sidelab.lab.client.attach import attach
    from sidelab.lab.client.lab import find

    if not sys.stdin.isatty():
        raise InputError("standard input is not a terminal: use `sidelab exec POD -- sh` for a script")
    with find(given.lab) as found:
        leave_as(attach(found, found.pod(given.pod), [os.environ.get("SHELL", "/bin/sh")], given.container))


_CONTAINER = Argument("--container", "-c", metavar="CONTAINER", help="which container (default: the first)")
_IN_POD = (POD, LAB, _CONTAINER)

VERBS = (
    Verb(
        "logs",
        logs,
        "sidelab logs nginx -c istio-proxy -f",
        (
            *_IN_POD,
            Argument("--follow", "-f", action="store_true", help="keep printing as the container writes"),
            Argument("--tail", type=int, metavar="N", help="only the last N lines (default: all)"),
            Argument(
                "--raw", action="store_true", help="print every byte unchanged, even control characters at a terminal"
            ),
        ),
    ),
    Verb(
        "exec",
        exec_,
        "sidelab exec client -- curl -s http://10.244.0.2/",
        (
            *_IN_POD,
            Argument(
                "--stdin",
                "-i",
                action="store_true",
                help="pass on standard input; always done, accepted for compatibility with kubectl",
            ),
            Argument("--tty", "-t", action="store_true", help="give the command a terminal of its own"),
        ),
        runs_command=True,
    ),
    Verb("shell", shell, "sidelab shell nginx", _IN_POD),
)
