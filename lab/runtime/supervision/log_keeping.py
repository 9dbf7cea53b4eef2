"""Keep the logs of a lab short: its containers' and the supervisor's own."""

import os
import time

from sidelab.lab.base.incidents import Incidents, reason_of
from sidelab.lab.base.loop import Loop
from sidelab.lab.runtime.logfile import LogFile, Logs, Shelf

_OWN_LOG_BYTES = 1 << 20
_TRIM_EVERY_S, _TRIM_SOON_S = 1.0, 0.1  # normally, and while some container writes much
_TRIM_FACTOR = 100  # looking at the logs takes at most a hundredth of the supervisor's time


class LogKeeping:
    """The logs `of_containers`, of `log_bytes` each, and the one that the supervisor and its fork servers write to."""

    def __init__(self, loop: Loop, incidents: Incidents, log_bytes: int) -> None:
        """Release the command line's standard three: from now on they are the supervisor's own log."""
        self._loop = loop
        self._incidents = incidents
        self._bytes = log_bytes
        shelf = Shelf()
        self._own = _let_go_of_terminal(shelf)
        self.of_containers = Logs(log_bytes, shelf)

    def begin(self) -> None:
        """Check the logs periodically from now on."""
        self._loop.after(_TRIM_EVERY_S, self._trim)

    def _trim(self) -> None:
        """Free the oldest part of long logs; report only new lines that may be lost."""
        begun_s = time.monotonic()
        trimmed = []
        try:
            self._own.trim()
            trimmed = self.of_containers.trim()
        except OSError as error:
            self._incidents.note(f"the logs could not be kept short: {reason_of(error)}")
        for (namespace, pod, container), log in trimmed:
            if log.was_full:
                self._incidents.note(
                    f"pod {namespace}/{pod}: container {container} wrote more at once than its log holds "
                    f"({2 * self._bytes} bytes): lines are missing in it (see `up --log-max`)"
                )
        usual_s = _TRIM_SOON_S if trimmed else _TRIM_EVERY_S
        self._loop.after(max(usual_s, _TRIM_FACTOR * (time.monotonic() - begun_s)), self._trim)


def _let_go_of_terminal(shelf: Shelf) -> LogFile:
    """Close the command line's standard three: a program that reads its output waits until all have closed it.

    Returns the log that the supervisor and its fork servers write to instead.
    """
    log = LogFile(_OWN_LOG_BYTES, shelf)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, target in ((null, 0), (log.descriptor, 1), (log.descriptor, 2)):
        os.dup2(fd, target)
    os.close(null)
    return log
