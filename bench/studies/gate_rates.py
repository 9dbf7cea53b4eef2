"""How often the gate between two builds is right, for a slower build and for an equal one.

    python -m sidelab.bench.studies.gate_rates [RUNS] [--delay-us N]

RUNS (20) times each, by the command line: `sidelab bench --head git:SLOW --base git:HEAD`, then `sidelab gate` with a
budget of one limit, "head is no slower than base"; and the same with a copy of HEAD. SLOW is a commit made for this, on
no branch: HEAD with N (30) µs more work before it forwards a request. Targets: a slower build is red in at least 19 of
20, an equal one in at most 3 of 20. It takes a quarter of an hour on two cores; run it in a git checkout.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Final

from sidelab.bench.measure.run import CHECKOUT

_RED: Final = 1
_SAID: Final = {0: "green", _RED: "red", 4: "open"}
_PATCHED: Final = "sidecar/proxy/main.py"
_LATE: Final = """

from time import perf_counter_ns
from sidelab.sidecar.proxy.exchange.http_connection import HttpConnection

_send = HttpConnection._send


def _send_late(*given):
    end = perf_counter_ns() + {delay_ns}
    while perf_counter_ns() < end:
        pass
    _send(*given)


HttpConnection._send = _send_late
"""
_BUDGET: Final = """
[[limits]]
arm = "head"
against = "base"
"""
_AUTHOR: Final = {"GIT_AUTHOR_NAME": "gate_rates", "GIT_AUTHOR_EMAIL": "gate_rates@localhost"}
_COMMITTER: Final = {name.replace("AUTHOR", "COMMITTER"): value for name, value in _AUTHOR.items()}


def main() -> None:
    """Run both halves and print a line for each run and each half; exit 1 if a target is missed."""
    asked = argparse.ArgumentParser(prog="sidelab.bench.studies.gate_rates")
    asked.add_argument("runs", nargs="?", type=int, default=20)
    asked.add_argument("--delay-us", type=float, default=30.0)
    given = asked.parse_args()
    if given.runs < 1:
        asked.error("RUNS: 1 or more")
    # Commits, not names, as HEAD may move meanwhile. A copy under another commit counts as a different build.
    base = f"git:{_git('rev-parse', 'HEAD').strip()}"
    slow, same = f"git:{slower(given.delay_us)}", f"git:{_commit(_git('rev-parse', 'HEAD^{tree}').strip(), 'The same')}"
    red = {build: _judged(build, base, given.runs)[_RED] for build in (slow, same)}
    targets = (
        (
            f"slower by {given.delay_us:g} µs: {red[slow]} of {given.runs} red (at least 19 of 20)",
            20 * red[slow] >= 19 * given.runs,
        ),
        (f"the same: {red[same]} of {given.runs} red (at most 3 of 20)", 20 * red[same] <= 3 * given.runs),
    )
    for line, met in targets:
        print(f"{'met   ' if met else 'MISSED'}  {line}")
    raise SystemExit(int(not all(met for _, met in targets)))


def _judged(head: str, base: str, runs: int) -> Counter[int]:
    """Measure and judge `runs` times; return how often the gate ended with each status."""
    found: Counter[int] = Counter()
    for number in range(1, runs + 1):
        begun_s = monotonic()
        status = _gate(head, base)
        if status not in _SAID:
            raise SystemExit(f"sidelab gate ended with status {status}: that is no verdict")
        found[status] += 1
        print(f"{head[:12]:<12} {number:>3} of {runs}: {_SAID[status]:<6} {monotonic() - begun_s:3.0f} s", flush=True)
    return found


def _gate(head: str, base: str) -> int:
    with tempfile.TemporaryDirectory() as directory:
        budget = Path(directory) / "budget.toml"
        budget.write_text(_BUDGET, encoding="ascii")
        results = Path(directory) / "results"
        _sidelab("bench", "--head", head, "--base", base, "--results", str(results)).check_returncode()
        return _sidelab("gate", str(next(results.iterdir())), "--budget", str(budget)).returncode


def _sidelab(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    command = (sys.executable, str(CHECKOUT / "sidelab.py"), *arguments)
    return subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def slower(delay_us: float) -> str:
    """Make a copy of commit HEAD whose bundled proxy works `delay_us` longer on each request; return its id."""
    with tempfile.TemporaryDirectory() as directory:
        index = {"GIT_INDEX_FILE": str(Path(directory) / "index")}
        source = _git("show", f"HEAD:{_PATCHED}") + _LATE.format(delay_ns=round(delay_us * 1000))
        blob = _git("hash-object", "-w", "--stdin", text=source).strip()
        _git("read-tree", "HEAD", **index)
        _git("update-index", "--cacheinfo", f"100644,{blob},{_PATCHED}", **index)
        tree = _git("write-tree", **index).strip()
    return _commit(tree, f"The bundled proxy is slower by {delay_us:g} µs")


def _commit(tree: str, why: str) -> str:
    """Make a commit on no branch; return its id."""
    return _git("commit-tree", tree, "-p", "HEAD", "-m", why, **_AUTHOR, **_COMMITTER).strip()


def _git(*arguments: str, text: str = "", **environment: str) -> str:
    command = ("git", "-C", str(CHECKOUT), *arguments)
    done = subprocess.run(
        command, input=text, text=True, capture_output=True, env={**os.environ, **environment}, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
