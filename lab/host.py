"""What containers need of the lab and of the pod that they live in."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lab.blueprint import PodPlan, Process
from lab.loop import Loop
from lab.program import Command, Standin
from lab.spawner import Handle, Place, Spawner
from lab.view import Cover, why_absent

if TYPE_CHECKING:
    from lab.container import LiveContainer


@dataclass(frozen=True)
class Host:
    """The lab: its loop, its fork servers, its namespaces, its logs, and what its pods are shown of the machine."""

    loop: Loop
    spawners: dict[tuple[str, ...], Spawner]
    inside: Callable[[tuple[str, str] | None], AbstractContextManager[None]]
    place: Callable[[PodPlan, bool, Sequence[str]], Place]
    logs: Path
    covers: Sequence[Cover] = ()

    def spawn(
        self,
        pod: PodPlan,
        process: Process,
        on_event: Callable[[str, int | str], None],
        words: Sequence[str] = (),
        **how: Any,
    ) -> Handle:
        """Spawn a process in `pod` from the fork server that has its program imported.

        It sees what the pod is shown, and the files that are among `words`, a command line of the lab's starter.
        """
        program = process.program
        preload = program.preload if isinstance(program, Standin) else ()
        place = self.place(pod, isinstance(program, Command) or program.files, words)
        absent = why_absent(Path(program.argv[0]), self.covers) if isinstance(program, Command) else ""
        return self.spawners[preload].spawn(process, place, on_event, absent=absent, **how)


class Owner(Protocol):
    """The pod, as its containers see it."""

    plan: PodPlan

    def changed(self) -> None:
        """Hear that a container's readiness changed."""

    def hook_returned(self, container: "LiveContainer") -> None:
        """Hear that the postStart hook has returned, however: what waits for it may go on."""

    def container_started(self, container: "LiveContainer") -> None:
        """Hear that the container counts as started: after its postStart hook and its startup probe."""

    def container_exited(self, container: "LiveContainer", status: int, *, failed: bool) -> None:
        """Hear its exit status, and whether it was ended because a probe or hook `failed`."""

    def hook_done(self) -> None:
        """Hear that a preStop hook is done."""
