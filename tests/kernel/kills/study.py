"""Kills at random moments as a program: `nox -s kills`, or with a number and a seed, `nox -s kills -- 50 7`.

Prints what was killed and what happened to the lab, by kind. Exits 1 if anything was left over, or did not come back;
the printed seed makes the same trials again.
"""

import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import CommandLine, nothing_left
from trial import ENVOY, KINDS, MANIFEST, carry_out

from sidelab.lab.base import syscalls
from sidelab.lab.errors import MachineError
from sidelab.sidecar.envoy import find_envoy

TRIALS = 200
_PR_SET_CHILD_SUBREAPER = 36


def say(text: str) -> None:
    """Print and flush, as the next line may take a while."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Make the trials, kind by kind in turn; return the exit status."""
    trials = int(arguments[0]) if arguments else TRIALS
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 32)
    rng = random.Random(seed)
    syscalls._prctl(_PR_SET_CHILD_SUBREAPER, 1)
    text = MANIFEST + (ENVOY if _has_envoy() else "")
    say(f"{trials} kills, seed {seed}")
    outcomes: Counter[tuple[str, str, str]] = Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as directory:
        for number in range(trials):
            line = CommandLine(f"t{os.getpid()}-{number}", Path(directory))
            kind = KINDS[number % len(KINDS)]
            try:
                with nothing_left():
                    trial = carry_out(line, line.manifest(text), kind, rng)
                starting = "while it starts" if "start" in trial.moment else trial.moment
                outcomes[trial.kind, starting, trial.outcome] += 1
            except (AssertionError, pytest.fail.Exception) as wrong:
                failures += 1
                say(f"kill {number}, of a {kind}: {wrong or 'the host is not as it was'}")
                line.close()
    for (kind, moment, outcome), count in sorted(outcomes.items()):
        say(f"{count:4} × {kind}, {moment}: {outcome}")
    say(f"{failures} of {trials} went wrong")
    return 1 if failures else 0


def _has_envoy() -> bool:
    try:
        find_envoy()
    except MachineError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
