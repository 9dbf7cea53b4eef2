"""What the programs of a lab need of this machine: whether each can be run, and what pods are shown for them.

Asked before a lab is started, so that what can't work is refused before anything is.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lab import identity, privileges
from lab.blueprint import Blueprint, ContainerPlan, Process
from lab.errors import InputError
from lab.manifest import Exec
from lab.program import Command, Standin
from lab.reach import Found, User, look, user
from lab.view import View, around, is_closed, is_home, plan, pods_own, program_itself, walk


class _Wanted(NamedTuple):
    """A command line that a container runs, and where it is asked for; `refused` if the lab is no good without it."""

    where: str
    argv: Sequence[str]
    run: Process
    refused: bool = True


def refuse_missing_capabilities(blueprint: Blueprint) -> None:
    """Raise `MachineError` for a container that asks for a capability that this process can't give to it."""
    asking = [
        (pod, container, container.run.capabilities)
        for pod in blueprint.pods
        for container in (*pod.init, *pod.containers)
        if isinstance(container.run, Process) and container.run.capabilities
    ]
    if not asking or os.getuid() != 0:
        return
    own = identity.read().capabilities
    for pod, container, names in asking:
        privileges.refuse_missing(own, names, f"by container {container.name} of pod {pod.key[1]}")


def require(blueprint: Blueprint) -> View:
    """Return what the pods of `blueprint` are shown, so that their users can run its programs and this one.

    Raises `InputError` for a container's program that its user can't run. One that a probe or a hook names is the
    probe's failure, as in a cluster.
    """
    users: dict[tuple[object, ...], User] = {}
    known: dict[tuple[object, ...], Found] = {}
    shown = dict.fromkeys((path, is_closed) for path in program_itself())
    copies: set[Path] = set()
    for pod in blueprint.pods:
        several = sum(_is_command(each) for each in (*pod.init, *pod.containers)) > 1
        for where, argv, run, refused in _wanted(pod.key[1], (*pod.init, *pod.containers)):
            ids = (run.uid, run.gid, run.capabilities)
            who = users.setdefault(ids, user(*ids))
            search = dict(run.env).get("PATH", "")
            sidecars = isinstance(run.program, Standin) and refused
            key = (argv[0], *ids, search, run.cwd, sidecars)
            if key not in known:
                known[key] = look(argv[0], who, search, run.cwd, copied=sidecars)
            found = known[key]
            made_inside = found.own and several  # another container's program may put it there
            if found.problem and refused and not made_inside:
                raise InputError(f"{where}: {found.problem}")
            paths = (*found.shown, *_named(argv[1:]), *_directory(run.cwd))
            copies |= {found.copy} if found.copy is not None else set()
            shown |= dict.fromkeys((path, who.is_shut_out) for path in paths)
    return View(plan(shown), tuple(sorted(copies)))


def _named(arguments: Sequence[str]) -> Iterator[Path]:
    """Yield what to show for the files that a command line names, as `python3 /opt/mine/server.py` does.

    Of a hidden directory, where programs keep secrets, it is the file alone.
    """
    for word in arguments:
        if word.startswith("/") and "\0" not in word and os.access(word, os.R_OK) and Path(word).is_file():
            end = walk(Path(word))[1]
            if pods_own(end) is None:
                yield Path(word)
                yield from [end] if any(part.startswith(".") for part in end.parts) else around(end)


def _directory(name: str) -> Iterator[Path]:
    """Yield what to show for a container's working directory: itself, unless it is a home."""
    path = Path("/", name)
    if name and os.access(path, os.F_OK) and pods_own(end := walk(path)[1]) is None and not is_home(end):
        yield path


def _wanted(pod: str, containers: Sequence[ContainerPlan]) -> Iterator[_Wanted]:
    for container in containers:
        run, where = container.run, f"pod {pod}: container {container.name}"
        if not isinstance(run, Process):
            continue
        argv = run.program.starts if isinstance(run.program, Standin) else run.program.argv
        if argv:
            yield _Wanted(where, argv, run)
        probes = [each.check for each in (container.startup, container.liveness, container.readiness) if each]
        for check in (*probes, container.post_start, container.pre_stop):
            if check is not None and isinstance(check.handler, Exec):
                program = run.program.runs(check.handler.command)
                if isinstance(program, Command):
                    yield _Wanted(where, program.argv, run, refused=False)


def _is_command(container: ContainerPlan) -> bool:
    return isinstance(container.run, Process) and isinstance(container.run.program, Command)
