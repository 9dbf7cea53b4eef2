"""Caveats about a run's rounds and loads: stolen CPU time, a preempted client, TIME_WAIT, failed requests; pure."""

import pandas as pd

from sidelab.bench.base.caveats import Caveat

_STOLEN_RATIO = 0.02
_PREEMPTED_PER_S = 250.0
_TIME_WAIT = 14_000
"""Half of the ephemeral range (32768 to 60999, ip-sysctl): above it connect(2) searches longer and longer."""


def caveats(rounds: pd.DataFrame) -> list[Caveat]:
    """List what casts doubt on rounds, each kind once with how many rounds it affected; empty if none did.

    No round is left out because of it: that would drop the tail.
    """
    found = []
    stolen = rounds["stolen_ratio"] > _STOLEN_RATIO
    if stolen.any():
        worst = float(rounds["stolen_ratio"].max())
        found.append(
            Caveat(
                f"in {int(stolen.sum())} of {len(rounds)} rounds the hypervisor took more than {_STOLEN_RATIO:.0%} of "
                f"the CPU time (in the worst of them {worst:.1%})",
                "use a machine with CPUs of its own",
            )
        )
    preempted = rounds["preempted"] > _PREEMPTED_PER_S * rounds["duration_s"].clip(lower=0.1)
    if preempted.any():
        found.append(
            Caveat(
                f"in {int(preempted.sum())} of {len(rounds)} rounds the measuring client had to share its CPU "
                f"(stopped up to {int(rounds['preempted'].max())} times in one)",
                "stop what else runs, or give the client a CPU of its own",
            )
        )
    most = int(rounds["time_wait"].max()) if len(rounds) else 0
    if most > _TIME_WAIT:
        found.append(
            Caveat(
                f"up to {most:,} closed connections held their port in a client's pod, and connect slows from there",
                "ask for more rebuilds and fewer requests in each",
            )
        )
    return found


def load_caveats(loads: pd.DataFrame) -> list[Caveat]:
    """Return a caveat on loads in which requests failed: errors that come at once make throughput look good."""
    failed = loads[loads["failed"] > 0]
    if failed.empty:
        return []
    arms = ", ".join(sorted(failed["arm"].unique()))
    what = f"{int(failed['failed'].sum()):,} requests failed in {len(failed)} loads ({arms}), which ratios leave out"
    return [Caveat(what, "look at the logs of the arms' pods")]
