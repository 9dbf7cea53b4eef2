"""The first thing to try: a lab for one request, and everything that can be seen of that request."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from sidelab.cli.command import JSON, Argument, Given, Verb, print_json
from sidelab.lab.base import identity
from sidelab.lab.errors import InputError

if TYPE_CHECKING:
    from sidelab.evidence.demo.observe import Observed
    from sidelab.lab.client.lab import Lab

_KEPT = "demo"  # the name of a lab that stays


def demo(given: Given) -> None:
    """Show interception at work: one pod with a sidecar, one request, and what kernel and sidecar know about it."""
    from sidelab.evidence.demo.observe import observe
    from sidelab.lab.client.lab_names import running

    if given.keep and _KEPT in running():
        raise InputError(
            f"demo: the lab of an earlier --keep is still running: end it first with `sidelab down {_KEPT}`"
        )
    identity.decide(identity.read())
    begun_s = monotonic()
    with _lab(keep=given.keep) as lab:
        observed = observe(lab, lab.pod("nginx"), lab.pod("client"))
        if given.keep:  # before the block ends, so that a lab that could not be reported is not left running
            _print(given, observed, monotonic() - begun_s)
            sys.stdout.flush()
    if not given.keep:
        _print(given, observed, monotonic() - begun_s)


def _print(given: Given, observed: "Observed", took_s: float) -> None:
    from sidelab.evidence.demo.demo_page import render

    if given.json:
        print_json({**observed.to_json(), "lab": _KEPT if given.keep else None, "took_s": round(took_s, 3)})
    else:
        sys.stdout.write(f"{render(observed)}\n{_kept() if given.keep else _gone(took_s)}")


@contextmanager
def _lab(*, keep: bool) -> Iterator["Lab"]:
    """Run the lab of the example for the length of the block; a kept one stays if the block succeeds."""
    from sidelab.lab.client.ending import stop
    from sidelab.lab.client.starting import background, foreground
    from sidelab.lab.manifest import load
    from sidelab.lab.manifest.examples import example
    from sidelab.lab.plan.blueprint import draw
    from sidelab.lab.standins.standin_images import STANDIN, chosen
    from sidelab.sidecar.inject import inject
    from sidelab.sidecar.istio_images import IMAGES as MESH

    blueprint = draw(inject(load([example("nginx-injected.yaml")])), chosen(STANDIN) + MESH)
    if not keep:
        with foreground(blueprint, f"{_KEPT}-{os.getpid()}") as lab:
            yield lab
        return
    with background(blueprint, _KEPT) as lab:
        try:
            yield lab
        except BrokenPipeError:
            raise  # the reader of the page has stopped reading, and the lab stays
        except BaseException:
            stop(lab)
            raise


def _gone(took_s: float) -> str:
    return (
        f"That took {took_s:.1f} s, and nothing is left of the lab.\n\n"
        "   sidelab demo --keep     the same, and the lab keeps running\n"
        "   sidelab bench           what interception costs, measured in half a minute\n"
    )


def _kept() -> str:
    return (
        f"The lab is still running, under the name {_KEPT}. Look around in it:\n\n"
        f"   sidelab shell client --lab {_KEPT}                 where the request came from\n"
        f"   sidelab rules show nginx --lab {_KEPT}             all rules and their counters\n"
        f"   sidelab logs nginx -c istio-proxy -f --lab {_KEPT}\n"
        f"   sidelab down {_KEPT}                               end it\n"
    )


VERBS = (
    Verb(
        "demo",
        demo,
        "sidelab demo",
        (Argument("--keep", action="store_true", help=f"leave the lab running, as {_KEPT}"), JSON),
    ),
)
