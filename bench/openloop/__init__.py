"""Open loop: requests start when a schedule says so, and latency counts from that intended start.

A closed loop (wrk, and `bench.clients.client`) sends the next request when the last answer is there, so a stalled
server is asked less often and its stall is counted once: coordinated omission. Here what was due during a stall waits,
and its waiting is latency.

`due_times`, `histogram` and `answers` are pure; `generator` runs over connected sockets; `process` is the program,
which a client pod is given to; `measure` is its other side, in the process that owns the lab.
"""
