"""Verbs that draw again, show and judge a run, from its files alone."""

import argparse
import os
import sys
from pathlib import Path

from sidelab.cli.command import JSON, Argument, Given, Verb, leave_as, print_json, reader_may_leave
from sidelab.cli.interruptible import interruptible, say
from sidelab.lab.base.text.escaping_stream import write_command
from sidelab.lab.errors import InputError


def show(given: Given) -> None:
    """Print a run's answer, tables and reasons for doubt from its files, without drawing."""
    with interruptible("stopped"):
        present_run(given.run, as_json=given.json, draw=False)


def present_run(directory: Path, *, as_json: bool, draw: bool) -> None:
    """Print a run's answer and tables at once, then draw it, and print the page's path last; or print all as JSON."""
    from sidelab.bench.judge.analysis import analyse
    from sidelab.bench.report.present import document, present

    found = analyse(directory)
    paths: tuple[Path, ...] = ()
    if not as_json:
        with reader_may_leave():
            present(found)
    if draw:
        with interruptible(f"stopped while drawing: `sidelab report {directory}` draws what was measured"):
            from sidelab.bench.report.report import draw as drawn

            say("drawing tables, figures and page", leading=False)
            paths = drawn(found)
    with reader_may_leave():
        if as_json:
            print_json(document(found, paths))
        elif found.page.exists():
            sys.stdout.write(f"\nthe page with all figures, its tables beside it: {found.page}\n")
        else:
            sys.stdout.write(f"\nnot drawn yet: sidelab report {directory}\n")


def report(given: Given) -> None:
    """Recreate a run's tables, figures and page from its files, or draw the history of several runs."""
    if (given.run is None) == (given.history is None):
        raise InputError("report: give a RUN, or --history with a directory of runs")
    with interruptible("stopped; every file is the old one or the new one"):
        say(f"drawing {given.run or given.history}", leading=False)
        if given.history is not None:
            from sidelab.bench.report.history import history

            paths = tuple(history(given.history))
        else:
            from sidelab.bench.report.report import report as redraw

            paths = redraw(given.run)
        with reader_may_leave():
            for path in paths:
                sys.stdout.write(f"{path}\n")


def gate(given: Given) -> None:
    """Judge a run for CI by a budget or another run: exit status 0 passed, 1 a regression is proven, 4 inconclusive."""
    with interruptible("stopped before a verdict"):
        from sidelab.bench.judge.gate.gate import judge
        from sidelab.bench.report.exports import Files, github_annotations, terminal, write

        result = judge(given.run, limits=given.budget, base=given.against)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        files = Files(
            junit=given.junit,
            markdown=given.markdown,
            action_benchmark=given.action_benchmark,
            step_summary=Path(summary) if summary and given.markdown is None else None,
        )
        write(result, files)
        with reader_may_leave():
            sys.stdout.write(terminal.as_json(result) if given.json else terminal.render(result))
            if given.annotations:
                # GitHub reads both streams; with --json, standard output is for JSON only.
                write_command(sys.stderr if given.json else sys.stdout, github_annotations.render(result))
    leave_as(result.exit_status)


VERBS = (
    Verb(
        "report",
        report,
        "sidelab report results/reference",
        (
            Argument("run", nargs="?", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"),
            Argument("--history", type=Path, metavar="DIR", help="instead draw every plan's runs below DIR over time"),
        ),
    ),
    Verb(
        "show",
        show,
        "sidelab show results/reference",
        (Argument("run", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"), JSON),
    ),
    Verb(
        "gate",
        gate,
        "sidelab gate results/RUN --budget budget.toml",
        (
            Argument("run", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"),
            Argument("--budget", type=Path, metavar="FILE", help="the limits: a TOML file (docs/ci.md)"),
            Argument(
                "--against", type=Path, metavar="BASE", help="a run of the same plan that this one must not exceed"
            ),
            Argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, a test case per row"),
            Argument(
                "--markdown",
                type=Path,
                metavar="FILE",
                help="write Markdown (default: append it to $GITHUB_STEP_SUMMARY if that is set)",
            ),
            Argument(
                "--action-benchmark",
                type=Path,
                metavar="FILE",
                help="write the overheads for github-action-benchmark (customSmallerIsBetter)",
            ),
            Argument(
                "--annotations",
                action=argparse.BooleanOptionalAction,
                default=os.environ.get("GITHUB_ACTIONS") == "true",
                help="print GitHub's ::error and ::warning (default: if $GITHUB_ACTIONS is true)",
            ),
            JSON,
        ),
    ),
)
