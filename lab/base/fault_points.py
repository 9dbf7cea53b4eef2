"""The named steps of building a lab, and the seam by which a test fails at each of them.

The environment variable SIDELAB_FAULT holds `STEP:ACTION`: when the step is reached the process raises (`raise`), or
stands still under the name `HELD` until somebody outside kills it or another (`hold`; it can't kill itself, because the
kernel spares pid 1 from its own SIGKILL). Without the variable a step costs a dictionary look-up.
"""

import os
import signal

from sidelab.lab.base import syscalls

FAULT = "SIDELAB_FAULT"
HELD = "sidelab-held"

STEPS = (
    "keeper-forked",
    "user-mapped",
    "namespaces-unshared",
    "supervisor-forked",
    "mounts-made",
    "servers-started",
    "pods-user-made",
    "node-made",
    "pod-unshared",
    "pod-linked",
    "pod-routed",
    "services-loaded",
    "cluster-published",
    "name-server-started",
    "hook-called",
    "container-spawned",
    "container-ready",
    "lab-ready",
)


def reached(step: str) -> None:
    """Say that `step` (one of `STEPS`) is done; fails here when the environment asks for it."""
    fault = os.environ.get(FAULT)
    if fault is None:
        return
    name, _, action = fault.partition(":")
    if name != step:
        return
    if action == "hold":
        syscalls.name_process(HELD)
        while True:
            signal.pause()
    raise RuntimeError(f"fault injected at {step}")
