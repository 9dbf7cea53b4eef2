"""Open loop: requests start when a schedule says so, and latency counts from that intended start.

A closed loop (wrk, and `bench.clients.client`) sends the next request when the last answer is there, so a stalled
server gets fewer requests and its stall is counted once: coordinated omission. Here requests that are due during a
stall wait, and the wait is part of their latency.

`due_times`, `histogram` and `answers` are pure; `generator` runs over connected sockets; `process` is the program that
enters a client pod; `measure` is its other side, in the process that owns the lab.
"""
