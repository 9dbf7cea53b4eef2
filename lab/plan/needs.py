"""What the programs of a lab need of this machine: whether each can be run, and what pods must see for that.

Checked before a lab is started, so that what can't work is refused in advance.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sidelab.lab.base import identity, privileges
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Exec
from sidelab.lab.plan.blueprint import Blueprint, ContainerPlan, Process
from sidelab.lab.plan.machine_view import (
    LABS,
    OWN,
    View,
    around,
    holds_everything,
    machine,
    pods_own,
    program_itself,
    walk,
)
from sidelab.lab.plan.program_access import FoundProgram, User, look
from sidelab.lab.plan.registry import Command, Standin


class _Wanted(NamedTuple):
    """A command line that a container runs, and where it is specified; `refused` if the lab can't do without it."""

    where: str
    argv: Sequence[str]
    run: Process
    refused: bool = True


def refuse_missing_capabilities(blueprint: Blueprint) -> None:
    """Raise `MachineError` for a container that wants a capability that this process can't give it."""
    asking = [
        (pod, container, container.run.capabilities)
        for pod in blueprint.pods
        for container in (*pod.init, *pod.containers)
        if isinstance(container.run, Process) and container.run.capabilities
    ]
    if not asking or os.getuid() != 0:
        return
    own = identity.read().capabilities
    for pod, container, wanted in asking:
        privileges.refuse_missing(own, wanted, f"by container {container.name} of pod {pod.key[1]}")


def require(blueprint: Blueprint, exposed: Sequence[Path] = ()) -> View:
    """Return what the pods of `blueprint` are shown, so that their users can run its programs and this one.

    `exposed` is shown as well. Raises `InputError` for what can't be, and for a container's program that its user can't
    run. One that a probe or a hook names is the probe's failure, as in a cluster.
    """
    ends = tuple(_exposed(each) for each in exposed)
    known: dict[tuple[object, ...], FoundProgram] = {}
    shown = dict.fromkeys(program_itself())
    copies: set[Path] = set()
    for pod in blueprint.pods:
        several = sum(_is_command(each) for each in (*pod.init, *pod.containers)) > 1
        for where, argv, run, refused in _wanted(pod.key[1], (*pod.init, *pod.containers)):
            search = dict(run.env).get("PATH", "")
            sidecars = isinstance(run.program, Standin) and refused
            key = (argv[0], run.uid, search, run.cwd, sidecars)
            if key not in known:
                known[key] = look(argv[0], User(run.uid, ends), search, run.cwd, copied=sidecars)
            found = known[key]
            made_inside = found.own and several  # another container's program may put it there
            if found.problem and refused and not made_inside:
                raise InputError(f"{where}: {found.problem}")
            shown |= dict.fromkeys((*found.shown, *_named(argv[1:], ends), *_directory(run.cwd, ends)))
            copies |= {found.copy} if found.copy is not None else set()
    return machine(shown, exposed, copies)


def _exposed(path: Path) -> Path:
    """Return where a path to be exposed leads; raises `InputError` if it can't be exposed."""
    asked = f"--expose {path}"
    if not path.is_absolute():
        raise InputError(f"{asked}: give an absolute path")
    try:
        end = walk(path)[1]
        mode = end.stat().st_mode
    except OSError as error:
        raise InputError(f"{asked}: {error.strerror}: give a file or directory that is there") from None
    if end == Path("/"):
        raise InputError(f"{asked}: that is all of the machine: name what pods need of it")
    if end in OWN:
        raise InputError(f"{asked}: each pod has its own {end}: name what pods need of the machine's")
    lab = next((each for each in LABS if end.is_relative_to(each)), None)
    if lab is not None:
        raise InputError(f"{asked}: {lab} is the lab's own in each pod, and the machine's can't be shown")
    if stat.S_ISDIR(mode) and end.is_relative_to("/run"):
        raise InputError(f"{asked}: of the machine's /run only files and sockets can be shown: name one")
    if stat.S_ISREG(mode) and not mode & 0o004:
        raise InputError(f"{asked}: pods' users may not read it, who are others to it: `chmod o+r {end}`")
    return end


def _named(arguments: Sequence[str], exposed: Collection[Path]) -> Iterator[Path]:
    """Yield what to show for the files that a command line names, as `python3 /opt/mine/server.py` does.

    In a hidden directory, where programs keep secrets, it is only the file. Files that others may not read are skipped.
    """
    for word in arguments:
        if word.startswith("/") and "\0" not in word and os.access(word, os.R_OK) and Path(word).is_file():
            end = walk(Path(word))[1]
            if pods_own(end, exposed) is None and end.stat().st_mode & 0o004:
                yield Path(word)
                yield from [end] if any(part.startswith(".") for part in end.parts) else around(end)


def _directory(name: str, exposed: Collection[Path]) -> Iterator[Path]:
    """Yield what to show for a container's working directory: itself, unless it holds all sorts of things."""
    path = Path("/", name)
    if (
        name
        and os.access(path, os.F_OK)
        and pods_own(end := walk(path)[1], exposed) is None
        and not holds_everything(end)
    ):
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
