"""The whole comparison as a program: `nox -s equivalence`, or with a number of option sets, `nox -s equivalence -- 50`.

Exits 0 if all agree, 1 if something disagrees, 2 for bad input, 3 if this machine can't run it.
"""

import os
import sys
import time
from collections.abc import Sequence

from comparison import Tally, compare, unavailable
from hypothesis import HealthCheck, Phase, given, settings
from known_differences import EXCEPTIONS
from netns_helper import in_namespace
from option_sets import RANDOM
from stage import Stage

from sidelab.sidecar.interception.options.options import WAYS, Options, Way

OPTION_SETS = 200
TELL_EVERY = 20
SHOWN = 10  # disagreements, out of possibly thousands


def say(text: str) -> None:
    """Print and flush, as the next line may come half a minute later."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run the comparison and print the outcome; return the exit status."""
    number = arguments[0] if arguments else str(OPTION_SETS)
    if len(arguments) > 1 or not (number.isascii() and number.isdigit() and int(number)):
        say(f"{' '.join(arguments)!r} is not accepted here: give a number of option sets, such as {OPTION_SETS}")
        return 2
    if os.geteuid() != 0:
        say("needs root, to make network namespaces: sudo nox -s equivalence")
        return 3
    reasons = {way: unavailable(way) for way in WAYS}
    for way, reason in reasons.items():
        if reason:
            say(f"left out: {way}: {reason}")
    started = time.monotonic()
    tally = in_namespace(lambda: explore(int(number), [way for way in WAYS if not reasons[way]]))
    report(tally, time.monotonic() - started)
    return 1 if tally.disagreements else 0


def explore(number: int, taken: Sequence[Way]) -> Tally:
    """Return the results of `number` different random option sets, always the same ones, and show progress."""
    tally = Tally()
    started = time.monotonic()
    tried: set[Options] = set()
    with Stage() as stage:

        @settings(
            max_examples=2 * number,  # some are generated twice
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],  # a disagreement is reported unshrunk, and the rest is tried too
            suppress_health_check=list(HealthCheck),
        )
        @given(RANDOM)
        def one(options: Options) -> None:
            if options in tried or len(tried) == number:
                return
            tried.add(options)
            compare(stage, options, taken, tally)
            if tally.option_sets % TELL_EVERY == 0:
                say(
                    f"{tally.option_sets:5} option sets, {tally.probes.total():9,} probes, "
                    f"{time.monotonic() - started:4.0f} s, {len(tally.disagreements)} disagreements"
                )

        one()
    return tally


def report(tally: Tally, seconds: float) -> None:
    """Print the sums."""
    for disagreement in tally.disagreements[:SHOWN]:
        say(f"\n{disagreement}")
    ways = ", ".join(f"{way} {count:,}" for way, count in tally.probes.items())
    say(f"\noption sets    {tally.option_sets}")
    say(f"probes         {tally.probes.total():,} ({ways})")
    say("landed         " + ", ".join(f"{outcome} {count:,}" for outcome, count in tally.outcomes.most_common()))
    say(f"disagreements  {len(tally.disagreements):,}")
    for known in EXCEPTIONS:
        count = tally.used[known.about]
        used = f"used {count:,} times" if count else "NOT USED by any probe"
        say(f"exception      {known.about}: {used}: {known.reason}")
    say(f"took           {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
