"""Find how long `sidelab report` takes for a million requests, and how much memory.

    python bench/studies/report_speed.py [REQUESTS]

Writes a simulated run with the real recorder into a temporary directory, and reports on it in a new process, three
times. Targets, for a million requests: 10 s, and 1 GB at the peak. Exits 1 if either is missed.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sidelab.bench.base.samples import RequestSample
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan
from sidelab.bench.plan.request_order import rounds
from sidelab.bench.record.records import RunWriter

TARGET_S, TARGET_MIB = 10.0, 1000
_TIMES = 3
_SEED = 1
_TOTAL_US = {"direct": 90.0, "direct-twin": 90.0, "rules-only": 92.0, "tcp": 242.0, "http": 176.0, "both": 253.0}


def simulated(plan: Plan) -> Iterator[list[RequestSample]]:
    """Yield the plan's rounds: each request takes its arm's time, times a random factor with a tail."""
    rng = np.random.default_rng(_SEED)
    for rebuild in range(1, plan.rebuilds + 1):
        for round_, slots in rounds(plan, _SEED, rebuild):
            jitter = rng.lognormal(0.0, 0.07, len(slots)).tolist()
            rows = []
            for position, (slot, factor) in enumerate(zip(slots, jitter, strict=True)):
                total = _TOTAL_US[slot.arm] * factor
                new = slot.connection == "new"
                first, connect = (0.5 * total, 0.4 * total) if new else (0.9 * total, None)
                phases = (None, connect, None, 0.41 * total if new else 0.4, first, total)
                rows.append(RequestSample(rebuild, round_, position, slot.arm, slot.connection, *phases, 200, 612))
            yield rows


def record(results: Path, requests: int) -> Path:
    """Write a run of the default plan with about that many requests, and return its directory."""
    table = plans.as_dict(plans.load("overhead"))
    cells = len(table["arms"]) * len(table["connections"]) * table["rebuilds"]
    table["rounds"] = max(1, round(requests / cells / table["requests_per_round"]))
    table["warmup_requests"] = max(0, round(requests / cells) - table["rounds"] * table["requests_per_round"])
    plan = plans.from_dict(table, "report_speed.py")
    with RunWriter(results, plan, _SEED, datetime.now(UTC)) as writer:
        for rows in simulated(plan):
            writer.append(rows)
    return writer.directory


def measure(directory: Path) -> tuple[float, float]:
    """Report in a fresh process, and return its seconds and its peak of resident memory in MiB."""
    program = (
        "import sys; from pathlib import Path; from sidelab.bench.report.report import report; "
        "report(Path(sys.argv[1]))"
    )
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", program, str(directory)])
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"report ended with status {process.returncode}")
    return seconds, _mebibytes(used)


def _mebibytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / 1024  # Linux counts KiB (getrusage(2))


def main() -> None:
    """Write, report, print and judge."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with TemporaryDirectory() as results:
        directory = record(Path(results), requests)
        size_mib = sum(path.stat().st_size for path in directory.iterdir()) / 2**20
        print(f"about {requests:,} requests, {size_mib:.1f} MiB on disk; targets {TARGET_S:g} s and {TARGET_MIB} MiB")
        found = [measure(directory) for _ in range(_TIMES)]
    print("\n".join(f"{seconds:6.1f} s {mebibytes:8.0f} MiB" for seconds, mebibytes in found))
    fastest_s, most_mib = min(seconds for seconds, _ in found), max(mebibytes for _, mebibytes in found)
    raise SystemExit(int(fastest_s > TARGET_S or most_mib > TARGET_MIB))


if __name__ == "__main__":
    main()
