"""What containers need of the lab and of the pod that they live in."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.keys import PodKey
from sidelab.lab.plan.blueprint import PodPlan, Process
from sidelab.lab.plan.machine_view import Cover, why_absent
from sidelab.lab.plan.registry import Command, Standin
from sidelab.lab.runtime.logfile import Logs
from sidelab.lab.runtime.spawner import Handle, ProcessPlace, Spawner


def sees_files(program: Command | Standin) -> bool:
    """Whether a program is shown the pod's own view of the file system: those of the host are, some stand-ins."""
    return isinstance(program, Command) or program.files


@dataclass(frozen=True)
class Host:
    """The lab: its loop, its fork servers, its namespaces, its logs, and what its pods are shown of the machine.

    `incidents` are the failures that it has survived.
    """

    loop: Loop
    spawners: dict[tuple[str, ...], Spawner]
    inside: Callable[[PodKey | None], AbstractContextManager[None]]
    place: Callable[..., AbstractContextManager[ProcessPlace]]
    logs: Logs
    incidents: Incidents
    covers: Sequence[Cover] = ()

    def spawn(
        self,
        pod: PodPlan,
        process: Process,
        on_event: Callable[[str, int | str], None],
        beside: int | None = None,
        words: Sequence[str] = (),
        **how: Any,
    ) -> Handle:
        """Spawn a process in `pod` from the fork server that has its program imported.

        It is a container's, or runs `beside` one whose process has that pid; 0 stands for one that runs no program of
        the machine. It sees what the pod is shown, and the files that are among `words`, a command line of the lab's
        starter.
        """
        program = process.program
        preload = program.preload if isinstance(program, Standin) else ()
        files = sees_files(program)
        absent = why_absent(Path(program.argv[0]), self.covers) if isinstance(program, Command) else ""
        with self.place(pod, files=files, stranger=is_stranger(program), beside=beside, words=words) as place:
            return self.spawners[preload].spawn(process, place, on_event, absent=absent, **how)


def is_stranger(program: Command | Standin) -> bool:
    """Tell whether `program` is one of the machine, or starts one: it then sees nothing of other pods or of the lab."""
    return isinstance(program, Command) or bool(program.starts)
