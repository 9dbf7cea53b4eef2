"""Start a lab from outside.

with foreground(blueprint, "bench-1") as lab:      # ends with the block, and with this process
lab = background(blueprint, "lab")                 # outlives this process; `client.lab.find("lab")` finds it again
"""

import json
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sidelab.lab.client import lab_names, meeting
from sidelab.lab.client.ending import stop
from sidelab.lab.client.lab import Lab
from sidelab.lab.errors import InputError, PodError
from sidelab.lab.runtime import logfile
from sidelab.lab.sandbox import sandbox

if TYPE_CHECKING:
    from sidelab.lab.plan.blueprint import Blueprint

Progress = Callable[[int, int], None]

_READY_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class LabOptions:
    """Options for starting a lab, apart from what it runs; see `background`."""

    host_ids: bool = False
    log_bytes: int | None = None


def background(
    blueprint: "Blueprint",
    name: str,
    *,
    timeout_s: float = _READY_TIMEOUT_S,
    progress: Progress | None = None,
    exposed: Sequence[Path] = (),
    host_ids: bool = False,
    log_bytes: int | None = None,
    report: Callable[[Lab], None] = lambda _: None,
) -> Lab:
    """Start a lab that outlives this process, and return when every pod is ready and `report` has been called with it.

    Anything that `report` raises, a signal included, ends the lab. Pods see the machine's `exposed` paths besides what
    they need. With `host_ids` they have no user namespace of their own: uid 0 of a container is the user that starts
    the lab. `log_bytes` is how much is kept of each container's log: 10 MiB, or less if that is too much for this
    machine's memory.

    Raises `InputError` for what can't be exposed, for a name in use and for a program that its container can't run,
    `MachineError` if no sandbox can be made, `PodError` if a pod fails; then nothing is left.
    """
    options = LabOptions(host_ids, log_bytes)
    with _started(blueprint, name, timeout_s, progress, exposed, cpus=None, background=True, options=options) as box:
        try:
            lab = Lab(name)
        except InputError:
            raise PodError(f"lab {name!r} was ready, and has ended since") from None
        try:
            report(lab)
            with _undisturbed():
                box.tell(b"detach")
                box.release()
        except BaseException:  # once detached, it would not end with us
            stop(lab)
            raise
    return lab


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Block signals for the length of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def foreground(
    blueprint: "Blueprint",
    name: str,
    *,
    timeout_s: float = _READY_TIMEOUT_S,
    cpus: Collection[int] | None = None,
    progress: Progress | None = None,
) -> Iterator[Lab]:
    """Run a lab for the length of the block, with everything in it scheduled on `cpus` (None: all).

    Raises what `background` raises.
    """
    with _started(blueprint, name, timeout_s, progress, exposed=(), cpus=cpus, background=False) as box:
        try:
            with Lab(name) as lab:
                yield lab
        except PodError:
            box.raise_last_words()
            raise
        finally:
            box.kill()


@contextmanager
def _started(
    blueprint: "Blueprint",
    name: str,
    timeout_s: float,
    progress: Progress | None,
    exposed: Sequence[Path],
    *,
    cpus: Collection[int] | None,
    background: bool,
    options: LabOptions = LabOptions(),
) -> Iterator[sandbox.Sandbox]:
    from sidelab.lab.plan import needs  # noqa: PLC0415  # only starting a lab needs it

    view = needs.require(blueprint, exposed)
    needs.refuse_missing_capabilities(blueprint)
    kept = logfile.bound_bytes(options.log_bytes, sum(len(pod.init) + len(pod.containers) for pod in blueprint.pods))
    if background:
        meeting.refuse_unreachable()
    listener = lab_names.claim(name)

    def supervise(inside: sandbox.Inside) -> None:
        from sidelab.lab.runtime.supervision.order import Order  # noqa: PLC0415  # only the supervisor needs it
        from sidelab.lab.runtime.supervision.supervisor import run  # noqa: PLC0415  # the same

        order = Order(name, blueprint, view, timeout_s, background, cpus, kept, options.host_ids)
        run(inside, listener, order)

    with listener:
        box = sandbox.start(supervise, keep=(listener.fileno(),))
    try:
        _await_ready(box, progress)
    except BaseException:
        box.kill()
        raise
    yield box


def _await_ready(box: sandbox.Sandbox, progress: Progress | None) -> None:
    while True:
        message = json.loads(box.hear()[0])
        if "ready" in message:
            return
        if progress is not None:
            done, total = message["progress"]
            progress(done, total)
