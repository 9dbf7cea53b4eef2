"""Open loops against a live lab: every arm at every rate of the plan, one after the other, and its proxies' cost.

Two loads at once would measure each other. The run's seed gives the arms a new order for each lab build.
"""

import random
from collections.abc import Mapping
from typing import Any

from sidelab.bench.arms import pods_of_arms, proxy_processes
from sidelab.bench.arms.pods_of_arms import ArmPods
from sidelab.bench.base.samples import RateSample
from sidelab.bench.clients import client_process
from sidelab.bench.openloop.histogram import Histogram
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan, Rate
from sidelab.lab.client.lab import Lab


def measure(plan: Plan, lab: Lab, pods: Mapping[str, ArmPods], rebuild: int, seed: int, cpu: int) -> list[RateSample]:
    """Measure each arm at each rate; rates ascend, since a proxy's peak memory includes all earlier loads.

    Raises `PodError` with the generator's message when it fails.
    """
    names = [arm.name for arm in plan.arms]
    numbers = {name: number for number, name in enumerate(names)}
    targets = pods_of_arms.targets(plan, pods, lab.status())
    proxies = {
        name: [pid for pod in (pods[name].client, pods[name].server) for pid in proxy_processes.of_proxy(lab, pod)]
        for name in names
    }
    random.Random(f"{seed}/{rebuild}/rates").shuffle(names)
    found = []
    with client_process.started(
        "sidelab.bench.openloop.process", lab, [pods[name].client for name in numbers], {"cpu": cpu}
    ) as link:
        for rate in sorted(plan.rates, key=lambda each: each.rate_per_s):
            for name in names:
                host, port, path = targets[name]
                authority = targets[name].url.split("/")[2]
                order = {
                    "pod": numbers[name],
                    "host": host,
                    "port": port,
                    "request": f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: sidelab\r\n\r\n",
                    "seed": f"{seed}/{rebuild}/{name}/{rate.rate_per_s}",
                    "rate_per_s": rate.rate_per_s,
                    "connections": rate.connections,
                    "duration_s": rate.duration_s,
                    "schedule": rate.schedule,
                }
                before_s = proxy_processes.cpu_s(proxies[name])
                said = client_process.ask(link, order, "the load generator")
                spent_s = proxy_processes.cpu_s(proxies[name]) - before_s
                memory_kib = proxy_processes.peak_kib(proxies[name]) if proxies[name] else -1
                found.append(sample(rebuild, name, rate, said, spent_s if proxies[name] else -1.0, memory_kib))
    return found


def opened(plan: Plan, _arm: Arm) -> int:
    """Return how many connections `measure` makes to an arm, at least: it replaces each that fails."""
    return sum(rate.connections for rate in plan.rates)


def sample(rebuild: int, arm: str, rate: Rate, said: Mapping[str, Any], cpu_s: float, memory_kib: int) -> RateSample:
    """Make a row from the generator's answer and what the arm's proxies used meanwhile (-1 if it has none)."""
    latency, lag = Histogram.from_pairs(said["latency"]), Histogram.from_pairs(said["lag"])
    answered = len(latency)
    served = answered + said["warmup"]
    return RateSample(
        rebuild=rebuild,
        arm=arm,
        rate_per_s=rate.rate_per_s,
        connections=rate.connections,
        requests=answered,
        errors=said["errors"],
        achieved_per_s=answered / max(said["elapsed_ns"] / 1e9, float(rate.duration_s)),
        lag_p99_us=lag.quantile(0.99) / 1000 if len(lag) else -1.0,
        p50_us=latency.percentile(0.5) / 1000,
        p90_us=latency.percentile(0.9) / 1000,
        p99_us=latency.percentile(0.99) / 1000,
        p999_us=latency.percentile(0.999) / 1000,
        cpu_s_per_1000=1000 * cpu_s / served if cpu_s >= 0 and served else -1.0,
        memory_kib=memory_kib,
    )
