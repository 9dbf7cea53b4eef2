"""The runs below `results/` as a history: for each plan that was measured more than once, a figure of its overheads."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.record.reader import Run, read_run
from sidelab.bench.record.records import RUN_JSON, writing
from sidelab.bench.report import figures
from sidelab.bench.report.figures.history_figure import Past
from sidelab.lab.errors import InputError

_MEANS: Final = ("cpu_model", "kernel", "hypervisor", "clock_source", "governor", "smt", "python")


def history(results: Path) -> list[Path]:
    """Draw `history-<plan>` into `results` for each plan with two complete runs or more, and return the paths.

    Runs are of one plan if their plans' digests are equal, and are in the order of their starts. Runs that are not
    complete or cannot be read are left out, and counted under the figure. Raises `InputError` if no plan has two.
    """
    found, unread = _read(results)
    whole = [run for run in found if run.complete]
    plans = Counter(run.plan.digest for run in whole)
    names = Counter({run.plan.digest: run.plan.name for run in whole}.values())
    paths: list[Path] = []
    for digest in (digest for digest, count in plans.items() if count > 1):
        runs = [run for run in whole if run.plan.digest == digest]
        name = runs[0].plan.name
        unlike = f"-{digest[:8]}" if names[name] > 1 else ""
        left_out = _left_out(len(found) - len(whole), len(whole) - len(runs), unread)
        with writing(results):
            paths += figures.draw_history(_past(runs), left_out, results / f"history-{name}{unlike}")
    if not paths:
        raise InputError(
            f"{results} has {len(whole)} complete runs and no plan twice, so there is no history; measure one again"
        )
    return paths


def _read(results: Path) -> tuple[list[Run], int]:
    """Read every run below `results`, oldest first, and count those that this version cannot read."""
    runs, unread = [], 0
    for path in sorted(results.glob(f"*/{RUN_JSON}")):
        try:
            runs.append(read_run(path.parent))
        except InputError:
            unread += 1
    return sorted(runs, key=lambda run: (str(run.facts.get("started")), run.name)), unread


def _past(runs: list[Run]) -> list[Past]:
    facts: list[Mapping[str, Any]] = [run.facts for run in runs]
    changes = ["", *(", ".join(_changes(*pair)) for pair in pairwise(facts))]
    return [Past(Analysis(run), change) for run, change in zip(runs, changes, strict=True)]


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs in a run's setup from the run before it."""
    old, new = (each.get("environment") or {} for each in (before, after))
    for name in _MEANS:
        if old.get(name) != new.get(name):
            yield f"{name.replace('_', ' ')} {old.get(name)} \N{RIGHTWARDS ARROW} {new.get(name)}"
    for name in ("placement", "client", "images", "rule_sets"):
        if before.get(name) != after.get(name):
            yield name.replace("_", " ")


def _left_out(interrupted: int, others: int, unread: int) -> list[str]:
    counts = {"not complete": interrupted, "of other plans": others, "not readable by this version": unread}
    said = ", ".join(f"{count} {why}" for why, count in counts.items() if count)
    return [f"Left out: {said}."] if said else []
