"""Whether the measuring client agrees with wrk and with libcurl, on the same two pods.

    python -m sidelab.bench.studies.clients [REBUILDS]

keep-alive: the median of our requests beside wrk's p50 (one connection, the same pods, the same core, in turns);
new connection: our total beside libcurl's, request by request in random order within one process; once as libcurl
reports it, and once from the end of its name look-up, where our clock starts, too: before the socket is made.
"""

import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidelab.bench.clients.client import Client, Sockets
from sidelab.bench.clients.curl import Curl
from sidelab.bench.measure.beds.this_machine import ThisMachine
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.plan.plan import from_dict
from sidelab.lab.base import syscalls
from sidelab.lab.client.lab import Namespaces

_REQUESTS = 400
_WRK_SECONDS = 1
_PLAN = {
    "name": "clients",
    "description": "one pair of pods",
    "rebuilds": 10,
    "rounds": 1,
    "requests_per_round": 1,
    "arms": [{"name": "direct"}, {"name": "direct-twin"}],
}
# Only a script makes wrk print whole µs in its latency distribution.
_WRK_SCRIPT = """
done = function(summary, latency, requests) io.write(string.format("p50_us=%d\\n", latency:percentile(50))) end
"""


def main() -> None:
    """Build the lab a few times, measure with all three, print medians over the builds and their ratios."""
    rebuilds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    setup = prepare(from_dict(_PLAN, "clients.py"), seed=1, client="own", manifest=None)
    os.sched_setaffinity(0, {setup.client_cpu})
    kept: list[tuple[float, float]] = []
    new: list[tuple[float, float]] = []
    after_lookup: list[tuple[float, float]] = []
    for rebuild in range(rebuilds):
        with ThisMachine().built(setup, rebuild) as standing:
            lab, pods = standing.lab, setup.pods["direct"]
            address = next(pod["ipv4"] for pod in lab.status()["pods"] if pod["namespace"] == "direct")
            with _inside(lab.namespaces([pods.client])):
                kept.append(_kept((address, pods.port)))
                own_us, curl_us, lookup_us = _new((address, pods.port), random.Random(rebuild))
                new.append((own_us, curl_us))
                after_lookup.append((own_us, curl_us - lookup_us))
    for name, peer, pairs in (
        ("keep-alive p50", "wrk", kept),
        ("new connection, total p50", "libcurl", new),
        ("the same, after the look-up", "libcurl", after_lookup),
    ):
        ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(mine / other for mine, other in pairs)
        print(f"{name:<31} own {ours:6.1f} us   {peer} {theirs:6.1f} us   ratio {ratio:.3f}")


@contextmanager
def _inside(namespaces: Namespaces) -> Iterator[None]:
    """Run the block in the only network namespace of `namespaces`, then close them."""
    with Path("/proc/self/ns/net").open() as home:
        syscalls.setns(namespaces.network[0], syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(home.fileno(), syscalls.CLONE_NEWNET)
            for fd in (namespaces.user, *namespaces.network):
                os.close(fd)


def _kept(target: tuple[str, int]) -> tuple[float, float]:
    """Return our median and wrk's, in µs; half of our requests run before wrk and half after it."""
    client = Sockets([(*target, "/")])
    times = [client.measure(0, new=False)[3] for _ in range(_REQUESTS)]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_WRK_SCRIPT)
        script.flush()
        command = ["wrk", "-t1", "-c1", f"-d{_WRK_SECONDS}s", "-s", script.name, f"http://{target[0]}:{target[1]}/"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"p50_us=(\d+)", done.stdout)
    if found is None:
        raise SystemExit(f"wrk said no p50:\n{done.stdout}")
    times += [client.measure(0, new=False)[3] for _ in range(_REQUESTS)]
    client.close()
    return statistics.median(times) / 1000, float(found[1])


def _new(target: tuple[str, int], order: random.Random) -> tuple[float, float, float]:
    """Return our median total, libcurl's, and libcurl's median name look-up, in µs, from requests in random order."""
    curl = Curl([(*target, "/")])
    clients: dict[str, Client] = {"own": Sockets([(*target, "/")]), "curl": curl}
    lookups: list[int] = []
    times: dict[str, list[int]] = {name: [] for name in clients}
    turns = [*clients] * _REQUESTS
    order.shuffle(turns)
    for name in turns:
        times[name].append(clients[name].measure(0, new=True)[3])
        lookups.append(curl.namelookup_ns)
    medians = (statistics.median(values) / 1000 for values in (times["own"], times["curl"], lookups))
    own_us, curl_us, lookup_us = medians
    return own_us, curl_us, lookup_us


if __name__ == "__main__":
    main()
