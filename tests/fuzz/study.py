"""Puts damaged inputs to everything that reads what others write: `nox -s fuzz [-- --count N --seed S TARGET …]`.

Prints for each target how many there were, how long it took and how much memory grew. The first input that is not
taken as it should be ends its target with a traceback, its number and its bytes; status 1 then. `llhttp` compares what
the proxy reads with what another parser does, and prints the differences that are listed, and how often each was met.
"""

import argparse
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import reading
import speaking_http as http
from comparing_readers import Comparison
from http_grammar import Grammar
from listed_readings import DIFFERENCES
from mutating import Mutator

_MOST_GROWTH_KB = 64 * 1024
_ENOUGH = 50_000
"""In this many inputs every listed difference is met."""


class Maker(Protocol):
    """Makes inputs, the same for the same seed and number."""

    def make(self, seed: int, number: int) -> bytes:
        """Return input `number` of the series of `seed`."""


@dataclass(frozen=True)
class Target:
    """What is tried, with which inputs; and the comparison, if it makes one."""

    mutator: Maker
    check: Callable[[bytes, int], None]
    comparison: Comparison | None = None


@contextmanager
def targets() -> Iterator[dict[str, Target]]:
    """Yield the targets by name."""
    requests, responses = Mutator(http.REQUESTS, http.WORDS), Mutator(http.RESPONSES, http.WORDS)
    comparison = Comparison(DIFFERENCES)
    names, servers = Mutator(reading.QUESTIONS, reading.LABELS), reading.Names()
    with (
        closing(http.Agent()) as agent,
        closing(http.Proxy()) as proxy,
        closing(http.Detecting()) as detecting,
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory,
    ):
        yield {
            "http-requests": Target(requests, proxy.requests),
            "http-responses": Target(responses, proxy.responses),
            "http-detection": Target(requests, detecting.check),
            "server-requests": Target(requests, http.server_requests),
            "llhttp": Target(Grammar(), comparison.check, comparison),
            "dns-cluster": Target(names, servers.cluster),
            "dns-agent": Target(names, servers.agent),
            "agent-requests": Target(requests, agent.requests),
            "agent-answers": Target(responses, agent.answers),
            "manifest": Target(Mutator(reading.MANIFESTS, reading.YAML), reading.manifest),
            "results": Target(Mutator(reading.RESULTS, reading.JSON), reading.Results(Path(directory)).check),
            "control": Target(Mutator(reading.MESSAGES, reading.JSON), reading.control_messages),
        }


def tried(target: Target, seed: int, count: int) -> str:
    """Try `count` inputs; return what went wrong with the first that failed, "" if none did."""
    for number in range(count):
        data = target.mutator.make(seed, number)
        try:
            target.check(data, number)
        except Exception:  # noqa: BLE001  # whatever it is, it is what is looked for
            return f"seed {seed}, input {number}: {data!r}\n{traceback.format_exc()}"
    return ""


def main() -> int:
    """Try the targets that the command line names."""
    parser = argparse.ArgumentParser(prog="nox -s fuzz --", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1)
    with targets() as known:
        parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(known)}; all without any")
        asked = parser.parse_args()
        unknown = [each for each in asked.targets if each not in known]
        if unknown:
            parser.error(f"{unknown[0]} is not a target: there are {', '.join(known)}")
        failed = False
        for name in asked.targets or known:
            tried(known[name], asked.seed, min(asked.count, 2000))  # so that everything that is made only once exists
            before_kb, begin_s = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
            problem = tried(known[name], asked.seed, asked.count)
            grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
            if not problem and grown_kb > _MOST_GROWTH_KB:
                problem = f"memory grew by more than {_MOST_GROWTH_KB} kB"
            comparison = known[name].comparison
            if comparison is not None:
                print(comparison.table(), end="")
                problem = problem or (comparison.unmet() if asked.count >= _ENOUGH else "")
            failed = failed or bool(problem)
            duration_s = time.monotonic() - begin_s
            line = f"{name:<16} {asked.count:>9,} inputs {duration_s:7.1f} s  +{grown_kb / 1024:5.1f} MiB"
            print(f"{line}  {problem or 'ok'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
