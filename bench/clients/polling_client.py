"""A client that never sleeps: it asks the kernel for the answer again and again, for the selftest's sake.

A delay of 20 µs in the server made an answer some 20.8 µs later for a client that sleeps, and that is what users get;
probably it wakes up later after a longer sleep, when the processor has gone to rest. To hold what was measured against
what was put in, the waiting should cost the same however long it is.
"""

import socket
from time import perf_counter_ns
from typing import Any

_TIMEOUT_NS = 5_000_000_000


class PollingSocket(socket.socket):
    """A socket whose `recv_into` keeps the processor busy until something is there; `TimeoutError` after 5 s."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive as `socket.socket.recv_into`."""
        end = perf_counter_ns() + _TIMEOUT_NS
        while True:
            try:
                return super().recv_into(buffer, nbytes, flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                if perf_counter_ns() > end:
                    raise TimeoutError("no answer in time") from None
