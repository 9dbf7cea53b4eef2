"""Starting a lab from manifests."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sidelab.cli import output
from sidelab.cli.command import (
    IMAGES,
    JSON,
    Argument,
    Given,
    Verb,
)
from sidelab.cli.commands.lab_commands import print_status
from sidelab.cli.commands.manifest_commands import MANIFESTS, RULES, injected
from sidelab.lab.base import identity
from sidelab.lab.base.text.escaping_stream import styled
from sidelab.lab.errors import InputError

if TYPE_CHECKING:
    from sidelab.lab.client.lab import Lab


def _starter() -> str:
    return "you" if os.getuid() else "this machine's root, and its capabilities are the machine's"


def up(given: Given) -> None:
    """Start a lab in the background and wait until every pod is ready."""
    from dataclasses import replace

    from sidelab.cli.registered_kinds import known
    from sidelab.lab.client.starting import background
    from sidelab.lab.manifest.registered import doubts
    from sidelab.lab.plan.blueprint import draw
    from sidelab.lab.standins.standin_images import STANDIN, chosen, programs
    from sidelab.sidecar.istio_images import IMAGES as MESH
    from sidelab.sidecar.pod_rules import warnings

    if not 0 < given.timeout < float("inf"):
        raise InputError(f"up: --timeout {given.timeout:g}: give a number of seconds greater than 0")
    identity.decide(identity.read())
    manifest = injected(given.manifests, given.rules)
    kinds = known()
    blueprint = draw(manifest, chosen(given.images) + MESH, kinds)
    if given.images != STANDIN:
        caveats = (f"image {image}: {program}" for image, program in programs(given.images).items())
        blueprint = replace(blueprint, caveats=(*blueprint.caveats, *caveats))
    whole = blueprint.manifest
    for warning in (*warnings(whole.pods), *doubts(whole.objects, whole, kinds)):
        sys.stderr.write(f"warning: {warning}\n")
    if given.host_ids:
        sys.stderr.write(f"warning: --host-ids: uid 0 of a container is {_starter()}; trust this manifest\n")

    def report(lab: "Lab") -> None:
        progress.close()
        try:
            print_status(lab, as_json=given.json)
            sys.stdout.flush()
        except BrokenPipeError:  # its reader has stopped reading, and the lab is up
            output.discard()

    with ExitStack() as progress:
        background(
            blueprint,
            given.lab,
            timeout_s=given.timeout,
            progress=progress.enter_context(_progress()),
            exposed=[Path(each).absolute() for each in given.expose],
            host_ids=given.host_ids,
            log_bytes=_bytes_of("--log-max", given.log_max),
            report=report,
        ).close()


def _bytes_of(option: str, text: str | None) -> int | None:
    """Return the bytes of a Kubernetes quantity, such as 512Ki or 10M; None for None."""
    if text is None:
        return None
    digits = text.rstrip("KMGik")
    unit = _UNITS.get(text[len(digits) :])
    if not digits.isascii() or not digits.isdigit() or unit is None or len(digits) > 18:
        raise InputError(f"{option} {text!r} is not a valid size: write it as 512Ki, 10Mi or 1G")
    return int(digits) * unit


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show on a terminal how many pods are ready during the block, then clear the line."""
    shown = ""

    def show(done: int, total: int) -> None:
        nonlocal shown
        shown = f"{done} of {total} pods ready"
        styled(sys.stderr).write(f"\r{shown}")

    def stay_quiet(_done: int, _total: int) -> None: ...

    try:
        yield show if sys.stderr.isatty() else stay_quiet
    finally:
        if shown:
            styled(sys.stderr).write(f"\r{'':{len(shown)}}\r")


_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

VERBS = (
    Verb(
        "up",
        up,
        "sidelab up examples/nginx-injected.yaml",
        (
            MANIFESTS,
            Argument(
                "--lab", "-l", "--name", "-n", default="lab", metavar="NAME", help="the lab's name (default: lab)"
            ),
            Argument(
                "--timeout",
                type=float,
                default=60.0,
                metavar="SECONDS",
                help="how long to wait until all pods are ready (default: 60)",
            ),
            Argument(
                "--host-ids",
                action="store_true",
                help="make a container's root you (this machine's root if you are root): for manifests that you trust",
            ),
            RULES,
            IMAGES,
            Argument(
                "--expose",
                action="append",
                default=[],
                metavar="PATH",
                help="show this file or directory to pods, read-only, as in --expose ~/data (repeatable)",
            ),
            Argument(
                "--log-max",
                metavar="SIZE",
                help="how much of each container's log to keep; the oldest part is dropped (default: 10Mi)",
            ),
            JSON,
        ),
    ),
)
