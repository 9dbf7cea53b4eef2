"""The client pod's stand-in: there to be entered by `exec` and by the benchmark, it waits to be stopped."""

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidelab.lab.plan.registry import Context


def main(context: "Context") -> None:
    """Be ready at once and return on SIGTERM or SIGINT."""
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    context.ready()
    signal.sigwait(stop)
