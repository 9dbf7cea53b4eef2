"""Children that die with their parent, however that ends (prctl(2), PR_SET_PDEATHSIG).

The kernel knows of the wish from the call on, so each function also looks whether the parent has ended before. A change
of credentials takes the wish back, and so each is called after the last of them.
"""

import os
import signal
import socket

from sidelab.lab.base import syscalls
from sidelab.lab.base.framing import hung_up


def die_with_parent(parent: int) -> None:
    """Make the kernel kill the calling process when its parent, of pid `parent`, ends; end if it already has."""
    syscalls.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def die_with_linked_parent(link: socket.socket) -> None:
    """Do the same where a pid tells nothing: the first process of a pid namespace sees 0 as its parent.

    The parent alone has the other end of `link`.
    """
    syscalls.set_parent_death_signal(signal.SIGKILL)
    if hung_up(link):
        os._exit(1)
