"""One run of a plan: prepare it, measure replicate after replicate, record their rounds as they come.

`run` is the list of these steps; `bench.measure.replicate` has the steps of one build of the lab.
"""

import math
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from sidelab.bench.arms import revisions
from sidelab.bench.base.interruption import Interrupted
from sidelab.bench.base.samples import RequestSample
from sidelab.bench.measure.preparing import facts, prepare, require_question
from sidelab.bench.measure.progress import Progress
from sidelab.bench.measure.replicate import Loads, Part, Rates, Round, Whole, replicate
from sidelab.bench.measure.setup import Setup
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record import environment
from sidelab.bench.record.records import RunWriter
from sidelab.lab.errors import InputError

CHECKOUT = Path(__file__).parents[2]


class Recorded(NamedTuple):
    """Where a run was recorded, how many whole builds of the lab it has, and the signal that ended it early, if any."""

    directory: Path
    builds: int
    planned: int
    stopped: Interrupted | None = None


def run(
    asked: Plan,
    *,
    results: Path,
    seed: int | None,
    client: str,
    images: str = "standin",
    manifest: Path | None = None,
    budget_s: float | None = None,
    require_all: bool = False,
) -> Recorded:
    """Measure a plan into a new directory below `results`.

    `images` chooses between stand-ins and real programs (see `lab.standins.standin_images.chosen`); `budget_s` replaces
    the plan's. Arms that this machine can't run are left out with a caveat, unless `require_all` is set or nothing
    would be left of the plan's question.

    Raises `InputError` for an unknown client or revision or a different manifest before anything is started,
    `MachineError` when no lab can be built, an arm is missing or the question can't be answered, `PodError` when a pod
    fails or an arm's traffic did not take its path, and `Interrupted` when stopped before the first round that counts:
    then nothing is kept.
    """
    if budget_s is not None and not 0 < budget_s < math.inf:
        raise InputError(f"--budget-s {budget_s:g}: give seconds, more than 0")
    machine = environment.read(checkout=CHECKOUT)
    with revisions.extracted(asked, CHECKOUT) as proxies:
        setup = prepare(
            asked,
            seed=seed,
            client=client,
            images=images,
            manifest=manifest,
            proxies={word: each.program for word, each in proxies.items()},
            require_all=require_all,
        )
        require_question(asked, setup)
        recorder = RunWriter(results, setup.plan, setup.seed, datetime.now(UTC))
        try:
            with recorder as writer, Progress(setup.plan) as progress:
                revised = {word: each.commit for word, each in proxies.items()}
                writer.describe(**facts(setup, machine), revisions=revised)
                _measure(setup, writer, progress, budget_s)
        except Interrupted as stop:
            if not recorder.measured_rounds:
                recorder.discard()
                raise Interrupted(stop.number, "stopped before anything was measured; nothing is kept") from None
            return Recorded(recorder.directory, recorder.builds, setup.plan.rebuilds, stop)
    return Recorded(recorder.directory, recorder.builds, setup.plan.rebuilds)


def _measure(setup: Setup, writer: RunWriter, progress: Progress, budget_s: float | None) -> None:
    """Measure and record replicate after replicate, to the last or until the stop rule ends the run."""
    from sidelab.bench.measure.enough import StopRule  # noqa: PLC0415  # pandas: a machine without namespaces should hear of it first

    rule = StopRule(setup.plan, budget_s)
    begun_s, longest_s = monotonic(), 0.0
    for rebuild in range(1, setup.plan.rebuilds + 1):
        since_s = monotonic()
        samples = _recorded(setup, rebuild, writer, progress)
        now_s = monotonic()
        longest_s = max(longest_s, now_s - since_s)
        reason = rule.reason(rebuild, samples, now_s - begun_s, longest_s)
        if reason and rebuild < setup.plan.rebuilds:
            writer.stop(reason, rebuild)
            return


def _recorded(setup: Setup, rebuild: int, writer: RunWriter, progress: Progress) -> list[RequestSample]:
    """Measure a replicate, record each part of it as it comes, and return its requests."""
    samples: list[RequestSample] = []
    with closing(replicate(setup, rebuild)) as parts:
        for part in parts:
            _record(part, writer)
            if isinstance(part, Round):
                progress.advance(len(part.samples))
                samples += part.samples
    return samples


def _record(part: Part, writer: RunWriter) -> None:
    match part:
        case Round(samples, found):
            writer.append(samples)
            writer.append_round(found)
        case Loads(load_samples):
            writer.append_loads(load_samples)
        case Rates(rate_samples):
            writer.append_rates(rate_samples)
        case Whole(rebuild):
            writer.builds = rebuild
