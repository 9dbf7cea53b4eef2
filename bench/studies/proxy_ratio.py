"""What the bundled proxy adds, as a ratio of what Envoy adds in the same run, with an interval over rebuilds.

    sidelab bench proxies && python -m bench.studies.proxy_ratio results/RUN

Per rebuild and connection: (median paired difference of the bundled arm) / (that of Envoy's arm); then the mean over
the rebuilds and Student's t interval, on the logarithm, because a ratio's errors multiply.
"""

import math
import sys
from pathlib import Path

import numpy as np

from bench.reader import read_run
from bench.statistics import estimate, rebuild_medians

PAIRS = (("tcp", "envoy-tcp"), ("http", "envoy-http"))


def main() -> None:
    """Print a line per pair of arms and connection."""
    run = read_run(Path(sys.argv[1]))
    medians = {index: row.to_numpy() for index, row in rebuild_medians(run.samples, run.plan.reference).iterrows()}
    print(f"{'arms':<22}{'connection':<12}{'added p50, us':>18}{'ratio':>8}   95 % interval over rebuilds")
    for bundled, envoy in PAIRS:
        for connection in run.plan.connections:
            ours = medians[bundled, connection, "total"]
            theirs = medians[envoy, connection, "total"]
            found = estimate(np.log(ours / theirs))
            center, low, high = (math.exp(float(value)) for value in (found.mean, found.low, found.high))
            added = f"{ours.mean():.1f} / {theirs.mean():.1f}"
            print(f"{bundled + ' / ' + envoy:<22}{connection:<12}{added:>18}{center:>8.2f}   [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main()
